"""Tag conventions that are broken on purpose, each for the tests that its `breaks` names."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from polyarch.contract import Platform, Reference, TagConvention, TagProposal, TagReading
from polyarch.testing.conformance import TagConventionConformance
from support.mutants import Mutants
from support.plain_convention import PlainConvention


def _fixtures(kind: type[PlainConvention]) -> dict[str, Any]:
    @pytest.fixture
    def convention(self: object) -> TagConvention:
        return kind()

    return {"convention": convention}


MUTANTS = Mutants(TagConventionConformance, _fixtures, PlainConvention)
breaks = MUTANTS.breaks


@breaks("test_something_is_proposed")
class ProposesNothing(PlainConvention):
    def words(self, platform: Platform) -> tuple[str, ...]:
        return ()


@breaks("test_proposals_are_proposals")
class ProposesTexts(PlainConvention):
    def propose(self, reference: Reference, platform: Platform) -> Iterable[Any]:
        return [str(proposal.reference) for proposal in super().propose(reference, platform)]


@breaks("test_proposals_are_proposals")
class ProposesTextsForReferences(PlainConvention):
    def named(self, reference: Reference, tag: str) -> Any:
        return f"{reference.name}:{tag}"


@breaks("test_the_platform_is_the_one_asked_for")
class TidiesPlatforms(PlainConvention):
    def propose(self, reference: Reference, platform: Platform) -> Iterable[TagProposal]:
        return [
            replace(each, platform=Platform("linux", "arm64", "v8")) for each in super().propose(reference, platform)
        ]


@breaks("test_the_same_words_give_the_same_names")
class LearnsFromQuestions(PlainConvention):
    def tags(self, reference: Reference, platform: Platform) -> Iterator[str]:
        asked: set[object] = self.__dict__.setdefault("asked", set())
        again = (reference, platform) in asked
        asked.add((reference, platform))
        return iter(sorted(super().tags(reference, platform), reverse=again))


@breaks("test_questions_do_not_meet")
class RemembersTheQuestion(PlainConvention):
    asked = Reference("", "")

    def propose(self, reference: Reference, platform: Platform) -> Iterable[TagProposal]:
        self.asked = reference
        return super().propose(reference, platform)

    def named(self, reference: Reference, tag: str) -> Reference:
        return super().named(self.asked, tag)


@breaks("test_threads_ask_at_once")
class IsOfOneThread(PlainConvention):
    def __init__(self) -> None:
        self.owner = threading.get_ident()

    def words(self, platform: Platform) -> tuple[str, ...]:
        return super().words(platform) if threading.get_ident() == self.owner else ()


@breaks("test_there_are_few")
class ProposesMany(PlainConvention):
    def words(self, platform: Platform) -> tuple[str, ...]:
        return tuple(f"{word}-{number}" for word in super().words(platform) for number in range(17))


@breaks("test_no_name_comes_twice")
class ProposesTwice(PlainConvention):
    def words(self, platform: Platform) -> tuple[str, ...]:
        return super().words(platform) * 2


@breaks("test_the_name_itself_is_not_proposed")
class ProposesTheNameItself(PlainConvention):
    def tags(self, reference: Reference, platform: Platform) -> Iterator[str]:
        yield from super().tags(reference, platform)
        yield reference.tag


@breaks("test_the_registry_stays")
class GoesToDockerHub(PlainConvention):
    def named(self, reference: Reference, tag: str) -> Reference:
        return replace(super().named(reference, tag), registry="docker.io", scheme="")


@breaks("test_names_are_valid")
class WritesPlatformsIntoTags(PlainConvention):
    def words(self, platform: Platform) -> tuple[str, ...]:
        return (str(platform),)


@breaks("test_tags_stay_within_their_length")
class MakesLongTags(PlainConvention):
    def tags(self, reference: Reference, platform: Platform) -> Iterator[str]:
        return (f"{reference.tag}-{word}" for word in self.words(platform))


@breaks("test_names_stay_within_their_length")
class MakesLongNames(PlainConvention):
    def named(self, reference: Reference, tag: str) -> Reference:
        return replace(reference, repository=f"{reference.repository}-arm64", digest="")


@breaks("test_no_digest_is_proposed")
class KeepsTheDigest(PlainConvention):
    def named(self, reference: Reference, tag: str) -> Reference:
        return replace(reference, tag=tag)


@breaks("test_a_digest_alone_has_no_variants")
class TagsDigests(PlainConvention):
    def tags(self, reference: Reference, platform: Platform) -> Iterator[str]:
        return super().tags(replace(reference, tag=reference.tag or "latest"), platform)


@breaks("test_the_certainty_is_one_of_three")
class IsCertain(PlainConvention):
    certainty = "certain"  # type: ignore[assignment]


@breaks("test_architectures_do_not_share_names")
class SaysLinux(PlainConvention):
    def words(self, platform: Platform) -> tuple[str, ...]:
        return (platform.os,)


@breaks("test_another_system_is_not_linux")
class LooksAtNoSystem(PlainConvention):
    def words(self, platform: Platform) -> tuple[str, ...]:
        return super().words(replace(platform, os="linux"))


@breaks("test_an_architecture_that_nobody_has")
class FallsBackToAmd64(PlainConvention):
    def words(self, platform: Platform) -> tuple[str, ...]:
        return super().words(platform) or ("amd64",)


@breaks("test_what_is_proposed_is_read")
class ReadsNothing(PlainConvention):
    def read(self, tag: str) -> TagReading | None:
        return None


@breaks("test_what_is_proposed_is_read")
class ReadsAnotherPlatform(PlainConvention):
    def read(self, tag: str) -> TagReading | None:
        reading = super().read(tag)
        return replace(reading, platforms=(Platform("linux", "386"),)) if reading else None


@breaks("test_the_version_is_what_is_left")
class LeavesTheDash(PlainConvention):
    def read(self, tag: str) -> TagReading | None:
        reading = super().read(tag)
        return replace(reading, version=f"{reading.version}-") if reading else None


@breaks("test_plain_tags_are_not_read")
class ReadsPlainTags(PlainConvention):
    def read(self, tag: str) -> TagReading | None:
        return super().read(tag) or TagReading(tag, (Platform("linux", "amd64"),), "guess")


@breaks("test_any_text_is_read")
class WantsADash(PlainConvention):
    def read(self, tag: str) -> TagReading | None:
        tag.index("-")
        return super().read(tag)


@breaks("test_readings_are_readings")
class ReadsNoPlatform(PlainConvention):
    def read(self, tag: str) -> TagReading | None:
        version, dash, _ = tag.rpartition("-")
        return super().read(tag) or (TagReading(version, ()) if dash else None)


@breaks("test_readings_are_readings")
class MakesVersionsUp(PlainConvention):
    def read(self, tag: str) -> TagReading | None:
        reading = super().read(tag)
        return replace(reading, version=f"v{reading.version}") if reading else None


@breaks("test_reading_is_pure")
class ReadsOnce(PlainConvention):
    def read(self, tag: str) -> TagReading | None:
        seen: set[str] = self.__dict__.setdefault("seen", set())
        if tag in seen:
            return None
        seen.add(tag)
        return super().read(tag)


globals().update(MUTANTS.classes())
