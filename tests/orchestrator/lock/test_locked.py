"""What can be asked of a lock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from polyarch.lock.locked import Lock, LockedImage, LockedVariant, Move, moves
from polyarch.reference import parse_reference
from polyarch_platforms.platform import parse

A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")
WHEN = datetime(2026, 1, 31, tzinfo=UTC)


def image(name: str, *variants: tuple[str, str], digest: str = A) -> LockedImage:
    made = tuple(LockedVariant(platform, manifest, 500) for platform, manifest in variants)
    return LockedImage(parse_reference(name), digest, made, WHEN)


BOX = image("box:1", ("linux/amd64", B), ("linux/arm64", C))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("docker.io/library/box:1", True),
        (f"docker.io/library/box:1@{A}", True),
        (f"docker.io/library/box:1@{B}", False),
        (f"docker.io/library/box@{A}", False),
        ("docker.io/library/box:2", False),
        ("box:1", False),
    ],
)
def test_an_entry_is_found_by_its_whole_name_alone(name: str, found: bool) -> None:
    lock = Lock().with_images([BOX])
    assert lock.entry(name) == (BOX if found else None)
    assert lock.entry(parse_reference("box:1")) == BOX


def test_manifests_are_by_platform_the_first_of_each() -> None:
    twice = image("box:1", ("linux/amd64", B), ("linux/arm", C), ("linux/arm", D))
    assert list(twice.manifests.items()) == [("linux/amd64", (B, 500)), ("linux/arm", (C, 500))]
    assert twice.variant(D) == twice.variants[2]
    assert twice.variant(A) is None


@pytest.mark.parametrize(
    ("stated", "wanted", "found"),
    [
        (["linux/arm/v5", "linux/arm/v7"], "linux/arm/v7", "linux/arm/v7"),
        (["linux/arm/v5", "linux/arm/v7"], "linux/arm/v6", "linux/arm/v5"),
        (["linux/arm"], "linux/arm/v7", "linux/arm"),
        (["linux/amd64", "linux/arm64/v8"], "linux/arm64", "linux/arm64/v8"),
        (["linux/amd64", "linux/arm/v7"], "linux/arm64", None),
        (["windows/amd64"], "linux/amd64", None),
    ],
)
def test_the_variant_that_a_platform_would_take(stated: list[str], wanted: str, found: str | None) -> None:
    locked = image("box:1", *((platform, B) for platform in stated))
    best = locked.best_for(parse(wanted))
    assert (best.platform if best else None) == found


def test_what_moved_is_told_by_platform() -> None:
    new = image("box:1", ("linux/amd64", B), ("linux/arm64", D), ("linux/riscv64", C), digest=D)
    assert moves(BOX, new) == (Move("linux/arm64", C, D), Move("linux/riscv64", None, C))
    assert moves(new, BOX) == (Move("linux/arm64", D, C), Move("linux/riscv64", C, None))
    assert moves(BOX, replace(BOX, digest=D)) == ()


def test_the_time_and_the_host_are_no_content() -> None:
    assert BOX.same_content(replace(BOX, locked=datetime(2027, 1, 1, tzinfo=UTC), served_by="mirror"))
    assert not BOX.same_content(replace(BOX, platforms=("linux/arm64",)))
    assert not BOX.same_content(replace(BOX, digest=B))
