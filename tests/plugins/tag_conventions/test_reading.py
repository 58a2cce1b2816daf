"""What the conventions read out of tags, held against those that people really gave, and against what only looks so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.contract import ReadsTags, TagReading
from polyarch.reference import parse_reference
from polyarch_platforms.architecture import load
from polyarch_platforms.platform import parse
from polyarch_plugins.tag_conventions.prefix.convention import Prefix
from polyarch_plugins.tag_conventions.repository_suffix.convention import RepositorySuffix
from polyarch_plugins.tag_conventions.suffix.convention import Suffix
from polyarch_plugins.tag_conventions.words import platforms, words
from support.seen_names import PLAIN_TAGS, REPOSITORIES, TAGS

READERS: tuple[ReadsTags, ...] = (Suffix(), Prefix())


def read(tag: str) -> tuple[str, str, tuple[str, ...]] | None:
    """Version, certainty and platforms of the one convention that reads the tag; None if none does."""
    found = [reading for reader in READERS if (reading := reader.read(tag))]
    assert len(found) <= 1, found
    return (found[0].version, found[0].certainty, tuple(map(str, found[0].platforms))) if found else None


def test_there_are_enough_schemes() -> None:
    assert len(TAGS) + len(REPOSITORIES) >= 60
    assert len({row[0].partition(":")[0] for row in TAGS + REPOSITORIES}) >= 30


@pytest.mark.parametrize(("source", "tag", "version", "certainty", "meant"), TAGS)
def test_seen_tags(source: str, tag: str, version: str, certainty: str, meant: tuple[str, ...]) -> None:
    assert read(tag) == (version, certainty, meant), source


@pytest.mark.parametrize(("source", "tag"), PLAIN_TAGS)
def test_plain_tags(source: str, tag: str) -> None:
    assert read(tag) is None, source


@pytest.mark.parametrize(("source", "asked", "platform", "name"), REPOSITORIES)
def test_seen_repositories(source: str, asked: str, platform: str, name: str) -> None:
    proposals = RepositorySuffix().propose(parse_reference(asked), parse(platform))
    assert name in [proposal.reference.familiar for proposal in proposals], source


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("linux-arm-v7", "latest linux/arm/v7"),
        ("arm-v7", "latest linux/arm/v7"),
        ("arm-v7-2.0", "2.0 linux/arm/v7"),
        ("main-linux-arm-v7", "main linux/arm/v7"),
        ("linux-arm64-v8", "latest linux/arm64"),
        ("x64", "latest linux/amd64"),
        ("rpi", "latest linux/arm/v6"),
        ("raspberry-pi", "latest linux/arm/v6"),
        ("raspberrypi3", "latest linux/arm/v7"),
        ("1.0.aarch64", "1.0 linux/arm64"),
        ("1.0-ARM64", "1.0 linux/arm64"),
        ("1.0-armv7hf", "1.0 linux/arm/v7"),
        ("1.0-armv7l", "1.0 linux/arm/v7"),
        ("1.0-loongarch64", "1.0 linux/loong64"),
        ("v5.8-armhf-buster", "v5.8-buster linux/arm/v7"),
        ("7.2-linux-arm64-alpine", "7.2-alpine linux/arm64"),
        ("windows1809-amd64", "windows1809 windows/amd64"),
        ("1.0-freebsd-amd64", "1.0 freebsd/amd64"),
        # levels: amd64-v2 is version v2 of amd64 as likely as not, so only behind a version
        ("1.0-amd64-v3", "1.0 linux/amd64/v3"),
        ("1.0-amd64v3", "1.0 linux/amd64/v3"),
        ("amd64-v2", "v2 linux/amd64"),
        ("arm64-v8.1", "v8.1 linux/arm64"),
        ("amd64-v1.2.3", "v1.2.3 linux/amd64"),
        # numbers
        ("v0.11.0-386", "v0.11.0 linux/386"),
        ("linux-386", "latest linux/386"),
        ("386", None),
        ("1.0.386", None),
        ("386-1.0", None),
        # what a tool is made for, and not what it runs on
        ("arm-none-eabi-10", None),
        ("aarch64-linux-gnu-1.0", None),
        ("1.0-cross-armhf", None),
        ("qemu-aarch64", None),
        # parts of words
        ("1.0-armored", None),
        ("1.0-rc1", None),
        ("v1.2-alpine", None),
        ("farm-1.0", None),
        ("sha256-0123456789abcdef.sig", None),
        ("-arm64", None),
        ("arm64-", None),
        ("arm64.1", None),
        ("", None),
    ],
)
def test_readings(tag: str, expected: str | None) -> None:
    found = read(tag)
    assert (f"{found[0]} {found[2][0]}" if found else None) == expected


def test_every_architecture_has_words() -> None:
    assert {platform.architecture for platform in platforms()} == set(load())
    for name, architecture in load().items():
        for word in (name, *architecture.aliases):
            found = read(f"1.0-{word}")
            assert found, word
            assert found[0] == "1.0"
            assert {parse(platform).architecture for platform in found[2]} >= {name}, word


def test_the_surest_words_are_of_one_platform() -> None:
    for word in words().values():
        assert word.platforms
        assert word.certainty != "sure" or len(word.platforms) == 1, word


@given(st.text(max_size=140) | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True))
def test_any_tag_is_read_or_not(tag: str) -> None:
    for reader in READERS:
        reading = reader.read(tag)
        assert reading is None or (isinstance(reading, TagReading) and reading.version and reading.platforms)


@given(
    version=st.from_regex(r"v?[0-9]{1,3}(\.[0-9]{1,3}){1,2}(-(alpine|slim|rc[0-9]|beta|bookworm))?", fullmatch=True),
    word=st.sampled_from(sorted(text for text, word in words().items() if word.alone)),
    joint=st.sampled_from("-_"),
)
def test_what_was_put_in_is_read_again(version: str, word: str, joint: str) -> None:
    for tag in (version + joint + word, f"{version}{joint}linux-{word}"):
        found = Suffix().read(tag)
        assert found
        assert (found.version, found.platforms) == (version, words()[word].platforms)
    for tag in (word + joint + version, f"linux-{word}{joint}{version}"):
        front = Prefix().read(tag)
        assert front
        assert front.version == version
