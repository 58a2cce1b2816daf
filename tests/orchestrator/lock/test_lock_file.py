"""The lock file: it comes back as it was written, and whatever else is in it is told with its line."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import UsageError
from polyarch.lock.lock_file import change_lock, format_lock, parse_lock, read_lock
from polyarch.lock.locked import Lock, LockedImage, LockedVariant
from polyarch.oci.digest import digest_of
from polyarch.reference import parse_reference

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")
WHEN = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)
ALPINE = LockedImage(
    parse_reference("alpine:3.20"),
    A,
    (LockedVariant("linux/amd64", B, 528), LockedVariant("linux/arm/v7", C, 529)),
    WHEN,
    "registry-1.docker.io",
)
APP = LockedImage(
    parse_reference("ghcr.io/owner/app:1.0"),
    B,
    (LockedVariant("linux/arm64", C, 7, "ghcr.io/owner/app:1.0-arm64v8"),),
    WHEN,
    platforms=("linux/arm64",),
)
TEXT = f"""\
# What image names stand for. Written by `polyarch lock`, to be kept in version control.
version = 1

[[image]]
reference = "docker.io/library/alpine:3.20"
digest = "{A}"
served_by = "registry-1.docker.io"
locked = 2026-01-31T12:00:05Z
variants = [
    {{ platform = "linux/amd64", manifest = "{B}", size = 528 }},
    {{ platform = "linux/arm/v7", manifest = "{C}", size = 529 }},
]

