"""What listings of layers come to: the same as the layers unpacked, and rightly told as added, changed and removed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from polyarch.errors import IntegrityError
from polyarch.unpack.image import unpack_image
from polyarch.unpack.listing import Listing, list_layer, read_listing
from polyarch.unpack.merge import merge
from polyarch.unpack.merged import Merged, read_merged
from support.layers import Item, diff_id, file, folder, hard_link, layer, opener, packed, symlink


def listed(data: bytes) -> Listing:
    return list_layer(opener(data), diff_id(data), "layer")


def merged(*layers: Sequence[Item]) -> Merged:
    return merge([listed(layer(*items)) for items in layers])


def told(result: Merged) -> list[str]:
    """`LAYER CHANGE PATH`, `>M` behind what layer M hides; what only stands there again is left out."""
    return [
        f"{number} {change} {path.decode()}" + (f" >{hidden_by}" if hidden_by and kind != "d" else "")
        for number, change, kind, path, hidden_by in zip(
            result.layers, result.changes, result.kinds, result.path_texts(), result.hidden_by, strict=True
        )
        if change != "="
    ]


BASE = (
    folder("etc"),
    file("etc/a", "one"),
    file("etc/b", "two"),
    folder("usr"),
    folder("usr/lib"),
    symlink("lib", "usr/lib"),
)


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        pytest.param([file("etc/c")], ["2 A etc/c"], id="added"),
        pytest.param([folder("etc"), file("etc/c")], ["2 A etc/c"], id="a-directory-that-stands-there-again"),
        pytest.param([folder("etc", 0o700)], ["2 C etc"], id="a-directory-of-another-mode"),
        pytest.param([folder("etc", mtime=5)], [], id="a-directory-of-another-time"),
        pytest.param([file("etc/a", "new")], ["1 A etc/a >2", "2 C etc/a"], id="changed"),
        pytest.param([file("etc/.wh.a")], ["1 A etc/a >2", "2 D etc/a"], id="removed"),
        pytest.param([file(".wh.etc")], ["1 A etc/a >2", "1 A etc/b >2", "2 D etc"], id="a-directory-removed"),
        pytest.param([file("etc/.wh.none")], [], id="a-whiteout-of-nothing"),
        pytest.param(
            [folder("etc"), file("etc/.wh..wh..opq"), file("etc/b", "three")],
            ["1 A etc/a >2", "1 A etc/b >2", "2 D etc/a", "2 C etc/b"],
            id="opaque",
        ),
        pytest.param(
            [file(".wh.etc"), folder("etc"), file("etc/b", "x")],
            ["1 A etc/a >2", "1 A etc/b >2", "2 D etc/a", "2 C etc/b"],
            id="removed-and-made-anew",
        ),
        pytest.param([file("etc", "f")], ["1 A etc/a >2", "1 A etc/b >2", "2 C etc"], id="a-file-for-a-directory"),
        pytest.param([file("lib/x")], ["2 A usr/lib/x"], id="through-a-symlink"),
        pytest.param([folder("lib"), file("lib/x")], ["1 A lib >2", "2 C lib", "2 A lib/x"], id="for-a-symlink"),
        pytest.param([file("new/deep/x")], ["2 A new", "2 A new/deep", "2 A new/deep/x"], id="implied"),
        pytest.param([hard_link("etc/c", "etc/a")], ["2 A etc/c"], id="hard-link"),
        pytest.param([file("x"), file("x", "again")], ["2 A x"], id="twice-in-a-layer"),
        pytest.param(
            [file("etc/c"), file("etc/.wh..wh..opq")],
            ["1 A etc/a >2", "1 A etc/b >2", "2 D etc/a", "2 D etc/b", "2 A etc/c"],
            id="opaque-hides-nothing-of-its-own-layer",
        ),
        pytest.param(
            [file("etc/c"), file(".wh.etc")],
            ["1 A etc/a >2", "1 A etc/b >2", "2 D etc/a", "2 D etc/b", "2 A etc/c"],
            id="nor-does-a-whiteout",
        ),
        pytest.param(
            [file("etc/x"), symlink("etc", "usr"), file("etc/y")],
            ["1 A etc/a >2", "1 A etc/b >2", "2 C etc", "2 A usr/y"],
            id="a-directory-that-becomes-a-symlink",
        ),
        pytest.param([file("etc/.wh..wh.plnk")], [], id="what-aufs-left"),
    ],
)
def test_one_layer_over_another(upper: list[Item], expected: list[str]) -> None:
    base = ["1 A etc", "1 A etc/a", "1 A etc/b", "1 A lib", "1 A usr", "1 A usr/lib"]
    hidden = {line.partition(" >")[0]: line for line in expected}
    whole = [hidden.get(line, line) for line in base] + [line for line in expected if line.startswith("2")]
    assert told(merged(BASE, upper)) == whole


def test_sizes_of_what_was_removed_are_of_all_that_went() -> None:
    result = merged(BASE, [file(".wh.etc")])
    assert result.sizes[result.changes.index("D")] == len("one") + len("two")


def test_a_hard_link_is_the_file_that_it_names() -> None:
    result = merged(BASE, [hard_link("x", "lib/../etc/a".replace("lib/../", ""), mode=0)], [file("etc/a", "changed")])
    seen = result.root()[b"x"]
    assert (seen.mode, seen.size, seen.link) == (0o644, 3, b"etc/a")
    assert seen.fingerprint != result.root()[b"etc/a"].fingerprint


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([file("etc/a/b")], id="below-a-file"),
        pytest.param([hard_link("x", "nothing")], id="a-link-to-nothing"),
        pytest.param([hard_link("x", "etc")], id="a-link-to-a-directory"),
        pytest.param([hard_link("etc", "etc/a")], id="a-link-in-place-of-where-its-target-is"),
        pytest.param([file("etc/.wh.a/b")], id="below-a-whiteout"),
        pytest.param([file(".wh..")], id="a-whiteout-of-itself"),
        pytest.param([file("")], id="a-file-as-root"),
        pytest.param([symlink("p", "q"), symlink("q", "p"), file("p/x")], id="a-loop"),
        pytest.param([symlink("d", "/".join("d" * 251)), folder("d/d/d")], id="no-loop-but-too-far"),
    ],
)
def test_what_cannot_be_unpacked_is_told(items: list[Item]) -> None:
    with pytest.raises(IntegrityError, match="layer 2"):
        merged(BASE, items)


def test_another_blob_is_not_listed() -> None:
    data = packed(layer(*BASE))
    assert len(list_layer(opener(data), diff_id(data), "layer").kinds) == len(BASE)
    with pytest.raises(IntegrityError, match="was promised"):
        list_layer(opener(data), diff_id(data + b"x"), "layer")
    assert read_listing(listed(layer(*BASE)).packed()) == listed(layer(*BASE))


def test_attributes_are_part_of_the_fingerprint() -> None:
    plain, capable, hidden = (
        merged([file("x", "data", pax=pax)]).root()[b"x"].fingerprint
        for pax in ({}, {"SCHILY.xattr.security.capability": b"c"}, {"SCHILY.xattr.trusted.overlay.opaque": b"y"})
    )
    assert plain != capable
    assert plain == hidden  # no layer may bring that


@pytest.mark.parametrize("read", [read_listing, read_merged])
def test_damaged_files_are_refused(read: object) -> None:
    data = (listed(layer(*BASE)) if read is read_listing else merged(BASE)).packed()
    assert callable(read)
    read(data)
    for at in range(0, len(data), 7):
        for damaged in (data[:at], data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]):
            with pytest.raises(ValueError):
                read(damaged)


@pytest.mark.parametrize("seconds", [1 << 39, -(1 << 39)])
def test_a_time_beyond_64_bits_of_nanoseconds(seconds: int) -> None:
    result = merged([file("far", pax={"mtime": b"%d" % seconds})])
    assert abs(read_merged(result.packed()).mtimes[0]) == (1 << 63) - 1


def test_rows_stand_as_a_tree_is_walked() -> None:
    assert told(merged([file("a-b"), file("a/x"), folder("a"), file("b")])) == ["1 A a", "1 A a/x", "1 A a-b", "1 A b"]


def test_an_empty_layer() -> None:
    assert told(merged([])) == []
    assert told(read_merged(merged([]).packed())) == []


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TARGETS = st.one_of(PATHS, PATHS.map("/{}".format), PATHS.map("../{}".format))
ITEMS = st.one_of(
    st.builds(file, PATHS, st.sampled_from(["", "x", "longer"]), mode=st.sampled_from([0o644, 0o600])),
    st.builds(folder, PATHS, st.sampled_from([0o755, 0o700])),
    st.builds(symlink, PATHS, TARGETS),
    st.builds(hard_link, PATHS, PATHS),
    st.builds(lambda path: file(".wh.".join(_cut(path))), PATHS),
    st.builds(lambda path: file(path + "/.wh..wh..opq"), PATHS),
)
LAYERS = st.lists(st.lists(ITEMS, max_size=6), min_size=1, max_size=3)


def _cut(path: str) -> tuple[str, str]:
    above, slash, name = path.rpartition("/")
    return above + slash, name


@settings(max_examples=min(settings().max_examples, 4000))
@given(LAYERS)
@example([[file("a/a"), symlink("a", "a")]])
@example([[file("a"), symlink("b", "a")], [folder("a"), folder("b/b/a"), file("b"), file("b/b/a")]])
@example([[symlink("a", "b"), hard_link("a", "a"), hard_link("b", "a")]])
@example([[file("c/b/d"), file("c/a")], [file("c/b/a/c"), file("c/.wh.b")]])
def test_it_comes_to_what_unpacking_makes(layers: list[list[Item]]) -> None:
    archives = [layer(*items) for items in layers]
    place = Path(tempfile.mkdtemp()) / "root"
    try:
        try:
            unpack_image([opener(each) for each in archives], [diff_id(each) for each in archives], place, owners=False)
        except IntegrityError:
            with pytest.raises(IntegrityError):
                merge([listed(each) for each in archives])
            return
        result = read_merged(merge([read_listing(listed(each).packed()) for each in archives]).packed())
        assert {path.decode(): _shown(*seen[:2], *seen[4:]) for path, seen in result.root().items()} == _unpacked(place)
        _check_changes(result, len(layers), archives)
    finally:
        shutil.rmtree(place.parent)


def _shown(kind: str, mode: int, size: int, mtime: int, fingerprint: bytes, link: bytes) -> tuple[object, ...]:
    if kind == "l":
        return ("l", link)
    return ("d", mode) if kind == "d" else ("f", mode, size, mtime)


def _unpacked(place: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in place.rglob("*"):
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        name = str(path.relative_to(place))
        if path.is_symlink():
            found[name] = ("l", os.fsencode(path.readlink()))
        else:
            found[name] = ("d", mode) if path.is_dir() else ("f", mode, status.st_size, status.st_mtime_ns)
    return found


def _check_changes(result: Merged, count: int, archives: list[bytes]) -> None:
    """What each layer is said to add and remove is what the images with and without it differ in."""
    before: set[bytes] = set()
    for number in range(1, count + 1):
        after = set(merge([listed(each) for each in archives[:number]]).root())
        rows = list(zip(result.changes, result.path_texts(), strict=True))[result.span(number)]
        assert {path for change, path in rows if change == "A"} == after - before
        removed = {path for change, path in rows if change == "D"}
        gone = before - after
        assert removed <= gone
        for path in gone - removed:  # something above it was removed, or is no directory any more
            above = path.rpartition(b"/")[0]
            assert above in gone or any(row == ("C", above) for row in rows)
        before = after
