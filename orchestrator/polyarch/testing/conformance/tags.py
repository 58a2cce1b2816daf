"""What a tag convention promises, a test for each promise. See `polyarch.testing.conformance` for how to use it."""

from __future__ import annotations

from typing import get_args

import pytest

from polyarch.contract import (
    Certainty,
    Platform,
    ReadsTags,
    Reference,
    TagConvention,
    TagProposal,
    TagReading,
    digest_of,
    parse_reference,
)
from polyarch.testing.conformance.images import MAX_NAME_LENGTH, MAX_TAG_LENGTH
from polyarch.testing.conformance.storage_abilities import able
from polyarch.testing.conformance.trials import in_threads
from polyarch_platforms.platform import parse

HANDFUL = 16
"""As many names as a convention may think of for one image: each may cost a request."""

DIGEST = digest_of(b"an image")
TAGGED = (
    "busybox",
    "busybox:1.36",
    "user/app",
    "user/app:v1.0_rc.1-alpine",
    "ghcr.io/owner/group/app:1.0",
    "127.0.0.1:5000/app:1.0",
    "[::1]:5000/a__b/c.d/e--f:latest",
    f"registry.example/app:{'t' * MAX_TAG_LENGTH}",
    f"registry.example/app:{'t' * (MAX_TAG_LENGTH - 6)}",
    f"registry.example/{'r' * (MAX_NAME_LENGTH - 17)}:1.0",
    f"registry.example/{'r' * (MAX_NAME_LENGTH - 24)}:1.0",
)
NAMES = (*map(parse_reference, TAGGED), Reference("", "/srv/ein Größenvergleich/日本", "1.0", "", "attic"))
PLATFORMS = tuple(
    map(
        parse,
        "amd64 386 arm64 arm/v5 arm/v6 arm/v7 arm/v8 riscv64 ppc64le s390x mips64le loong64 amd64/v3".split(),  # noqa: SIM905
    )
)
FOREIGN = (Platform("windows", "amd64"), Platform("darwin", "arm64"), Platform("freebsd", "amd64"))
UNKNOWN = Platform("linux", "z80", "v9")
TEXTS = (
    "",
    "-",
    "_",
    ".",
    "arm64",
    "-arm64",
    "arm64-",
    "1.0-arm64-arm64",
    "日本-arm64",
    "1.0-ärm64",
    "\n-arm64\n",
    "1.0\u202e-arm64",
    "a" * MAX_TAG_LENGTH,
    "-" * 5000,
    "arm64" * 1000,
    "{tag}-{arch}",
    "%s-arm64",
    "../../arm64",
)


def _proposed(convention: TagConvention, names: tuple[Reference, ...] = NAMES) -> list[tuple[Reference, TagProposal]]:
    """Everything that the convention thinks of, each with the name that was asked for."""
    return [(name, proposal) for name in names for each in PLATFORMS for proposal in convention.propose(name, each)]


