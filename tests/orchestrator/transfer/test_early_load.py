"""A load that begins while blobs still come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyarch.contract import HasBlobFiles, Image
from polyarch.errors import NotFoundError, StorageError
from polyarch.transfer.staged import StagedStorage
from polyarch_plugins.storages.oci.storage import OciStorage
from support.memory_registry import MadeImage, made_image
from support.plain_loader import PlainLoader
from support.storages import blobs_in, write

LOWER, UPPER = b"lower layer", b"upper layer"


class EarlyLoader(PlainLoader):
    """Reads each layer as soon as it may, and tells what it did; `fault` is raised at the end."""

    def __init__(self, folder: Path, fault: Exception | None = None) -> None:
        super().__init__(folder)
        self.done: list[str] = []
        self.read, self.ended = threading.Semaphore(0), threading.Event()
        self._fault = fault

    def load_early(self, image: Image, blobs: HasBlobFiles, proven: Callable[[], None]) -> None:
        try:
            for layer in image.manifest.layers:
                self.done.append(blobs.blob_path(layer.digest).read_bytes().decode())
                self.read.release()
            proven()
            self.done.append("proven")
            if self._fault:
                raise self._fault
            self.load(image, blobs)
        except BaseException as error:
            self.done.append(type(error).__name__)
            raise
        finally:
            self.ended.set()


@pytest.fixture
def image() -> MadeImage:
    return made_image("linux/amd64", LOWER, UPPER)


@pytest.fixture
def storages(tmp_path: Path) -> Iterator[tuple[OciStorage, OciStorage]]:
    pair = OciStorage(tmp_path / "staging", sync=False), OciStorage(tmp_path / "oci", sync=False)
    yield pair
    for storage in pair:
        storage.close()


def staged(loader: PlainLoader, storages: tuple[OciStorage, OciStorage]) -> StagedStorage:
    return StagedStorage(loader, *storages)


def test_layers_are_read_as_they_come(
    image: MadeImage, storages: tuple[OciStorage, OciStorage], tmp_path: Path
) -> None:
    loader, named = EarlyLoader(tmp_path / "engine"), image.stored_as("app:1.0")
    storage = staged(loader, storages)
    with storage.loading(named) as arrived:
        assert arrived is not None
        for data in (LOWER, UPPER):
            arrived(write(storage, data))
            assert loader.read.acquire(timeout=30)
        assert loader.done == ["lower layer", "upper layer"]
        assert not loader.has(named)
        arrived(write(storage, image.blobs[image.manifest.config.digest]))
        storage.commit(named)
        assert loader.has(named)
    assert loader.done[-1] == "proven"
    assert blobs_in(storages[0].directory) == set()


def test_what_is_not_finished_comes_to_nothing(
    image: MadeImage, storages: tuple[OciStorage, OciStorage], tmp_path: Path
) -> None:
    """A pull fails, or an image is not what it says: then neither a wait for a blob nor one for the proof goes on."""
    for come in ((), (LOWER,), (LOWER, UPPER)):
        loader = EarlyLoader(tmp_path / f"engine-{len(come)}")
        storage = staged(loader, storages)
        with storage.loading(image.stored_as("app:1.0")) as arrived:
            assert arrived is not None
            for data in come:
                arrived(write(storage, data))
                assert loader.read.acquire(timeout=30)
        assert loader.ended.wait(30)
        assert loader.done == [*(data.decode() for data in come), "_GivenUp"]
        assert not loader.has(image.stored_as("app:1.0"))
    assert len(blobs_in(storages[0].directory)) == 2


def test_what_a_load_raises_is_raised_when_it_is_finished(
    image: MadeImage, storages: tuple[OciStorage, OciStorage], tmp_path: Path
) -> None:
    storage = staged(EarlyLoader(tmp_path / "engine", StorageError("disk full")), storages)
    for data in image.blobs.values():
        write(storage, data)
    with storage.loading(image.stored_as("app:1.0")), pytest.raises(StorageError, match="disk full"):
        storage.commit(image.stored_as("app:1.0"))
    assert blobs_in(storages[0].directory) == set(image.blobs)  # for the next try


def test_a_blob_that_is_nowhere_is_not_waited_for_in_the_end(
    image: MadeImage, storages: tuple[OciStorage, OciStorage], tmp_path: Path
) -> None:
    loader = EarlyLoader(tmp_path / "engine")
    storage = staged(loader, storages)
    with storage.loading(image.stored_as("app:1.0")), pytest.raises(NotFoundError, match="at hand"):
        storage.commit(image.stored_as("app:1.0"))


def test_a_loader_that_wants_all_at_once_begins_in_the_end(
    image: MadeImage, storages: tuple[OciStorage, OciStorage], tmp_path: Path
) -> None:
    loader = PlainLoader(tmp_path / "engine")
    storage = staged(loader, storages)
    for data in image.blobs.values():
        write(storage, data)
    with storage.loading(image.stored_as("app:1.0")) as arrived:
        assert arrived is None
        assert not loader.has(image.stored_as("app:1.0"))
        storage.commit(image.stored_as("app:1.0"))
    assert loader.has(image.stored_as("app:1.0"))
