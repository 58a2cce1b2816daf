"""What the tests of a storage stand on: how it is opened, filled and looked into."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from polyarch.contract import Descriptor, Document, Image, ImageLoader, Platform, Reference, Storage
from polyarch.testing.conformance.images import MOST_HELD, SampleImage, SampleImages
from polyarch.testing.conformance.trials import die

Opener = Callable[[], Storage]
PIECE = 1 << 16


class StorageBase:
    """The fixtures."""

    several_platforms = True
    forks = True
    most_held = MOST_HELD

    @pytest.fixture
    def open_storage(self) -> Opener:
        """The author's: a function that opens the storage at the same place each time it is called."""
        pytest.fail(
            f"{type(self).__name__} has to give, within it, a fixture `open_storage`: a function that opens the storage"
        )

    @pytest.fixture
    def reopen(self, open_storage: Opener) -> Iterator[Opener]:
        """Opens the storage once more, as another process would; closed when the test is over."""
        opened: list[Storage] = []

        def open_one() -> Storage:
            storage = open_storage()
            if isinstance(storage, ImageLoader):
                pytest.fail("this is an ImageLoader: subclass LoaderConformance for it")
            opened.append(storage)
            return storage

        yield open_one
        for storage in opened:
            with suppress(Exception):  # there are tests of `close`
                storage.close()

    @pytest.fixture
    def storage(self, reopen: Opener) -> Storage:
        """The storage, with nothing of this test in it."""
        return reopen()

    @pytest.fixture
    def sample(self, tmp_path: Path) -> SampleImages:
        """Images and names that are new to the storage."""
        return SampleImages(tmp_path / "sample", uuid.uuid4().hex[:12])


def put(storage: Storage, blob: Descriptor, data: bytes) -> None:
    """Brings a blob in as a pull does, unless it is here: from where an earlier try broke off, piece by piece."""
    with storage.write_blob(blob) as writer:
        if writer is None:
            return
        for start in range(writer.offset, len(data), PIECE):
            writer.write(memoryview(data)[start : start + PIECE])
        writer.finish()


def put_blobs(storage: Storage, sample: SampleImage) -> None:
    """Brings in the config and all layers."""
    for blob in sample.manifest.blobs:
        put(storage, blob, sample.bytes_of(blob))


def store(
    storage: Storage,
    sample: SampleImage,
    reference: Reference,
    root: Document | None = None,
    platform: Platform | None = None,
) -> Image:
    """All that a pull does with a storage; the image as it was committed."""
    image = sample.named(reference, root, platform)
    put_blobs(storage, sample)
    storage.commit(image)
    return image


def put_anew(open_storage: Opener, blob: Descriptor, data: bytes) -> None:
    """In another process: opens the storage, and brings a blob in."""
    storage = open_storage()
    put(storage, blob, data)
    storage.close()


def store_anew(open_storage: Opener, sample: SampleImage, reference: Reference) -> None:
    """In another process: opens the storage, and does all that a pull does."""
    storage = open_storage()
    store(storage, sample, reference)
    storage.close()


def put_half_and_die(open_storage: Opener, blob: Descriptor, data: bytes) -> None:
    """In another process: is killed in the midst of a blob."""
    with open_storage().write_blob(blob) as writer:
        assert writer is not None
        writer.write(data)
        die()


def put_blobs_and_die(open_storage: Opener, sample: SampleImage) -> None:
    """In another process: is killed when all blobs are here, and no name."""
    put_blobs(open_storage(), sample)
    die()


def platforms(images: tuple[Image, ...]) -> set[str]:
    """The platforms of images, as text."""
    return {str(image.platform) for image in images}
