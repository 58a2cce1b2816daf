"""What repositories are called there, and what to say where they cannot be found by a word."""

from __future__ import annotations

from collections.abc import Iterator

from polyarch.contract import Endpoint, NotFoundError, Reference, SearchResult, UsageError


def locate(parts: int, form: str, reference: Reference) -> Endpoint:
    """The host and repository of the reference itself. Raises NotFoundError for a name that cannot be there.

    The registry would answer such a name as one that is only closed to us.
    """
    if reference.repository.count("/") + 1 < parts:
        raise NotFoundError(f"{reference.registry} has no repository {reference.repository}", f"names there are {form}")
    return Endpoint(reference.registry, reference.repository, reference.registry)


class NoSearch:
    """A Search that says where else to look."""

    def __init__(self, instead: str) -> None:
        self._instead = instead

    def search(self, registry: str, term: str, limit: int) -> Iterator[SearchResult]:
        """Raises UsageError."""
        raise UsageError(f"{registry} cannot search", self._instead)