[[image]]
reference = "ghcr.io/owner/app:1.0"
digest = "{B}"
locked = 2026-01-31T12:00:05Z
platforms = ["linux/arm64"]
variants = [
    {{ platform = "linux/arm64", manifest = "{C}", size = 7, reference = "ghcr.io/owner/app:1.0-arm64v8" }},
]
"""


def test_the_text_of_a_lock() -> None:
    assert format_lock(Lock().with_images([APP, ALPINE])) == TEXT
    assert parse_lock(TEXT, "polyarch.lock") == Lock((ALPINE, APP))
    assert parse_lock(TEXT.replace("\n", "\r\n"), "a checkout on Windows") == Lock((ALPINE, APP))


digests = st.integers(0, 99).map(lambda number: digest_of(bytes([number])))
words = st.text("a1b", min_size=1, max_size=3)
references = st.builds(lambda registry, name, tag: f"{registry}.io/{name}:{tag}", words, words, words)
platforms = st.sampled_from(["linux/amd64", "linux/arm", "linux/arm/v7", "linux/arm64/v8.2", "windows/amd64"])
variants = st.builds(LockedVariant, platforms, digests, st.integers(0, 2**53), st.just("") | references)
images = st.builds(
    LockedImage,
    references.map(parse_reference),
    digests,
    st.lists(variants, min_size=1, max_size=3).map(lambda found: tuple(sorted(found, key=lambda each: each.platform))),
    st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC)),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.lists(platforms, max_size=3).map(tuple),
)
locks = st.lists(images, max_size=3).map(Lock().with_images)


@given(locks)
def test_what_is_written_is_read_again(lock: Lock) -> None:
    assert parse_lock(format_lock(lock), "x") == lock


@given(locks, st.data())
def test_a_damaged_lock_is_told_or_says_the_same(lock: Lock, data: st.DataObject) -> None:
    text = format_lock(lock)
    at = data.draw(st.integers(0, len(text)))
    other = text[:at] + data.draw(st.text(max_size=3)) + text[at + data.draw(st.integers(0, 3)) :]
    with contextlib.suppress(UsageError):
        assert format_lock(parse_lock(other, "the.lock")) == other.replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        pytest.param("version = 1", "version = 2", 2, "version 2", id="newer"),
        pytest.param("version = 1", "version = true", 2, "version True", id="version-is-no-number"),
        pytest.param("version = 1\n", "", 1, "states no version", id="no-version"),
        pytest.param('digest = "sha256:a', 'digest = "sha256:A', 6, "the digest is not", id="digest"),
        pytest.param('manifest = "sha256:c', 'manifest = "sha25:c', 11, "manifest is not", id="second-variant"),
        pytest.param("size = 7", "size = -7", 20, "size is not", id="size"),
        pytest.param("size = 7", 'size = "7"', 20, "size is not", id="size-is-text"),
        pytest.param("size = 7", "size = 7, os = 1", 20, "'os' is nothing", id="variant-key"),
        pytest.param(
            "docker.io/library/alpine", "alpine", 5, "whole name is docker.io/library/alpine:3.20", id="short"
        ),
        pytest.param('owner/app:1.0"\ndigest', 'Owner/app:1.0"\ndigest', 15, "lower case", id="reference"),
        pytest.param("2026-01-31T12:00:05Z\nvariants", "2026-01-31\nvariants", 8, "is a time", id="time"),
        pytest.param(
            'platforms = ["linux/arm64"]', 'platforms = ["arm 64"]', 18, "platforms is a list", id="platforms"
        ),
        pytest.param("served_by", "servedby", 7, "'servedby' is nothing", id="unknown-key"),
        pytest.param('served_by = "registry-1.docker.io"', "served_by = 5", 7, "served_by is a host", id="host"),
        pytest.param('[[image]]\nreference = "ghcr', '[[images]]\nreference = "ghcr', 14, "'images'", id="table"),
        pytest.param(
            'variants = [\n    { platform = "linux/arm64"',
            'x = [\n    { platform = "linux/arm64"',
            19,
            "'x'",
            id="no-variants",
        ),
        pytest.param("\nlocked = 2026-01-31T12:00:05Z\nvariants", "\nvariants", 4, "locked is a time", id="no-time"),
        pytest.param("\n\n[[image]]", "\n[[image]]", 3, "edited by hand", id="a-line-less"),
        pytest.param("version = 1\n", "version = 1 # mine\n", 2, "edited by hand", id="comment"),
        pytest.param("size = 7, ", "size =  7, ", 20, "edited by hand", id="spaces"),
        pytest.param('arm64v8" },\n]\n', 'arm64v8" },\n]', 22, "edited by hand", id="end"),
        pytest.param("size = 528 },", "size = 528 }", 11, "", id="comma"),
        pytest.param(
            "locked = 2026-01-31T12:00:05Z\nvariants",
            "locked = 2026-01-31T13:00:05+01:00\nvariants",
            8,
            "edited by hand",
            id="zone",
        ),
    ],
)
def test_a_fault_is_told_with_its_line(old: str, new: str, line: int, said: str) -> None:
    assert old in TEXT
    with pytest.raises(UsageError) as caught:
        parse_lock(TEXT.replace(old, new, 1), "polyarch.lock")
    assert caught.value.message.startswith(f"polyarch.lock, line {line}: "), caught.value.message
    assert said in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("mark", ["<<<<<<< HEAD", "=======", ">>>>>>> theirs", "||||||| base"])
def test_a_merge_conflict_is_told_first(mark: str) -> None:
    lines = TEXT.splitlines()
    text = "\n".join([*lines[:5], mark, *lines[5:]])
    with pytest.raises(UsageError, match=r"polyarch.lock, line 6: a merge conflict is not settled") as caught:
        parse_lock(text, "polyarch.lock")
    assert "git checkout" in (caught.value.hint or "")


def test_an_image_that_stands_twice_or_unsorted_is_no_lock() -> None:
    head, first, second = TEXT.split("\n[[image]]\n")
    with pytest.raises(UsageError, match=r"line 15: docker\.io/library/alpine:3\.20 stands here twice"):
        parse_lock("\n[[image]]\n".join([head, first, first]), "x")
    with pytest.raises(UsageError, match="line 5: edited by hand"):
        parse_lock("\n[[image]]\n".join([head, second, first]), "x")
    swapped = TEXT.splitlines()
    swapped[9:11] = reversed(swapped[9:11])
    with pytest.raises(UsageError, match="line 9: the variants are not sorted"):
        parse_lock("\n".join(swapped) + "\n", "x")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no lock file"):
        read_lock(tmp_path / "none")
    with pytest.raises(UsageError, match="is not a plain file"):
        read_lock(tmp_path)
    (tmp_path / "bytes").write_bytes(b"version = 1\n\xff\n")
    with pytest.raises(UsageError, match="bytes, line 2: this is no UTF-8"):
        read_lock(tmp_path / "bytes")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is not a plain file"):
        read_lock(tmp_path / "pipe")
    with pytest.raises(UsageError, match="No such file"):
        change_lock(tmp_path / "nowhere" / "lock", lambda lock: lock)


def test_what_stays_the_same_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "polyarch.lock"
    link = tmp_path / "link"
    link.symlink_to(file)
    change_lock(link, lambda lock: lock.with_images([ALPINE]))
    before = file.stat()
    change_lock(file, lambda lock: lock.with_images([ALPINE]))
    assert file.stat() == before
    change_lock(link, lambda lock: lock.with_images([APP]))
    assert link.is_symlink()
    assert file.read_text() == TEXT
    assert {path.name for path in tmp_path.iterdir()} == {"polyarch.lock", "link"}


def add_images(file: Path, who: int) -> None:
    for number in range(20):
        name = parse_reference(f"app-{who}:{number}")
        image = LockedImage(name, A, ALPINE.variants, WHEN)
        change_lock(file, lambda lock, image=image: lock.with_images([image]))  # type: ignore[misc]


def test_several_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "polyarch.lock"
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=add_images, args=(file, who)) for who in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(read_lock(file).images) == 60
