"""What a container changed becomes a layer, and that again the container's files: by a table of changes."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from polyarch.container.layers import Layers
from polyarch.container.mounted import prepare_top
from polyarch.container.packing import PackedChanges, pack_changes
from polyarch.container.rights import Rights
from polyarch.unpack.image import unpack_image, unpack_layer
from support.commit_cases import CASES, base_layers, lower_layer, make_all, seen, upper_layer
from support.commit_cases import place as where
from support.layers import diff_id, layer, opener
from support.overlay_mount import overlay
from support.overlay_trees import Facts, inside
from support.tar_files import entries_of

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices can only be compared as root"),
]
RIGHTS = Rights("trusted", None)
BASE = (layer(*lower_layer("c")), layer(*upper_layer("c")))
Seen = tuple[dict[bytes, Facts], set[frozenset[bytes]]]


def base(place: Path, layers: Sequence[bytes] = BASE) -> list[Path]:
    """The two layers, unpacked, the topmost first, and a container of them in `place`."""
    lowers: list[Path] = []
    for number, data in enumerate(layers):
        directory = place / f"layer-{number}"
        unpack_layer(opener(data), diff_id(data), directory, lowers, flavour="trusted", owners=True, sync=False)
        lowers.insert(0, directory)
    (place / "upper").mkdir()
    prepare_top(place, lowers, RIGHTS)
    return lowers


def packed(place: Path, lowers: list[Path], latest: int | None = None) -> tuple[PackedChanges, bytes]:
    with (place / "packed").open("w+b") as out:
        result = pack_changes(place, Layers("unpacked", tuple(lowers)), RIGHTS, out, latest)
        out.seek(0)
        return result, out.read()


def changed(place: Path, lowers: list[Path], change: Callable[[Path], object]) -> None:
    """Make a change in the container, in the directory `c`."""
    inside(lowers, place, "trusted", lambda top: (change(top / "c"), None)[1])


@dataclass(frozen=True)
class Everything:
    """What all cases made, by case: in the container, from its layer merged, and from its layer in an overlay."""

    container: dict[str, Seen]
    merged: dict[str, Seen]
    mounted: dict[str, Seen]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Everything:
    place = tmp_path_factory.mktemp("packing")
    layers = list(base_layers())
    lowers = base(place, layers)

    def act(top: Path) -> dict[str, Seen]:
        make_all(top)
        return all_seen(top)

    container = inside(lowers, place, "trusted", act)
    result, data = packed(place, lowers)
    assert result.packed is not None
    layers.append(gzip.decompress(data))
    assert result.packed.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert result.packed.diff_id == diff_id(layers[2])
    assert result.packed.size == len(data)
    unpack_image([opener(each) for each in layers], [diff_id(each) for each in layers], place / "flat")
    third = place / "layer-2"
    unpack_layer(opener(layers[2]), diff_id(layers[2]), third, lowers, flavour="trusted", owners=True, sync=False)
    with overlay([third, *lowers], place / "mounted") as mounted:
        return Everything(container, all_seen(place / "flat"), all_seen(mounted))


def all_seen(top: Path) -> dict[str, Seen]:
    return {case: seen(top / each) for case in CASES if (each := where(case))}


@pytest.mark.parametrize("case", CASES)
def test_the_image_has_what_the_container_had(case: str, everything: Everything) -> None:
    assert everything.merged[case] == everything.container[case]
    assert everything.mounted[case] == everything.container[case]


UNCHANGED = ("nothing", "copied up, and nothing more")


@pytest.mark.parametrize("case", UNCHANGED)
def test_no_change_makes_no_layer(case: str, tmp_path: Path) -> None:
    lowers = base(tmp_path)
    changed(tmp_path, lowers, CASES[case])
    assert packed(tmp_path, lowers) == (PackedChanges(None), b"")


ENTRIES: dict[str, list[str]] = {
    "other content": ["c/", "c/f"],
    "a file deleted": ["c/", "c/.wh.f"],
    "a directory deleted": ["c/", "c/.wh.d"],
    "a directory deleted, a file of its name": ["c/", "c/d"],
    "a directory deleted and made again": [
        *("c/", "c/d/", "c/d/.wh.a", "c/d/b", "c/d/.wh.c", "c/d/sub/", "c/d/sub/.wh.x", "c/d/sub/y"),
    ],
    "a further name of a lower file": ["c/", "c/d/", "c/d/f2", "c/f -> c/d/f2"],
    "a hidden name is taken and left again": ["c/"],
    "a socket in a file's place": ["c/", "c/.wh.f"],
    "the mode of a directory": ["c/", "c/d/"],
}


@pytest.mark.parametrize("case", ENTRIES)
def test_a_layer_holds_what_changed_and_no_more(case: str, tmp_path: Path) -> None:
    lowers = base(tmp_path)
    changed(tmp_path, lowers, CASES[case])
    assert entries_of(gzip.decompress(packed(tmp_path, lowers)[1])) == ENTRIES[case]


def test_what_no_layer_can_hold_is_told(tmp_path: Path) -> None:
    lowers = base(tmp_path)

    def change(top: Path) -> None:
        CASES["a socket"](top)
        (top / "d/.wh.dir").mkdir()
        (top / "d/.wh.dir/f").touch()

    changed(tmp_path, lowers, change)
    result, data = packed(tmp_path, lowers)
    assert (result.sockets, result.forbidden) == (("c/sock",), ("c/d/.wh.dir", "c/d/.wh.dir/f"))
    assert entries_of(gzip.decompress(data)) == ["c/", "c/d/"]


def test_the_same_changes_give_the_same_bytes(tmp_path: Path) -> None:
    """Also when they were made at other times, where no time may be later than a certain one."""
    latest = 1_700_000_001 * 1_000_000_000
    found = []
    for name in ("one", "two"):
        place = tmp_path / name
        place.mkdir()
        lowers = base(place)
        changed(place, lowers, lambda top: (CASES["new files with several names"](top), CASES["other content"](top)))
        found.append(packed(place, lowers, latest))
    assert found[0] == found[1]


def test_the_root_directory_itself(tmp_path: Path) -> None:
    lowers = base(tmp_path)

    def change(top: Path) -> object:
        top.chmod(0o711)
        os.chown(top, 3, 4)
        os.utime(top, ns=(0, 5))
        return top.stat().st_mtime_ns

    inside(lowers, tmp_path, "trusted", change)
    _, data = packed(tmp_path, lowers)
    plain = gzip.decompress(data)
    assert entries_of(plain) == ["./"]
    images = [*BASE, plain]
    unpack_image([opener(each) for each in images], [diff_id(each) for each in images], tmp_path / "flat")
    status = (tmp_path / "flat").stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime_ns) == (0o711, 3, 4, 5)


def test_a_disk_that_is_full(tmp_path: Path, small_tmpfs: Callable[[int], Path]) -> None:
    from polyarch.errors import StorageError

    lowers = base(tmp_path)
    changed(tmp_path, lowers, lambda top: (top / "noise").write_bytes(os.urandom(1 << 20)))
    with (small_tmpfs(1 << 18) / "packed").open("w+b") as out, pytest.raises(StorageError, match="No space left"):
        pack_changes(tmp_path, Layers("unpacked", tuple(lowers)), RIGHTS, out)
