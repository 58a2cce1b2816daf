"""Each hostile or odd layer of support.hostile_layers in every form that layers are made in, and listed."""

from __future__ import annotations

import io
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from polyarch.errors import IntegrityError
from polyarch.unpack.erofs.layer import Unfit, prepare_layer
from polyarch.unpack.image import remove_tree, unpack_image, unpack_layer
from polyarch.unpack.limits import Limits
from polyarch.unpack.listing import outline_layer
from polyarch.unpack.merge import merge
from support.erofs_trees import needs_erofs, seen_by_all
from support.hostile_layers import CASES
from support.hostile_layers.case import Blob, Case, foreign_attributes
from support.layers import listing
from support.overlay_mount import overlay

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and mounts take root")


def limits_of(case: Case) -> Limits:
    said = tomllib.loads(case.settings)
    return Limits(**{name.removeprefix("max_layer_").removeprefix("max_image_"): value for name, value in said.items()})


def diff_ids_of(case: Case, blobs: Sequence[Blob]) -> Sequence[str]:
    return case.diff_ids if case.diff_ids is not None else [blob.diff_id for blob in blobs]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where it is unpacked: beside what must stay as it is, and what names with `..` lead to."""
    for folder in (tmp_path / "outside", tmp_path / "inside"):
        folder.mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    before = listing(tmp_path / "outside")
    yield tmp_path / "inside"
    assert listing(tmp_path / "outside") == before
    remove_tree(tmp_path / "inside")  # whatever its modes and depth


def made(form: str, case: Case, place: Path, mounts: ExitStack) -> Path:
    """The tree of the case, in that form."""
    blobs = case.blobs()
    openers, ids, limits = [partial(io.BytesIO, blob.data) for blob in blobs], diff_ids_of(case, blobs), limits_of(case)
    held_to = limits.of_layers(len(blobs))
    if form == "flat":
        unpack_image(openers, ids, place / "image", limits=limits)
        return place / "image"
    if len(openers) != len(ids):
        pytest.skip("whoever makes layers one by one looks before")
    done: list[Path] = []
    try:
        for number, (opener, diff_id) in enumerate(zip(openers, ids, strict=True)):
            directory = place / str(number)
            if form == "erofs":
                prepare_layer(opener, diff_id, directory, done, limits=held_to[number], sync=False)
            else:
                unpack_layer(
                    opener, diff_id, directory, done, flavour="trusted", owners=True, limits=held_to[number], sync=False
                )
            done.insert(0, directory)
    except IntegrityError:
        for directory in done:
            remove_tree(directory)
        raise
    except Unfit:
        assert case.opens
        pytest.skip("unpacked instead")
    target = place.parent / "mounted"
    mounts.enter_context(seen_by_all(done, target) if form == "erofs" else overlay(done, target))
    return target


@pytest.mark.parametrize("form", ["flat", "unpacked", "erofs"])
@pytest.mark.parametrize("name", [case.name for case in CASES.values() if not case.heavy])
def test_a_layer(name: str, form: str, place: Path) -> None:
    case = CASES[name]
    if form == "erofs":
        needs_erofs(place.parent)
    with ExitStack() as mounts:
        if not case.opens:
            with pytest.raises(IntegrityError) as caught:
                made(form, case, place, mounts)
            assert re.search(case.says, caught.value.message)
            assert "\n" not in caught.value.message
            assert list(place.iterdir()) == []
            return
        tree = made(form, case, place, mounts)
        assert foreign_attributes(tree) == []
        if case.tree is not None:
            assert listing(tree, case.facts) == case.tree


@pytest.mark.parametrize("name", [case.name for case in CASES.values() if not case.heavy])
def test_a_layer_listed(name: str) -> None:
    case = CASES[name]
    if case.settings:
        return
    blobs = case.blobs()
    ids = diff_ids_of(case, blobs)
    if len(ids) != len(blobs):
        return

    def paths() -> set[str]:
        rows = [outline_layer(io.BytesIO(blob.data), diff_id, "here") for blob, diff_id in zip(blobs, ids, strict=True)]
        return {path.decode("utf-8", "backslashreplace") for path in merge(rows).root()}

    if not case.opens:
        with pytest.raises(IntegrityError, match=case.says or None):
            paths()
    else:
        found = paths()
        assert case.tree is None or found == set(case.tree)
