"""What to say where repositories cannot be found by a word."""

from __future__ import annotations

from collections.abc import Iterator

from polyarch.contract import SearchResult, UsageError


class NoSearch:
    """A Search that says where else to look."""

    def __init__(self, instead: str) -> None:
        self._instead = instead

    def search(self, registry: str, term: str, limit: int) -> Iterator[SearchResult]:
        """Raises UsageError."""
        raise UsageError(f"{registry} cannot search", self._instead)
