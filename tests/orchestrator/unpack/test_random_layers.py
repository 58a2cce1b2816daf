"""Random layers over each other: the same tree by EROFS, unpacked alone beneath an overlay, merged, and by umoci."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from polyarch.errors import IntegrityError
from polyarch.unpack.attributes import takes_attribute
from polyarch.unpack.erofs.content import Unfit
from polyarch.unpack.image import unpack_image, unpack_layer
from support.committed_images import layout_of
from support.erofs_trees import look, look_unpacked, needs_erofs, prepared
from support.layers import Item, diff_id, layer, opener
from support.overlay_trees import Facts, tree
from support.random_layers import NONSENSE, layers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices take root")

Trees = dict[bytes, Facts]


def test_random_layers(tmp_path: Path, count: Callable[[int, int], int]) -> None:
    needs_erofs(tmp_path)
    seen = {"trees": 0, "refused": 0, "unfit": 0, "umoci": 0}

    @settings(max_examples=count(25, 1000), suppress_health_check=list(HealthCheck), database=None)
    @given(layers())
    def compare(stack: list[list[Item]]) -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as place:
            seen[_compared(stack, Path(place))] += 1

    compare()
    print(seen)  # for `pytest -s`
    assert seen["trees"] > 0


def _compared(stack: list[list[Item]], place: Path) -> str:
    archives = [layer(*items) for items in stack]
    made = []
    try:
        unpack_image(list(map(opener, archives)), list(map(diff_id, archives)), place / "flat")
        for number, data in enumerate(archives):
            directory = place / f"unpacked-{number}"
            unpack_layer(opener(data), diff_id(data), directory, made, flavour="trusted", owners=True, sync=False)
            made.insert(0, directory)
    except IntegrityError as error:
        reason = str(error).partition(": ")[2]  # behind the name of the layer
        with pytest.raises(IntegrityError, match=re.escape(reason)):
            prepared(archives, place)
        return "refused"
    flat = _merged(tree(place / "flat"))
    unpacked = look_unpacked(made, place, tree)
    _same(_merged(unpacked), flat, "unpacked alone, merged")
    try:
        images = prepared(archives, place)
    except Unfit:
        return "unfit"
    _same(_comparable(look(images, place, tree)), _comparable(unpacked), "EROFS, unpacked alone")
    if shutil.which("umoci") and not any(item.kind == b"S" for items in stack for item in items):
        layout_of(place / "layout", [layer(*map(_for_umoci, items)) for items in stack], "one")
        theirs = place / "theirs"
        done = subprocess.run(
            ["umoci", "raw", "unpack", "--image", f"{place / 'layout'}:one", str(theirs)], capture_output=True
        )
        if done.stderr.endswith(b": link: no such file or directory\n"):
            return "umoci"  # it removes what has a link's name before it looks for the target, which is the same file
        assert done.returncode == 0, done.stderr[-400:]
        found = _merged(tree(theirs))
        _same(found, {path: _as_umoci(facts, found.get(path)) for path, facts in flat.items()}, "umoci, merged")
    return "trees"


def _for_umoci(item: Item) -> Item:
    """It stops at an attribute that the kernel refuses, which is passed over here."""
    return replace(item, pax={name: value for name, value in item.pax.items() if value != NONSENSE})


def _as_umoci(ours: Facts, theirs: Facts | None) -> Facts:
    """Directories that no layer names inherit from a set-group-ID one there, as the kernel's mkdir has it, and are made
    so that nothing is inherited here. It leaves the time of a directory in which it made or removed such a one.
    """
    if theirs is None or not ours[0] == theirs[0] == stat.S_IFDIR:
        return ours
    if ours[4] is None:
        return theirs
    return (*ours[:4], theirs[4], *ours[5:]) if theirs[4] is None else ours


def _same(one: Trees, other: Trees, which: str) -> None:
    different = {path: (one.get(path), other.get(path)) for path in {*one, *other} if one.get(path) != other.get(path)}
    assert not different, which


def _comparable(found: Trees) -> Trees:
    """Without the times of directories that no layer names."""
    return {path: _without_time(facts) for path, facts in found.items()}


def _merged(found: Trees) -> Trees:
    """The same without what is one file with several names: across layers an overlay does not tell."""
    return {path: _taken(facts)[:-1] for path, facts in _comparable(found).items()}


def _without_time(facts: Facts) -> Facts:
    kind, mode, uid, gid, mtime, *more = facts
    if kind == stat.S_IFDIR and not 0 < int(str(mtime)) < 1_700_000_000 * 10**9:
        mtime = None
    return (kind, mode, uid, gid, mtime, *more)


def _taken(facts: Facts) -> Facts:
    *most, attributes, names = facts
    assert isinstance(attributes, tuple)
    return (*most, tuple(each for each in attributes if takes_attribute(each[0])), names)
