"""What is told of a storage that a disk has damaged, and what puts it right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.contract import StorageError
from polyarch_plugins.storages.oci.storage import MENDS
from support.memory_registry import made_image
from support.storages import Opener, store

ARM64 = made_image("linux/arm64", b"arm64")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def with_text(text: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_text(text)

    return write


DAMAGES = {
    "garbage": with_text("\0\1 no JSON"),
    "empty": with_text(""),
    "null": with_text("null"),
    "list": with_text("[]"),
    "numbers": with_text('{"schemaVersion": 2, "manifests": [1]}'),
    "missing": Path.unlink,
    "folder": folder,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_index_json_is_told_with_its_cure(
    damage: Callable[[Path], None], open_at: Opener, place: Path
) -> None:
    store(open_at(), ARM64, "a")
    damage(place / "index.json")
    for act in (
        lambda: list(open_at().images()),
        lambda: list(open_at().summaries()),
        lambda: store(open_at(), ARM64, "b"),
        lambda: open_at().prune(),
    ):
        with pytest.raises(StorageError) as caught:
            act()
        assert caught.value.hint == MENDS
    first, second = open_at().mend()
    assert first.startswith("index.json was damaged")
    assert second.startswith("1 image has no name now: ")
    assert "image tag" in second
    assert [image.manifest.digest for image in open_at().images()] == [ARM64.manifest.digest]
    assert open_at().mend() == ()


@pytest.mark.parametrize("damage", [Path.unlink, folder, with_text("{")], ids=["missing", "folder", "garbage"])
def test_images_do_not_vanish_with_oci_layout(damage: Callable[[Path], None], open_at: Opener, place: Path) -> None:
    store(open_at(), ARM64, "a")
    damage(place / "oci-layout")
    for act in (lambda: list(open_at().images()), lambda: list(open_at().summaries())):
        with pytest.raises(StorageError) as caught:
            act()
        assert caught.value.hint == MENDS
    assert open_at().mend() == ("oci-layout was damaged and is written anew",)
    assert [image.reference.familiar for image in open_at().images()] == ["a:latest"]


def test_a_layout_that_was_never_finished_is_none(open_at: Opener, place: Path) -> None:
    store(open_at(), ARM64, "a")
    (place / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    (place / "oci-layout").unlink()
    assert list(open_at().images()) == []
    store(open_at(), ARM64, "a")
    assert len(list(open_at().images())) == 1


@pytest.mark.parametrize("part", ["layer", "cut layer", "config", "manifest"])
def test_an_image_of_which_parts_are_gone_is_told(part: str, open_at: Opener, place: Path) -> None:
    store(open_at(), ARM64, "a")
    store(open_at(), made_image("linux/amd64", b"amd64"), "b")
    name = ARM64.stored_as("a").reference
    assert open_at().examined()[1] == ()
    path = open_at().blob_path(_digest(part))
    whole = path.read_bytes()
    if part == "cut layer":
        path.write_bytes(whole[:-1])
    else:
        path.unlink()
    for _ in range(2):  # what is remembered says nothing else
        found, lacking = open_at().examined()
        assert [each.reference.familiar for each in found] == ["b:latest"]
        assert lacking == (name,)
    assert open_at().lacks(name)
    assert not open_at().lacks(ARM64.stored_as("b").reference)
    path.write_bytes(whole)
    assert len(open_at().examined()[0]) == 2
    assert not open_at().lacks(name)


def _digest(part: str) -> str:
    manifest = ARM64.manifest
    named = {"config": manifest.config, "manifest": manifest.descriptor}
    return named.get(part, manifest.layers[0]).digest
