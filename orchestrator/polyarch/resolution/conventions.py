"""Names by convention that may hold a variant: which ones, and in which order they are looked up. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from polyarch.contract.others import Certainty, ReadsTags, TagConvention
from polyarch.reference import Reference
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

CERTAINTIES: tuple[Certainty, ...] = ("sure", "likely", "guess")


@dataclass(frozen=True, slots=True, order=True)
class Weight:
    """The order of looking names up: guesses last; then by the preference for their platforms; then the surest."""

    guess: bool
    place: int
    certainty: int


@dataclass(frozen=True, slots=True)
class Lead:
    """A name that may exist, and where the platform that it is for stands among those wanted (0 is the best)."""

    reference: Reference
    weight: Weight

    @property
    def place(self) -> int:
        """Where its platform stands."""
        return self.weight.place


def leads(
    reference: Reference,
    conventions: Sequence[TagConvention],
    platforms: Sequence[Platform],
    tags: Collection[str],
) -> list[Lead]:
    """The names for `platforms` (best first), each once: those that the conventions propose, and those that they read
    out of `tags`, which the repository has.
    """
    found: dict[Reference, Weight] = {}
    for name, place, certainty in (
        *_proposed(reference, conventions, platforms),
        *_read(reference, conventions, platforms, tags),
    ):
        weight = Weight(certainty == "guess", place, CERTAINTIES.index(certainty))
        if name != reference and weight < found.get(name, Weight(True, len(platforms), len(CERTAINTIES))):
            found[name] = weight
    return sorted((Lead(name, weight) for name, weight in found.items()), key=lambda lead: lead.weight)


def _proposed(
    reference: Reference, conventions: Iterable[TagConvention], platforms: Sequence[Platform]
) -> Iterable[tuple[Reference, int, Certainty]]:
    for convention in conventions:
        for place, platform in enumerate(platforms):
            for proposal in convention.propose(reference, platform):
                yield proposal.reference, place, proposal.certainty


def _read(
    reference: Reference,
    conventions: Iterable[TagConvention],
    platforms: Sequence[Platform],
    tags: Iterable[str],
) -> Iterable[tuple[Reference, int, Certainty]]:
    places = {platform: place for place, platform in reversed(list(enumerate(platforms)))}
    readers = [convention for convention in conventions if isinstance(convention, ReadsTags)]
    for tag in tags:
        for reader in readers:
            reading = reader.read(tag)
            if reading is None or reading.version != reference.tag:
                continue
            meant = [places[platform] for platform in reading.platforms if platform in places]
            if meant:
                yield reference.with_tag(tag), min(meant), reading.certainty
