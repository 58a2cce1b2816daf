"""Thinks of tags that end with the architecture, and reads them."""

from __future__ import annotations

from collections.abc import Iterator

from polyarch.contract import Platform, Reference, TagProposal, TagReading
from polyarch_plugins.tag_conventions.reading import LATEST, behind, within
from polyarch_plugins.tag_conventions.words import asked, likely_words, tag_proposals

UNDERLINED = 3
"""So many of the words are also tried behind `_`."""

BARE = 4
"""So many of the words are also tried as the whole tag, in place of `latest`."""


class Suffix:
    """A TagConvention that ReadsTags: names in the same repository, so all of them together cost one list of tags."""

    def propose(self, reference: Reference, platform: Platform) -> Iterator[TagProposal]:
        """`TAG-WORD`, `TAG_WORD`; for `latest` also `WORD`."""
        if platform.os != "linux" or not reference.tag:
            return
        words = likely_words(asked(platform))
        names = [(word, f"{reference.tag}-{word}") for word in words]
        if reference.tag == LATEST:
            names += [(word, word) for word in words[:BARE] if not word.isdigit()]
        names += [(word, f"{reference.tag}_{word}") for word in words[:UNDERLINED]]
        yield from tag_proposals(reference, platform, names)

    def read(self, tag: str) -> TagReading | None:
        """The word at the end of a tag; between its version and its flavour, too."""
        return behind(tag) or within(tag)
