"""Thinks of tags that start with the architecture, and reads them."""

from __future__ import annotations

from collections.abc import Iterator

from polyarch.contract import Platform, Reference, TagProposal, TagReading
from polyarch_plugins.tag_conventions.reading import before
from polyarch_plugins.tag_conventions.words import asked, likely_words, tag_proposals

UNDERLINED = 3
"""So many of the words are also tried before `_`."""


class Prefix:
    """A TagConvention that ReadsTags: names in the same repository, so all of them together cost one list of tags."""

    def propose(self, reference: Reference, platform: Platform) -> Iterator[TagProposal]:
        """`WORD-TAG`, `WORD_TAG`."""
        if platform.os != "linux" or not reference.tag:
            return
        words = [word for word in likely_words(asked(platform)) if not word.isdigit()]
        names = [(word, f"{word}-{reference.tag}") for word in words]
        names += [(word, f"{word}_{reference.tag}") for word in words[:UNDERLINED]]
        yield from tag_proposals(reference, platform, names)

    def read(self, tag: str) -> TagReading | None:
        """The word at the start of a tag that goes on behind it."""
        return before(tag)
