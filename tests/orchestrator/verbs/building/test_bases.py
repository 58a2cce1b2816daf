"""Which images a Dockerfile stands on for each platform, and the text in which they stand by their digests."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.contract import Image
from polyarch.errors import UsageError
from polyarch.reference import parse_reference
from polyarch.verbs.building.bases import bases_of, platform_arguments, read_dockerfile
from polyarch_platforms.platform import Platform, parse
from support.small_images import SmallStorage

AMD64, ARM64 = parse("amd64"), parse("arm64")


class Brought:
    """Brings an image for each name and platform, and remembers which were asked for."""

    def __init__(self, folder: Path) -> None:
        self._storage = SmallStorage(folder)
        self.asked: list[tuple[str, str]] = []

    def __call__(self, name: str, platform: str) -> Image:
        from dataclasses import replace

        self.asked.append((name, platform))
        image = self._storage.manifest(platform, [f"{name} {platform}".encode()])
        return replace(image, reference=parse_reference(name))

    def digest(self, name: str, platform: str) -> str:
        return self(name, platform).manifest.digest


@pytest.fixture
def brought(tmp_path: Path) -> Brought:
    return Brought(tmp_path)


def pinned(text: str, brought: Brought, target: Platform = ARM64, **arguments: str) -> str:
    return bases_of(text, "Dockerfile", {**platform_arguments(target, AMD64), **arguments}, target, brought).text


DEBIAN = "docker.io/library/debian"
TEXTS = [
    ("FROM debian:12\nRUN x\n", "FROM @debian:12 linux/arm64@\nRUN x\n"),
    ('FROM "debian:12" AS base\r\nFROM base\r\n', "FROM @debian:12 linux/arm64@ AS base\r\nFROM base\r\n"),
    ("FROM scratch\nCOPY . /\n", "FROM scratch\nCOPY . /\n"),
    ("ARG V=12\nFROM debian:${V}\n", "ARG V=12\nFROM @debian:12 linux/arm64@\n"),
    (
        "FROM debian:12\nCOPY --from=debian:11 /a /b\n",
        "FROM @debian:12 linux/arm64@\nCOPY --from=@debian:11 linux/arm64@ /a /b\n",
    ),
    (
        "FROM --platform=$BUILDPLATFORM debian:12 AS tool\nFROM debian:12\nCOPY --from=tool /a /b\n",
        "ARG BUILDPLATFORM\nFROM --platform=$BUILDPLATFORM @debian:12 linux/amd64@ AS tool\n"
        "FROM @debian:12 linux/arm64@\nCOPY --from=tool /a /b\n",
    ),
    (
        "# escape=`\nFROM debian:12 AS base-arm64\nFROM base-${TARGETARCH}\n",
        "# escape=`\nARG TARGETARCH\nFROM @debian:12 linux/arm64@ AS base-arm64\nFROM base-${TARGETARCH}\n",
    ),
    (
        "FROM --platform=linux/s390x debian:12\nRUN <<EOF\nFROM not:this\nEOF\n",
        "FROM --platform=linux/s390x @debian:12 linux/s390x@\nRUN <<EOF\nFROM not:this\nEOF\n",
    ),
    ("FROM debian:12-$TARGETARCH\n", "FROM @debian:12-arm64 linux/arm64@\n"),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS, ids=[repr(text) for text, _ in TEXTS])
def test_images_stand_by_their_digests(text: str, expected: str, brought: Brought) -> None:
    parts = expected.split("@")
    for place in range(1, len(parts), 2):
        name, platform = parts[place].split(" ")
        parts[place] = f"{DEBIAN}@{brought.digest(name, platform)}"
    assert pinned(text, brought) == "".join(parts)


def test_a_build_argument_takes_the_place_of_the_default(brought: Brought) -> None:
    pinned("ARG V=12\nFROM debian:$V\n", brought, V="13")
    assert brought.asked == [("debian:13", "linux/arm64")]


def test_an_argument_that_the_file_does_not_have_changes_nothing(brought: Brought) -> None:
    with pytest.raises(UsageError, match="Dockerfile, line 1: the variable V is not set"):
        pinned("FROM debian:$V\n", brought, V="13")


def test_each_image_counts_once(brought: Brought) -> None:
    text = "FROM debian:12 AS a\nFROM debian:12 AS b\nFROM --platform=$BUILDPLATFORM debian:12\n"
    found = bases_of(text, "Dockerfile", platform_arguments(ARM64, AMD64), ARM64, brought)
    assert [str(image.platform) for image in found.images] == ["linux/arm64", "linux/amd64"]


def test_the_arguments_of_the_platforms() -> None:
    assert platform_arguments(parse("linux/arm/v7"), AMD64) == {
        "TARGETPLATFORM": "linux/arm/v7",
        "TARGETOS": "linux",
        "TARGETARCH": "arm",
        "TARGETVARIANT": "v7",
        "BUILDPLATFORM": "linux/amd64",
        "BUILDOS": "linux",
        "BUILDARCH": "amd64",
        "BUILDVARIANT": "",
    }


def test_a_dockerfile_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no "):
        read_dockerfile(tmp_path / "Dockerfile")
    (tmp_path / "Dockerfile").write_bytes(b"FROM \xff\n")
    with pytest.raises(UsageError, match="cannot be read"):
        read_dockerfile(tmp_path / "Dockerfile")
    (tmp_path / "Dockerfile").write_text(" \n")
    with pytest.raises(UsageError, match="is empty"):
        read_dockerfile(tmp_path / "Dockerfile")
