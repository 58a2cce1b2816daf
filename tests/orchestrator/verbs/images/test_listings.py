"""What layers hold is remembered: by the blob, within bounds, and never so that it could go wrong."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from polyarch.contract.storage import Image
from polyarch.errors import IntegrityError
from polyarch.events import Event, LayerListed
from polyarch.oci.digest import hex_of
from polyarch.verbs.images import listings
from polyarch.verbs.images.listings import Listings
from support.layers import file, layer, packed
from support.small_images import SmallStorage

LOWER, UPPER, OTHER = (packed(layer(file(name, name))) for name in ("lower", "upper", "other"))


class Counting(SmallStorage):
    """Tells which blobs were opened."""

    opened: list[str]

    def open_blob(self, digest: str) -> BinaryIO:
        self.opened.append(digest)
        return io.BytesIO(self.path(digest).read_bytes())


@pytest.fixture
def storage(tmp_path: Path) -> Counting:
    (tmp_path / "blobs").mkdir()
    counting = Counting(tmp_path / "blobs")
    counting.opened = []
    return counting


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def remembered(tmp_path: Path, events: list[Event]) -> Listings:
    return Listings(tmp_path / "cache", events.append)


def paths(remembered: Listings, image: Image, storage: Counting) -> set[str]:
    return {path.decode() for path in remembered.of(image, storage).root()}


def test_each_layer_is_read_once_whatever_image_has_it(
    remembered: Listings, storage: Counting, events: list[Event]
) -> None:
    one, two = (storage.manifest("linux/amd64", layers) for layers in ((LOWER, UPPER), (LOWER, OTHER)))
    for _ in range(2):
        assert paths(remembered, one, storage) == {"lower", "upper"}
        assert paths(remembered, two, storage) == {"lower", "other"}
    blobs = {blob.digest: blob.size for blob in (*one.manifest.layers, *two.manifest.layers)}
    assert sorted(storage.opened) == sorted(blobs)
    assert {(event.digest, event.size) for event in events if isinstance(event, LayerListed)} == set(blobs.items())


def test_a_blob_that_is_another_is_told_and_not_remembered(
    remembered: Listings, storage: Counting, tmp_path: Path
) -> None:
    image = storage.manifest("linux/amd64", (LOWER, UPPER))
    storage.path(image.manifest.layers[1].digest).write_bytes(OTHER)
    with pytest.raises(IntegrityError, match=r"layer 2 of 2 .* was promised"):
        remembered.of(image, storage)
    names = {path.name for path in (tmp_path / "cache/listings").glob("*")}  # none, where the other one was no further
    assert names <= {f"blob-{hex_of(image.manifest.layers[0].digest)}"}


def test_what_was_not_asked_for_longest_goes_first(
    remembered: Listings, storage: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = storage.manifest("linux/amd64", (LOWER,))
    remembered.of(image, storage)
    folder = tmp_path / "cache/listings"
    (folder / ".blob-of-one-that-was-killed").write_bytes(bytes(1000))
    for age, path in enumerate(sorted(folder.iterdir()), 1):  # the one with the dot is the oldest
        os.utime(path, (age, age))
    sizes = sum(path.stat().st_size for path in folder.iterdir())
    monkeypatch.setattr(listings, "MOST_BYTES", sizes)
    remembered.of(image, storage)  # which makes its own file the youngest
    remembered.of(storage.manifest("linux/amd64", (UPPER,)), storage)
    names = {path.name.partition("-")[0] for path in folder.iterdir()}
    assert names == {"blob", "image"}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= sizes


def test_a_disk_that_takes_nothing_is_no_error(storage: Counting, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file is in the way")
    remembered = Listings(tmp_path / "cache", lambda event: None)
    image = storage.manifest("linux/amd64", (LOWER,))
    assert paths(remembered, image, storage) == paths(remembered, image, storage) == {"lower"}
