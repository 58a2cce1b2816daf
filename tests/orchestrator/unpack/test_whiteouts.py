"""Layers on top of each other, in both forms: what is seen must be the same."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polyarch.unpack.image import remove_tree, unpack_image, unpack_layer
from polyarch.unpack.stack import Flavour
from support.erofs_trees import needs_erofs, prepared, seen_by_all
from support.layers import Item, diff_id, file, folder, hard_link, layer, listing, opener, symlink
from support.overlay_mount import overlay
from support.overlay_trees import inside

FACTS = ("mode", "mtime", "owner")
T = 1_700_000_000_000_000_000


def flat(layers: Sequence[bytes], target: Path) -> Path:
    unpack_image([opener(data) for data in layers], [diff_id(data) for data in layers], target)
    return target


def chain(layers: Sequence[bytes], folder: Path, flavour: Flavour = "trusted") -> list[Path]:
    """Each layer in the overlay form; the topmost first."""
    folder.mkdir()
    directories: list[Path] = []
    for number, data in enumerate(layers):
        directory = folder / str(number)
        unpack_layer(opener(data), diff_id(data), directory, directories, flavour=flavour, owners=True, sync=False)
        directories.insert(0, directory)
    return directories


def whiteout(path: str) -> Item:
    head, _, name = path.rpartition("/")
    return file(f"{head}/.wh.{name}" if head else f".wh.{name}")


def opaque(path: str) -> Item:
    return file(f"{path}/.wh..wh..opq" if path else ".wh..wh..opq")


BASE = [
    folder("d"),
    file("d/a", "a"),
    file("d/b", "b"),
    folder("d/sub"),
    file("d/sub/x", "x"),
    file("e", "e"),
    symlink("l", "d"),
    symlink("abs", "/d/sub"),
    symlink("dangling", "nowhere"),
]
UNCHANGED = {
    "d": "dir",
    "d/a": "b'a'",
    "d/b": "b'b'",
    "d/sub": "dir",
    "d/sub/x": "b'x'",
    "e": "b'e'",
    "l": "-> d",
    "abs": "-> /d/sub",
    "dangling": "-> nowhere",
}


def without(*names: str) -> dict[str, str]:
    return {
        path: what for path, what in UNCHANGED.items() if not any(path == n or path.startswith(n + "/") for n in names)
    }


# What a second layer does to BASE: its entries, and what is there then.
CASES: dict[str, tuple[list[Item], dict[str, str]]] = {
    "nothing": ([], UNCHANGED),
    "a file hidden": ([whiteout("e")], without("e")),
    "a file in a directory hidden": ([folder("d"), whiteout("d/a")], without("d/a")),
    "a file hidden, its directory only implied": ([whiteout("d/a")], without("d/a")),
    "a directory hidden": ([whiteout("d")], without("d")),
    "a symlink hidden, not what it names": ([whiteout("l")], without("l")),
    "what is not there hidden": ([whiteout("none"), whiteout("no/where"), whiteout("e/x")], UNCHANGED),
    "hidden, then made again": ([whiteout("e"), file("e", "new")], {**UNCHANGED, "e": "b'new'"}),
    "made again, then hidden": ([file("e", "new"), whiteout("e")], {**UNCHANGED, "e": "b'new'"}),
    "a directory hidden, then made again": (
        [whiteout("d"), folder("d"), file("d/n", "n")],
        {**without("d"), "d": "dir", "d/n": "b'n'"},
    ),
    "a directory made again, then hidden": (
        [folder("d"), file("d/n", "n"), whiteout("d")],
        {**without("d"), "d": "dir", "d/n": "b'n'"},
    ),
    "a directory hidden, then implied": (
        [whiteout("d"), file("d/n", "n")],
        {**without("d"), "d": "dir", "d/n": "b'n'"},
    ),
    "opaque": ([folder("d"), opaque("d")], {**without("d"), "d": "dir"}),
    "opaque before its entries": (
        [folder("d"), opaque("d"), file("d/a", "2")],
        {**without("d"), "d": "dir", "d/a": "b'2'"},
    ),
    "opaque after its entries": (
        [folder("d"), file("d/a", "2"), folder("d/sub"), file("d/sub/y", "y"), opaque("d")],
        {**without("d"), "d": "dir", "d/a": "b'2'", "d/sub": "dir", "d/sub/y": "b'y'"},
    ),
    "opaque, its directory only implied": ([opaque("d/sub")], without("d/sub/x")),
    "opaque where nothing is": ([opaque("none")], UNCHANGED),
    "the root opaque": ([opaque(""), file("n", "n")], {"n": "b'n'"}),
    "the root opaque, a directory kept": (
        [folder("d"), file("d/a", "2"), opaque("")],
        {"d": "dir", "d/a": "b'2'"},
    ),
    "a whiteout through a symlink": ([whiteout("l/a")], without("d/a")),
    "a whiteout of a name that begins like one": ([whiteout("d/.who")], UNCHANGED),
    "a file instead of a file": ([file("e", "2")], {**UNCHANGED, "e": "b'2'"}),
    "a file instead of a directory": ([file("d", "2")], {**without("d"), "d": "b'2'"}),
    "a directory instead of a file": ([folder("e"), file("e/f", "f")], {**UNCHANGED, "e": "dir", "e/f": "b'f'"}),
    "a directory instead of a symlink": ([folder("l"), file("l/f", "f")], {**UNCHANGED, "l": "dir", "l/f": "b'f'"}),
    "a symlink instead of a directory": ([symlink("d", "e")], {**without("d"), "d": "-> e"}),
    "a symlink instead of a file": ([symlink("e", "d")], {**UNCHANGED, "e": "-> d"}),
    "through a symlink": ([file("l/n", "n")], {**UNCHANGED, "d/n": "b'n'"}),
    "through an absolute symlink": ([file("abs/n", "n")], {**UNCHANGED, "d/sub/n": "b'n'"}),
    "through an absolute symlink in a directory": (
        [symlink("d/abs", "/d/sub"), file("d/abs/n", "n")],
        {**UNCHANGED, "d/abs": "-> /d/sub", "d/sub/n": "b'n'"},
    ),
    "through a symlink, then through another in its place": (
        [file("l/n", "n"), symlink("l", "/d/sub"), file("l/m", "m")],
        {**UNCHANGED, "d/n": "b'n'", "l": "-> /d/sub", "d/sub/m": "b'm'"},
    ),
    "through a symlink, then through a directory in its place": (
        [file("l/n", "n"), folder("l"), file("l/m", "m")],
        {**UNCHANGED, "d/n": "b'n'", "l": "dir", "l/m": "b'm'"},
    ),
    "through a symlink that is replaced through itself": (
        [symlink("self", "."), file("self/n", "n"), symlink("self/self", "d"), file("self/m", "m")],
        {**UNCHANGED, "n": "b'n'", "self": "-> d", "d/m": "b'm'"},
    ),
    "through a symlink that climbs": (
        [symlink("d/sub/up", "../.."), file("d/sub/up/n", "n")],
        {**UNCHANGED, "d/sub/up": "-> ../..", "n": "b'n'"},
    ),
    "through a symlink to what is not there": (
        [file("dangling/n", "n")],
        {**UNCHANGED, "nowhere": "dir", "nowhere/n": "b'n'"},
    ),
    "a hard link within the layer": (
        [file("d/n", "n"), hard_link("d/m", "d/n")],
        {**UNCHANGED, "d/n": "b'n'", "d/m": "b'n'"},
    ),
    "a hard link to a lower layer": ([hard_link("d/m", "d/sub/x")], {**UNCHANGED, "d/m": "b'x'"}),
    "a hard link to a lower layer, whose name is hidden": (
        [hard_link("n", "e"), whiteout("e")],
        {**without("e"), "n": "b'e'"},
    ),
    "a hard link to a lower layer, whose directory is hidden": (
        [hard_link("n", "d/sub/x"), whiteout("d")],
        {**without("d"), "n": "b'x'"},
    ),
    "a hard link to a symlink of a lower layer": ([hard_link("n", "l")], {**UNCHANGED, "n": "-> d"}),
    "a directory, then a file, then a directory": (
        [file("d", "2"), folder("d"), file("d/n", "n")],
        {**without("d"), "d": "dir", "d/n": "b'n'"},
    ),
    "brought in a directory of whiteouts, which is hidden then": (
        [whiteout("d/a"), file("d/sub/n", "n"), whiteout("d")],
        {**without("d"), "d": "dir", "d/sub": "dir", "d/sub/n": "b'n'"},
    ),
    "a hard link through a symlink": ([hard_link("m", "l/a")], {**UNCHANGED, "m": "b'a'"}),
    "a hard link to itself": ([file("n", "n"), hard_link("n", "n")], {**UNCHANGED, "n": "b'n'"}),
    "a hard link instead of a directory": (
        [file("n", "n"), hard_link("d", "n")],
        {**without("d"), "n": "b'n'", "d": "b'n'"},
    ),
    "an entry twice": ([file("n", "1"), file("n", "2"), folder("n"), file("n", "3")], {**UNCHANGED, "n": "b'3'"}),
    "what AUFS left": ([folder(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", "x"), file(".wh..wh.aufs")], UNCHANGED),
    "a FIFO": ([Item("p", kind=b"6")], {**UNCHANGED, "p": "fifo"}),
    "absolute names": ([file("/d/n", "n"), whiteout("/d/a")], {**without("d/a"), "d/n": "b'n'"}),
}


@pytest.mark.parametrize("case", CASES)
def test_flat(case: str, tmp_path: Path) -> None:
    second, expected = CASES[case]
    assert listing(flat([layer(*BASE), layer(*second)], tmp_path / "flat")) == expected


@pytest.mark.parametrize("case", CASES)
def test_overlay(case: str, tmp_path: Path) -> None:
    second, expected = CASES[case]
    layers = [layer(*BASE), layer(*second)]
    with overlay(chain(layers, tmp_path / "chain"), tmp_path / "mounted") as mounted:
        assert listing(mounted) == expected


@pytest.mark.parametrize("case", CASES)
def test_erofs(case: str, tmp_path: Path) -> None:
    needs_erofs(tmp_path)
    second, expected = CASES[case]
    with seen_by_all(prepared([layer(*BASE), layer(*second)], tmp_path), tmp_path / "mounted") as mounted:
        assert listing(mounted) == expected


def seen_by_fuse(layers: Sequence[bytes], place: Path) -> dict[str, str]:
    return inside(chain(layers, place / "chain", "fuse"), place, "fuse", listing)


@pytest.mark.system
@pytest.mark.parametrize("case", CASES)
def test_files_as_marks(case: str, tmp_path: Path) -> None:
    second, expected = CASES[case]
    assert seen_by_fuse([layer(*BASE), layer(*second)], tmp_path) == expected


@pytest.mark.system
def test_files_as_marks_over_three_layers(tmp_path: Path) -> None:
    long = "n" * 252  # so long that nothing could be called as its whiteout
    layers = [
        layer(*BASE, folder("long"), file(f"long/{long}", "1")),
        layer(whiteout("d"), whiteout("e"), file("e/f", "f")),
        layer(file("d/new", "new"), file(f"long/{long}", "2"), whiteout("e/f")),
    ]
    seen = seen_by_fuse(layers, tmp_path)
    assert seen == listing(flat(layers, tmp_path / "flat"))
    assert seen["d/new"] == "b'new'"
    assert not {"d/a", "e/f"} & set(seen)
    nodes = [path for path in (tmp_path / "chain").rglob("*") if path.is_char_device()]
    assert nodes == []


@pytest.mark.parametrize("case", [case for case, (_, expected) in CASES.items() if expected.get("d") in ("dir", None)])
def test_a_third_layer_sees_what_the_two_make_together(case: str, tmp_path: Path) -> None:
    layers = [layer(*BASE), layer(*CASES[case][0]), layer(file("d/sub/third", "3"), file("e2", "4"))]
    with overlay(chain(layers, tmp_path / "chain"), tmp_path / "mounted") as mounted:
        assert listing(mounted) == listing(flat(layers, tmp_path / "flat"))


@pytest.mark.parametrize("case", [case for case, (_, expected) in CASES.items() if expected.get("d") in ("dir", None)])
def test_a_third_layer_of_erofs(case: str, tmp_path: Path) -> None:
    needs_erofs(tmp_path)
    layers = [layer(*BASE), layer(*CASES[case][0]), layer(file("d/sub/third", "3"), file("e2", "4"))]
    with seen_by_all(prepared(layers, tmp_path), tmp_path / "mounted") as mounted:
        assert listing(mounted) == listing(flat(layers, tmp_path / "flat"))


def test_a_directory_that_became_a_symlink_to_a_lower_one_changes_nothing_there(tmp_path: Path) -> None:
    layers = [layer(folder("d", 0o711, mtime=7)), layer(file("m/d/f"), symlink("m", "."))]
    expected = {"d": f"dir 0711 {7 * 10**9} 0:0", "m": f"-> . 0777 {T} 0:0"}
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    assert listing(flat(layers, tmp_path / "flat"), FACTS) == expected
    with overlay(chain(layers, tmp_path / "chain"), tmp_path / "mounted") as mounted:
        assert listing(mounted, FACTS) == expected


def test_a_hard_link_to_a_fifo_of_a_lower_layer_keeps_all_of_it(tmp_path: Path) -> None:
    layers = [layer(Item("p", kind=b"6", mode=0o2755, uid=1, gid=2, mtime=7)), layer(hard_link("q", "p"))]
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    expected = dict.fromkeys(("p", "q"), f"fifo 2755 {7 * 10**9} 1:2")
    assert listing(flat(layers, tmp_path / "flat"), FACTS) == expected
    with overlay(chain(layers, tmp_path / "chain"), tmp_path / "mounted") as mounted:
        assert listing(mounted, FACTS) == expected


def test_metadata_is_the_last_layers(tmp_path: Path) -> None:
    layers = [
        layer(folder(".", 0o711), folder("d", 0o700, uid=1, mtime=1), file("d/a", uid=2), folder("k", 0o555, mtime=2)),
        layer(folder("d", 0o755, uid=3, mtime=3), file("k/n", "n", mode=0o600)),
    ]
    expected = {
        "d": f"dir 0755 {3 * 10**9} 3:0",
        "d/a": f"b'' 0644 {T} 2:0",
        "k": f"dir 0555 {2 * 10**9} 0:0",
        "k/n": f"b'n' 0600 {T} 0:0",
    }
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    assert listing(flat(layers, tmp_path / "flat"), FACTS) == expected
    assert (tmp_path / "flat").stat().st_mode & 0o7777 == 0o711
    with overlay(chain(layers, tmp_path / "chain"), tmp_path / "mounted") as mounted:
        assert listing(mounted, FACTS) == expected
        assert mounted.stat().st_mode & 0o7777 == 0o711
    needs_erofs(tmp_path)
    with seen_by_all(prepared(layers, tmp_path), tmp_path / "of-images") as mounted:
        assert listing(mounted, FACTS) == expected
        assert mounted.stat().st_mode & 0o7777 == 0o711


NAMES = ["a", "b", "a/c", "a/d", "a/c/e", "b/f"]
Change = tuple[str, str]
MAKERS = {
    "file": lambda name: file(name, name),
    "folder": folder,
    "whiteout": whiteout,
    "opaque": opaque,
}


@st.composite
def random_layers(draw: st.DrawFn) -> list[list[Change]]:
    """Three layers over a handful of names. No layer names something below what itself or a lower one has as a file."""
    layers: list[list[Change]] = []
    files: set[str] = set()
    for _ in range(3):
        changes: list[Change] = []
        for name in draw(st.permutations(NAMES)):
            parents = [name[:at] for at, letter in enumerate(name) if letter == "/"]
            what = draw(st.sampled_from(["none", "none", "file", "folder", "whiteout", "opaque"]))
            if what == "none" or files.intersection(parents) or (what == "opaque" and name in files):
                continue
            changes.append((what, name))
            if what == "file":
                files.add(name)
        layers.append(changes)
    return layers


@pytest.mark.system
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=30)
@given(random_layers())
def test_files_as_marks_whatever_the_layers(tmp_path: Path, changes: list[list[Change]]) -> None:
    layers = [layer(*(MAKERS[what](name) for what, name in each)) for each in changes]
    place = tmp_path / os.urandom(8).hex()
    place.mkdir()
    assert seen_by_fuse(layers, place) == listing(flat(layers, place / "flat"))
    remove_tree(place)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(random_layers())
def test_both_forms_show_the_same_whatever_the_layers(tmp_path: Path, changes: list[list[Change]]) -> None:
    layers = [layer(*(MAKERS[what](name) for what, name in each)) for each in changes]
    place = tmp_path / os.urandom(8).hex()
    place.mkdir()
    with overlay(chain(layers, place / "chain"), place / "mounted") as mounted:
        assert listing(mounted) == listing(flat(layers, place / "flat"))
    remove_tree(place)
