"""Blobs on their way into a loader: they wait in files until the image is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyarch.errors import NotFoundError, StorageError
from polyarch.transfer.staged import KeepsBlobs, StagedStorage
from polyarch_plugins.storages.oci.storage import OciStorage
from support.memory_registry import MadeImage, made_image
from support.plain_loader import PlainLoader
from support.storages import blobs_in, write

LAYERS = (b"lower layer", b"upper layer")


@pytest.fixture
def image() -> MadeImage:
    return made_image("linux/amd64", *LAYERS)


@pytest.fixture
def open_staging(tmp_path: Path) -> Iterator[Callable[[], OciStorage]]:
    """Opens the folder where blobs wait, as each process does for itself."""
    opened: list[OciStorage] = []

    def open_one() -> OciStorage:
        opened.append(OciStorage(tmp_path / "staging", sync=False))
        return opened[-1]

    yield open_one
    for storage in opened:
        storage.close()


@pytest.fixture
def at_hand(tmp_path: Path) -> Iterator[OciStorage]:
    storage = OciStorage(tmp_path / "oci", sync=False)
    yield storage
    storage.close()


@pytest.fixture
def staging(open_staging: Callable[[], OciStorage]) -> OciStorage:
    return open_staging()


@pytest.fixture
def loader(tmp_path: Path) -> PlainLoader:
    return PlainLoader(tmp_path / "engine")


@pytest.fixture
def staged(loader: PlainLoader, staging: OciStorage, at_hand: OciStorage) -> StagedStorage:
    return StagedStorage(loader, staging, at_hand)


def bring(storage: StagedStorage | OciStorage, image: MadeImage) -> None:
    for data in image.blobs.values():
        write(storage, data)


def test_the_built_in_storage_keeps_blobs(staging: OciStorage) -> None:
    assert isinstance(staging, KeepsBlobs)


def test_blobs_wait_where_they_can_be_read(staged: StagedStorage, staging: OciStorage, image: MadeImage) -> None:
    assert not any(staged.has_blob(blob) for blob in image.manifest.blobs)
    bring(staged, image)
    assert all(staged.has_blob(blob) for blob in image.manifest.blobs)
    assert blobs_in(staging.directory) == set(image.blobs)
    for digest, data in image.blobs.items():
        assert staged.blob_path(digest).read_bytes() == data
        with staged.open_blob(digest) as stream:
            assert stream.read() == data


def test_what_is_at_hand_is_taken_from_there(
    staged: StagedStorage, at_hand: OciStorage, staging: OciStorage, loader: PlainLoader, image: MadeImage
) -> None:
    bring(at_hand, image)
    assert all(staged.has_blob(blob) for blob in image.manifest.blobs)
    named = image.stored_as("app:1.0")
    staged.commit(named)
    assert loader.has(named)
    assert not staging.directory.exists()
    assert blobs_in(at_hand.directory) == set(image.blobs)


def test_what_is_nowhere_cannot_be_read(staged: StagedStorage, image: MadeImage) -> None:
    with pytest.raises(NotFoundError, match=f"no blob {image.manifest.config.digest} at hand"):
        staged.open_blob(image.manifest.config.digest)


def test_what_is_loaded_waits_no_more(
    staged: StagedStorage, staging: OciStorage, loader: PlainLoader, image: MadeImage
) -> None:
    for data in image.blobs.values():
        blob = write(staged, data)
        assert staged.has_blob(blob)  # asked for more than once, as a pull does
        assert staged.has_blob(blob)
    named = image.stored_as("app:1.0")
    staged.commit(named)
    assert loader.has(named)
    assert blobs_in(staging.directory) == set()
    assert staged.find(named.reference) == ()


def test_blobs_of_a_load_that_failed_stay(
    staged: StagedStorage, staging: OciStorage, loader: PlainLoader, image: MadeImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(staged, image)

    def fails(*_: object) -> None:
        raise StorageError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(loader, "load", fails)
        with pytest.raises(StorageError, match="disk full"):
            staged.commit(image.stored_as("app:1.0"))
    assert blobs_in(staging.directory) == set(image.blobs)
    staged.commit(image.stored_as("app:1.0"))
    assert loader.has(image.stored_as("app:1.0"))


def test_blobs_of_another_image_stay(
    staged: StagedStorage, open_staging: Callable[[], OciStorage], image: MadeImage
) -> None:
    """Those that a killed pull left, too: its next try finds them."""
    killed = open_staging()
    other = made_image("linux/amd64", LAYERS[0], b"another layer")
    bring(killed, other)
    killed.close()
    bring(staged, image)
    staged.commit(image.stored_as("app:1.0"))
    # But for the layer that both have: it went with the image that was loaded.
    assert blobs_in(killed.directory) == set(other.blobs) - set(image.blobs)


def test_blobs_that_another_process_counts_on_stay(
    staged: StagedStorage,
    open_staging: Callable[[], OciStorage],
    loader: PlainLoader,
    image: MadeImage,
    at_hand: OciStorage,
) -> None:
    """Two pulls of one image at a time: the first to finish takes nothing from the other."""
    other = StagedStorage(loader, open_staging(), at_hand)
    bring(other, image)
    assert all(staged.has_blob(blob) for blob in image.manifest.blobs)
    staged.commit(image.stored_as("app:1.0"))
    for digest, data in image.blobs.items():
        assert other.blob_path(digest).read_bytes() == data
    other.commit(image.stored_as("app:2.0"))
    assert loader.has(image.stored_as("app:2.0"))
    assert blobs_in(open_staging().directory) == set()
