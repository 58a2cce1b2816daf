"""Thinks of names that the user has described, and reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from polyarch.contract import Platform, Reference, TagProposal, TagReading, UsageError, printable
from polyarch_plugins.tag_conventions.pattern import checked, read


class Template:
    """A TagConvention that ReadsTags. What the user wrote is sure; the config of the image decides all the same."""

    def __init__(self, options: Mapping[str, object]) -> None:
        """`options` is the table `[options.template]`. Raises UsageError, which names what is wrong in it."""
        unknown = sorted(set(options) - {"templates"})
        if unknown:
            raise UsageError(f"[options.template]: there is no option '{printable(unknown[0])}'", "known: templates")
        texts = options.get("templates", [])
        if not isinstance(texts, list):
            raise UsageError("[options.template]: templates is a list of texts", 'as in ["{name}:{tag}-{debian_arch}"]')
        self._patterns = tuple(checked(text) for text in texts)
        self._frames: dict[tuple[str, str], tuple[Platform, ...]] | None = None

    def propose(self, reference: Reference, platform: Platform) -> Iterator[TagProposal]:
        """The names that the templates make, in their order."""
        if not reference.tag or reference.scheme:
            return
        for pattern in self._patterns:
            yield from pattern.proposals(reference, platform)

    def read(self, tag: str) -> TagReading | None:
        """The reading by the templates whose variants are tags of one repository."""
        if self._frames is None:
            self._frames = {}
            for pattern in self._patterns:
                for frame, meant in pattern.frames().items():
                    self._frames.setdefault(frame, meant)
        return read(self._frames, tag)
