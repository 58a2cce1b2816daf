"""A copy with digests: they stand behind the names, and every other character is where it was."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import UsageError
from polyarch.lock.locked import Lock, LockedImage, LockedVariant
from polyarch.lock.pinned import pinned_copy
from polyarch.lock.sources import read_source
from polyarch.reference import parse_reference

A, B = (f"sha256:{letter * 64}" for letter in "ab")
WHEN = datetime(2026, 1, 31, tzinfo=UTC)


def lock_of(names: Sequence[str], *variants: LockedVariant) -> Lock:
    chosen = variants or (LockedVariant("linux/amd64", B, 1), LockedVariant("linux/arm64", B, 1))
    return Lock().with_images(LockedImage(parse_reference(name), A, chosen, WHEN) for name in names)


def pinned(folder: Path, text: str, lock: Lock) -> str:
    path = folder / "file"
    path.write_bytes(text.encode())
    return pinned_copy(read_source(path, {}), lock, "polyarch.lock")[0]


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        pytest.param("services:\n  a:\n    image: box  # c\n", "services:\n  a:\n    image: box@A  # c\n", id="plain"),
        pytest.param(
            "services: {a: {image: box}, b: {image: 'box'}}",
            "services: {a: {image: box@A}, b: {image: 'box@A'}}",
            id="flow",
        ),
        pytest.param(
            'services:\n  a: {"image":"box:${T:-1}"}\n', 'services:\n  a: {"image":"box:1@A"}\n', id="variable"
        ),
        pytest.param(
            "x: &i box\nservices:\n  a: {image: *i}\n  b: {image: *i}\n",
            "x: &i box@A\nservices:\n  a: {image: *i}\n  b: {image: *i}\n",
            id="alias",
        ),
        pytest.param(
            "x: &i box\nservices:\n  a: {image: *i, platform: amd64}\n  b: {image: *i, platform: arm64}\n",
            "x: &i box@A\nservices:\n  a: {image: *i, platform: amd64}\n  b: {image: *i, platform: arm64}\n",
            id="alias-for-two-platforms",
        ),
        pytest.param(
            "services:\n  a:\n    image: >-\n      box\n    init: true\n",
            "services:\n  a:\n    image: box@A\n    init: true\n",
            id="block",
        ),
        pytest.param(
            "\ufeff# ü 🐳\r\nservices:\r\n  a: {image: box}\r\n",
            "\ufeff# ü 🐳\r\nservices:\r\n  a: {image: box@A}\r\n",
            id="crlf",
        ),
        pytest.param("services:\n  a: {image: 'box@A'}\n", "services:\n  a: {image: 'box@A'}\n", id="pinned-already"),
        pytest.param(
            "services:\n  a: {image: 'box:1@A'}\n", "services:\n  a: {image: 'box:1@A'}\n", id="pinned-by-a-lock"
        ),
        pytest.param(
            "kind: Pod\napiVersion: v1\ns:\n  containers:\n  - image: box\n  - image: box:1\n",
            "kind: Pod\napiVersion: v1\ns:\n  containers:\n  - image: box@A\n  - image: box:1@A\n",
            id="pod",
        ),
        pytest.param(
            "ARG V=1\nFROM --platform=linux/arm64 box:$V AS x\nFROM x\nCOPY --from='box' a b\n", None, id="quoted-copy"
        ),
        pytest.param(
            'ARG V=1\nFROM --platform=linux/arm64 box:$V AS x\nFROM x\nFROM "box"\nCOPY --from=box a b\n',
            'ARG V=1\nFROM --platform=linux/arm64 box:1@A AS x\nFROM x\nFROM "box@A"\nCOPY --from=box@A a b\n',
            id="dockerfile",
        ),
    ],
)
def test_copies(text: str, copy: str | None, tmp_path: Path) -> None:
    lock = lock_of(["box", "box:1", f"box@{A}"])
    text = text.replace("@A", f"@{A}")
    if copy is None:
        with pytest.raises(UsageError):
            pinned(tmp_path, text, lock)
        return
    once = pinned(tmp_path, text, lock)
    assert once == copy.replace("@A", f"@{A}")
    assert pinned(tmp_path, once, lock) == once


def test_a_name_that_is_not_locked_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"file, line 2: other:latest is not in polyarch.lock"):
        pinned(tmp_path, "FROM box\nFROM other\n", lock_of(["box"]))


def test_a_platform_that_the_lock_lacks_is_told(tmp_path: Path) -> None:
    text = "services:\n  a: {image: box, platform: linux/s390x}\n"
    with pytest.raises(UsageError, match=r"file, line 2: box:latest is wanted for linux/s390x; polyarch.lock has "):
        pinned(tmp_path, text, lock_of(["box"]))


def test_a_variant_under_another_name_goes_by_itself(tmp_path: Path) -> None:
    lock = lock_of(
        ["box"],
        LockedVariant("linux/amd64", A, 1),
        LockedVariant("linux/arm64", B, 1, "docker.io/library/box:latest-arm64"),
    )
    text = "services:\n  a: {image: box, platform: linux/arm64}\n  b: {image: box}\n"
    assert pinned(tmp_path, text, lock) == (
        f"services:\n  a: {{image: box:latest-arm64@{B}, platform: linux/arm64}}\n  b: {{image: box@{A}}}\n"
    )


NAMES = ["box", "box:1", "ghcr.io/o/app:2", "localhost:5000/x"]
keys = st.text("abc -é🐳'\"#", min_size=1, max_size=6)


@given(
    st.dictionaries(keys, st.tuples(st.sampled_from(NAMES), keys), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from(["'", '"', None]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_whoever_reads_the_copy_finds_names_with_digests_and_all_else_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    services: dict[str, tuple[str, str]],
    flow: bool,
    style: str | None,
    ends: str,
) -> None:
    document = {"services": {key: {"note": note, "image": name} for key, (name, note) in services.items()}}
    text = yaml.safe_dump(
        document, default_flow_style=flow, default_style=style, allow_unicode=True, line_break=ends, sort_keys=False
    )
    for service in document["services"].values():
        service["image"] += f"@{A}"
    copy = pinned(tmp_path_factory.getbasetemp(), text, lock_of(NAMES))
    assert yaml.safe_load(copy) == document
    assert copy.replace(f"@{A}", "") == text
