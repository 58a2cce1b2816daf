"""A tag convention as plain as can be, which reads its tags again: what the conformance kit is tried on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from polyarch.contract import Certainty, Platform, Reference, TagProposal, TagReading

WORDS = {
    Platform("linux", "amd64"): ("amd64", "x86_64"),
    Platform("linux", "arm64"): ("arm64",),
    Platform("linux", "s390x"): ("s390x",),
    Platform("linux", "arm", "v7"): ("armhf",),
}


class PlainConvention:
    """`TAG-WORD`."""

    certainty: Certainty = "sure"

    def propose(self, reference: Reference, platform: Platform) -> Iterable[TagProposal]:
        for tag in self.tags(reference, platform):
            yield TagProposal(self.named(reference, tag), platform, self.certainty)

    def tags(self, reference: Reference, platform: Platform) -> Iterator[str]:
        for word in self.words(platform):
            tag = f"{reference.tag}-{word}"
            if reference.tag and len(tag) <= 128:
                yield tag

    def words(self, platform: Platform) -> tuple[str, ...]:
        return WORDS.get(platform, ())

    def named(self, reference: Reference, tag: str) -> Reference:
        return replace(reference, tag=tag, digest="")

    def read(self, tag: str) -> TagReading | None:
        version, dash, word = tag.rpartition("-")
        platforms = tuple(platform for platform, words in WORDS.items() if word in words)
        return TagReading(version, platforms) if dash and platforms else None
