"""What buildah is told, and what is made of its words."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.contract import Build, BuildBase, HostError, Platform, StorageError, UsageError
from polyarch_plugins.builders.buildah.files import policy_json, registries_conf, signatures_yaml
from polyarch_plugins.builders.buildah.words import build_words, failure, push_words, store_words, worth_saying

DIGEST = "sha256:" + "1" * 64
DEBIAN = BuildBase("docker.io/library/debian", DIGEST, "127.0.0.1:4711/polyarch/aa/library/debian")
OTHER = BuildBase("localhost:5000/a/b", DIGEST, "127.0.0.1:4711/polyarch/aa/a/b")
BUILD = Build(Path("/context"), Path("/work/0.Dockerfile"), Platform("linux", "arm", "v7"), Path("/out"), print)


def test_the_shortest_build() -> None:
    assert build_words(BUILD, "/p.json", "/id") == [
        *("build", "--isolation=chroot", "--format=oci", "--layers", "--force-rm"),
        *("--signature-policy=/p.json", "--iidfile=/id"),
        *("--platform=linux/arm/v7", "--file=/work/0.Dockerfile", "--", "/context"),
    ]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"cache": False}, "--no-cache"),
        ({"target": "one"}, "--target=one"),
        ({"timestamp": 0}, "--timestamp=0"),
        ({"ignore": Path("/x.dockerignore")}, "--ignorefile=/x.dockerignore"),
        ({"arguments": {"A": "b=c"}}, "--build-arg=A=b=c"),
        ({"secrets": {"token": Path("/t")}}, "--secret=id=token,src=/t"),
    ],
    ids=str,
)
def test_each_wish_is_a_word(change: dict[str, object], word: str) -> None:
    words = build_words(replace(BUILD, **change), "/p.json", "/id")  # type: ignore[arg-type]
    assert words[-3:] == [word, "--", "/context"]


def test_layers_are_not_packed_by_buildah() -> None:
    assert push_words("sha256:1", "/p", "dir:/d")[1:] == [
        "--quiet",
        "--disable-compression",
        *("--signature-policy=/p",),
        "sha256:1",
        "dir:/d",
    ]


def test_registries_lead_to_what_is_offered_and_nowhere_else() -> None:
    document = tomllib.loads(registries_conf([OTHER, DEBIAN, DEBIAN]))
    assert document["unqualified-search-registries"] == []
    assert document["registry"] == [
        {"prefix": base.name, "location": base.location, "insecure": True} for base in (DEBIAN, OTHER)
    ]


def test_the_policy_refuses_all_other_images() -> None:
    document = json.loads(policy_json([DEBIAN]))
    assert document["default"] == [{"type": "reject"}]
    assert sorted(document["transports"]) == ["containers-storage", "docker"]
    assert list(document["transports"]["docker"]) == [DEBIAN.name]


def test_signatures_are_looked_for_nowhere() -> None:
    assert json.loads(signatures_yaml(Path("/a b"))) == {"default-docker": {"lookaside": "file:///a%20b"}}


def test_the_store_is_below_the_state_and_nowhere_else() -> None:
    words = ["buildah", "--storage-driver=vfs", "--root=/s/vfs", "--runroot=/s/run"]
    assert store_words(Path("/s"), "vfs") == words


@pytest.mark.parametrize(
    ("lines", "error", "words"),
    [
        (["hello", 'Error: building at STEP "RUN x": exit status 3'], UsageError, 'STEP "RUN x": exit status 3'),
        (["Error: first", "Error: second", ""], UsageError, "buildah: second"),
        (['Error: Unknown instruction: "X" &imagebuilder.Step{Env:[]string{}}'], UsageError, 'instruction: "X"'),
        (["error: in small letters"], UsageError, "buildah: in small letters"),
        (["what it said last", "  "], UsageError, "buildah: what it said last"),
        ([], UsageError, "it ended with 137"),
        (["Error: insufficient UIDs or GIDs: Check /etc/subuid and /etc/subgid"], HostError, "insufficient UIDs"),
        (["Error: write /x: no space left on device"], StorageError, "no space left"),
        (["Error: \x1b[31mred"], UsageError, "\\x1b[31mred"),
    ],
    ids=str,
)
def test_a_failure_is_told_in_buildahs_words(lines: list[str], error: type[Exception], words: str) -> None:
    told = failure(lines, 137)
    assert type(told) is error
    assert str(told).endswith(words) or words in ("no space left", "insufficient UIDs")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("STEP 1/2: FROM scratch", True),
        ("Copying blob sha256:1", False),
        ("Copying a blob is what this RUN does", True),
        ("[Warning] one or more build args were not consumed: [TARGETARCH BUILDOS]", False),
        ("[Warning] one or more build args were not consumed: [MINE TARGETARCH]", True),
        (
            "WARNING: image platform ({arm64 linux  [] }) does not match the expected platform ({amd64 linux  [] })",
            False,
        ),
    ],
    ids=str,
)
def test_what_is_worth_saying(line: str, said: bool) -> None:
    assert worth_saying(line) is said
