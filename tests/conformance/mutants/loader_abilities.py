"""Image loaders that break a promise of an ability, each for the tests that its `breaks` names."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace

from polyarch.contract import (
    Descriptor,
    Digest,
    HasBlobFiles,
    Image,
    ImageSummary,
    NotFoundError,
    Platform,
    Reference,
)
from polyarch.testing.conformance.loader_abilities import LoaderAbilities
from support.mutants import Mutants
from support.plain_loader import PlainLoader, loader_fixtures

MUTANTS = Mutants(LoaderAbilities, loader_fixtures, PlainLoader)
breaks = MUTANTS.breaks


@breaks("test_loaded_images_are_listed")
class ListsEachTwice(PlainLoader):
    def images(self) -> Iterator[Image]:
        yield from super().images()
        yield from super().images()


class Summarises(PlainLoader):
    def summaries(self) -> Iterator[ImageSummary]:
        for summary in super().summaries():
            yield self.told(summary)

    def told(self, summary: ImageSummary) -> ImageSummary:
        return summary


@breaks("test_loaded_images_are_summarised")
class TakesTheRootForTheId(Summarises):
    def told(self, summary: ImageSummary) -> ImageSummary:
        return replace(summary, id=summary.digest)


@breaks("test_loaded_images_are_summarised")
class SaysThisMachinesPlatform(Summarises):
    def told(self, summary: ImageSummary) -> ImageSummary:
        return replace(summary, platform=Platform("linux", "amd64"))


@breaks("test_summaries_have_no_unknown_names")
class SummarisesWithoutAName(PlainLoader):
    def summaries(self) -> Iterator[ImageSummary]:
        nothing = Reference("", "", "")
        yield ImageSummary(nothing, "", "", Platform("linux", "amd64"), "", 1)


@breaks("test_images_that_were_replaced_are_not_summarised")
class SummarisesWhatWas(PlainLoader):
    def name(self, image: Image) -> None:
        super().name(image)
        self.__dict__.setdefault("ever", []).append(image)

    def summaries(self) -> Iterator[ImageSummary]:
        return (self.kept.summary(image) for image in self.__dict__.get("ever", ()))


@breaks("test_a_removed_image_is_gone")
class RemovesNothing(PlainLoader):
    def remove(self, reference: Reference, platform: Platform | None = None) -> tuple[Digest, ...]:
        return ()


@breaks("test_one_of_two_names_is_removed")
class RemovesAllNames(PlainLoader):
    def remove(self, reference: Reference, platform: Platform | None = None) -> tuple[Digest, ...]:
        gone = super().remove(reference, platform)
        self.kept.write_names({})
        return gone


@breaks("test_what_is_not_here_cannot_be_removed")
class RemovesQuietly(PlainLoader):
    def remove(self, reference: Reference, platform: Platform | None = None) -> tuple[Digest, ...]:
        with suppress(NotFoundError):
            return super().remove(reference, platform)
        return ()


@breaks("test_a_removed_image_can_come_again")
class TakesBlobsThatItDoesNotLack(PlainLoader):
    """It remembers what it has taken, and not that it is gone."""

    def lacks(self, image: Image) -> Collection[Digest]:
        taken = self.__dict__.setdefault("taken", set())
        return [digest for digest in super().lacks(image) if digest not in taken]

    def take(self, blob: Descriptor, blobs: HasBlobFiles) -> None:
        super().take(blob, blobs)
        self.__dict__.setdefault("taken", set()).add(blob.digest)


globals().update(MUTANTS.classes())