class TagConventionConformance:
    """Subclass it as `Test…`, and give the fixture `convention`: a new object of the convention."""

    @pytest.fixture
    def convention(self) -> TagConvention:
        """The author's: the convention."""
        pytest.fail(
            f"{type(self).__name__} has to give, within it, a fixture `convention`: the object that proposes names"
        )

    def test_something_is_proposed(self, convention: TagConvention) -> None:
        """For one of the usual names and platforms at least there is a proposal."""
        assert _proposed(convention), "a convention that proposes nothing is of no use (TagConvention.propose)"

    def test_proposals_are_proposals(self, convention: TagConvention) -> None:
        """Each is a TagProposal with a Reference and a Platform."""
        for _, proposal in _proposed(convention):
            assert isinstance(proposal, TagProposal), "`propose` gives TagProposals (TagConvention.propose)"
            assert isinstance(proposal.reference, Reference), "a proposal names a Reference (TagProposal)"
            assert isinstance(proposal.platform, Platform), "a proposal is for a Platform (TagProposal)"

    def test_the_platform_is_the_one_asked_for(self, convention: TagConvention) -> None:
        """The platform comes back as it was asked for."""
        for name in NAMES:
            for platform in PLATFORMS:
                for proposal in convention.propose(name, platform):
                    assert proposal.platform == platform, "a name is proposed for the platform asked (TagProposal)"

    def test_the_same_words_give_the_same_names(self, convention: TagConvention) -> None:
        """Asked again, the convention answers the same, in the same order: it is pure."""
        first = _proposed(convention)
        assert _proposed(convention) == first, "the same question has the same answer (TagConvention: pure)"

    def test_questions_do_not_meet(self, convention: TagConvention) -> None:
        """What is proposed does not depend on what was asked before, nor on one who asks in between."""
        name, other = parse_reference("user/app:1.0"), parse_reference("user/other:2.0")
        for platform in PLATFORMS:
            alone = list(convention.propose(name, platform))
            begun = iter(convention.propose(name, platform))
            between = iter(convention.propose(other, platform))
            next(between, None)
            mixed = []
            for proposal in begun:
                mixed.append(proposal)
                next(between, None)
            assert mixed == alone, "questions do not share anything (TagConvention: pure)"

    def test_threads_ask_at_once(self, convention: TagConvention) -> None:
        """Several threads get the same answers as one."""
        expected = _proposed(convention)
        for answer in in_threads([lambda: _proposed(convention)] * 4):
            assert answer == expected, "questions do not share anything (TagConvention: pure)"

    def test_there_are_few(self, convention: TagConvention) -> None:
        """A handful for each question: every name may cost a request."""
        for name in NAMES:
            for platform in PLATFORMS:
                count = sum(1 for _ in convention.propose(name, platform))
                assert count <= HANDFUL, f"{count} names for {name}, {platform}: at most a handful (propose)"

    def test_no_name_comes_twice(self, convention: TagConvention) -> None:
        """Each name is proposed once for a question."""
        for name in NAMES:
            for platform in PLATFORMS:
                names = [proposal.reference for proposal in convention.propose(name, platform)]
                assert len(names) == len(set(names)), f"a name is looked up once: {name}, {platform} (propose)"

    def test_the_name_itself_is_not_proposed(self, convention: TagConvention) -> None:
        """The name asked for was looked up before: it is no proposal."""
        for name, proposal in _proposed(convention):
            assert proposal.reference != name, f"{name} itself is known already (TagConvention.propose)"

    def test_the_registry_stays(self, convention: TagConvention) -> None:
        """Nobody is sent to another registry: who owns a name here owns nothing there."""
        for name, proposal in _proposed(convention):
            assert proposal.reference.registry == name.registry, f"{name}: the registry stays (propose)"
            assert proposal.reference.scheme == name.scheme, f"{name}: the scheme stays (propose)"

    def test_names_are_valid(self, convention: TagConvention) -> None:
        """Each proposal can be written, and read as the same reference again."""
        for name, proposal in _proposed(convention):
            text = str(proposal.reference)
            assert parse_reference(text, (name.scheme,)) == proposal.reference, f"{name}: {text} is no reference"

    def test_tags_stay_within_their_length(self, convention: TagConvention) -> None:
        """A tag has at most 128 characters (distribution-spec, "Pulling manifests")."""
        for name, proposal in _proposed(convention):
            length = len(proposal.reference.tag)
            assert 0 < length <= MAX_TAG_LENGTH, f"{name}: a tag of {length} characters (propose)"

    def test_names_stay_within_their_length(self, convention: TagConvention) -> None:
        """Registry and repository have at most 255 characters together."""
        for name, proposal in _proposed(convention):
            length = len(proposal.reference.name)
            assert length <= MAX_NAME_LENGTH, f"{name}: a name of {length} characters (propose)"

    def test_no_digest_is_proposed(self, convention: TagConvention) -> None:
        """The digest of the name asked for belongs to that name: a proposal has none."""
        names = tuple(name.with_digest(DIGEST) for name in NAMES)
        for name, proposal in _proposed(convention, names):
            assert proposal.reference.digest == "", f"{name}: another name has another digest (propose)"

    def test_a_digest_alone_has_no_variants(self, convention: TagConvention) -> None:
        """Who asks for a digest and no tag wants that very image."""
        names = (parse_reference(f"busybox@{DIGEST}"), parse_reference(f"ghcr.io/owner/app@{DIGEST}"))
        assert _proposed(convention, names) == [], "a digest without a tag has no other names (propose)"

    def test_the_certainty_is_one_of_three(self, convention: TagConvention) -> None:
        """How much a word tells is said in one of the contract's three words."""
        for name, proposal in _proposed(convention):
            assert proposal.certainty in get_args(Certainty), f"{name}: {proposal.certainty!r} (Certainty)"

    def test_architectures_do_not_share_names(self, convention: TagConvention) -> None:
        """A name that means amd64 does not mean arm64 or s390x, too."""
        for name in NAMES:
            seen: dict[Reference, Platform] = {}
            for word in ("amd64", "arm64", "s390x"):
                for proposal in convention.propose(name, parse(word)):
                    other = seen.setdefault(proposal.reference, proposal.platform)
                    assert other == proposal.platform, f"{proposal.reference} is for {other}, too (propose)"

    def test_another_system_is_not_linux(self, convention: TagConvention) -> None:
        """For Windows and others there is nothing, or names of their own: never those of Linux."""
        for name in NAMES:
            for platform in FOREIGN:
                linux = convention.propose(name, Platform("linux", platform.architecture))
                shared = {each.reference for each in convention.propose(name, platform)} & {
                    each.reference for each in linux
                }
                assert not shared, f"{name}: what is proposed for Linux is not for {platform.os} (propose)"

    def test_an_architecture_that_nobody_has(self, convention: TagConvention) -> None:
        """There is nothing, or a name with its own word: never a name of another architecture."""
        for name in NAMES:
            known = {each.reference for platform in PLATFORMS for each in convention.propose(name, platform)}
            for proposal in convention.propose(name, UNKNOWN):
                assert proposal.reference not in known, f"{name}: {UNKNOWN} is no other architecture (propose)"

    def test_what_is_proposed_is_read(self, convention: TagConvention) -> None:
        """ReadsTags: a tag that the convention made is of this convention, and means the platform it was made for."""
        reader = able(convention, ReadsTags)
        for name, platform, tag in _made_tags(convention):
            reading = reader.read(tag)
            assert reading is not None, f"{tag} was proposed for {name}, so it is read (ReadsTags.read)"
            assert platform in reading.platforms, f"{tag} was proposed for {platform} (TagReading.platforms)"

    def test_the_version_is_what_is_left(self, convention: TagConvention) -> None:
        """ReadsTags: without the convention's word the tag asked for is left."""
        reader = able(convention, ReadsTags)
        for name, _, tag in _made_tags(convention):
            reading = reader.read(tag)
            assert reading is not None
            assert reading.version == name.tag, f"of {tag} is left what {name} was asked for (TagReading.version)"

    def test_plain_tags_are_not_read(self, convention: TagConvention) -> None:
        """ReadsTags: None for a tag without any word of a platform."""
        reader = able(convention, ReadsTags)
        for tag in ("latest", "stable", "1.36", "v1.0_rc.1-alpine", "20240101", "sha-0a1b2c3"):
            assert reader.read(tag) is None, f"{tag} names no platform (ReadsTags.read)"

    def test_any_text_is_read(self, convention: TagConvention) -> None:
        """ReadsTags: whatever a registry calls a tag, it is read or not, and nothing is raised."""
        reader = able(convention, ReadsTags)
        for text in TEXTS:
            reading = reader.read(text)
            assert reading is None or isinstance(reading, TagReading), f"{text!r}: {reading!r} (ReadsTags.read)"

    def test_readings_are_readings(self, convention: TagConvention) -> None:
        """ReadsTags: a version that is part of the tag, or `latest`; platforms, each once; a certainty."""
        reader = able(convention, ReadsTags)
        for tag in (*TEXTS, *(tag for _, _, tag in _made_tags(convention))):
            if (reading := reader.read(tag)) is not None:
                assert reading.version in ("", "latest") or reading.version in tag, f"{tag!r} (TagReading.version)"
                assert reading.platforms, f"{tag!r}: a reading names a platform (TagReading.platforms)"
                assert len(reading.platforms) == len(set(reading.platforms)), f"{tag!r}: a platform comes twice"
                assert reading.certainty in get_args(Certainty), f"{tag!r}: {reading.certainty!r} (Certainty)"

    def test_reading_is_pure(self, convention: TagConvention) -> None:
        """ReadsTags: the same tag has the same reading."""
        reader = able(convention, ReadsTags)
        tags = [*TEXTS, *(tag for _, _, tag in _made_tags(convention))]
        first = [reader.read(tag) for tag in tags]
        assert [reader.read(tag) for tag in tags] == first, "a tag's reading does not change (ReadsTags: pure)"


def _made_tags(convention: TagConvention) -> list[tuple[Reference, Platform, str]]:
    """The tags that the convention makes of tags with a version, and what they are made for."""
    names = tuple(name for name in NAMES if name.tag != "latest")
    return [
        (name, proposal.platform, proposal.reference.tag)
        for name, proposal in _proposed(convention, names)
        if proposal.reference.tag != name.tag
    ]
