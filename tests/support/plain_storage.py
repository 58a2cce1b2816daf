"""A storage in a folder, as plain as can be, with every ability: what the conformance kit is tried on.

Each step is a method, so that a subclass can break just that one.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from polyarch.contract import (
    BlobWriter,
    Descriptor,
    Digest,
    Image,
    ImageSummary,
    NotFoundError,
    Platform,
    Reference,
    StorageError,
)

Names = dict[Reference, tuple[Image, ...]]


class PlainWriter:
    """A BlobWriter over a file that is renamed when it is whole."""

    def __init__(self, path: Path, publish: Callable[[], None]) -> None:
        self.path, self.publish = path, publish
        self.file = path.open("ab+", buffering=0)

    @property
    def offset(self) -> int:
        return os.fstat(self.file.fileno()).st_size

    def kept(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while piece := file.read(1 << 16):
                yield piece

    def open_written(self) -> BinaryIO:
        return self.path.open("rb", buffering=0)

    def write(self, data: bytes | memoryview) -> None:
        self.file.write(data)

    def restart(self) -> None:
        self.file.truncate(0)

    def finish(self) -> None:
        self.publish()

    def close(self) -> None:
        self.file.close()


class PlainStorage:
    """Satisfies Storage, ReadsBlobs, HasBlobFiles, ListsImages, SummarisesImages and RemovesImages."""

    writer: type[PlainWriter] = PlainWriter

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("blobs", "partial"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def path(self, digest: Digest) -> Path:
        return self.folder / "blobs" / digest.replace(":", "-")

    def partial(self, digest: Digest) -> Path:
        return self.folder / "partial" / digest.replace(":", "-")

    @contextmanager
    def locked(self, what: str) -> Iterator[None]:
        with (self.folder / f"{what.replace(':', '-')}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def has_blob(self, blob: Descriptor) -> bool:
        return self.path(blob.digest).exists()

    @contextmanager
    def write_blob(self, blob: Descriptor) -> Iterator[BlobWriter | None]:
        with self.locked(blob.digest):
            if self.has_blob(blob):
                yield None
                return
            writer = self.writer(self.partial(blob.digest), lambda: self.publish(blob.digest))
            try:
                yield writer
            finally:
                writer.close()

    def publish(self, digest: Digest) -> None:
        self.partial(digest).rename(self.path(digest))

    def names(self) -> Names:
        try:
            names: Names = pickle.loads((self.folder / "names").read_bytes())
        except FileNotFoundError:
            return {}
        return names

    def write_names(self, names: Names) -> None:
        new = self.folder / "names.new"
        new.write_bytes(pickle.dumps(names))
        new.rename(self.folder / "names")

    def key(self, reference: Reference) -> Reference:
        return replace(reference, digest="") if reference.tag else reference

    def check(self, image: Image) -> None:
        for blob in image.manifest.blobs:
            if not self.has_blob(blob):
                raise StorageError(f"blob {blob.digest} is missing")

    def commit(self, image: Image) -> None:
        self.check(image)
        with self.locked("names"):
            names = self.names()
            key = self.key(image.reference)
            names[key] = (*self.staying(names.get(key, ()), image), replace(image, reference=key))
            self.write_names(names)

    def staying(self, images: tuple[Image, ...], new: Image) -> tuple[Image, ...]:
        """Which images of the name stay beside the new one."""
        return tuple(one for one in images if one.root == new.root and one.platform != new.platform)

    def find(self, reference: Reference) -> tuple[Image, ...]:
        names = self.names()
        if self.key(reference) in names:
            images = names[self.key(reference)]
            return images if not reference.tag else tuple(one for one in images if self.fits(one, reference))
        if reference.tag:
            return ()
        return tuple(
            one for name, images in names.items() if self.same_place(name, reference) for one in images
            if self.fits(one, reference)
        )  # fmt: skip

    def fits(self, image: Image, reference: Reference) -> bool:
        return reference.digest in ("", image.root.digest, image.manifest.digest)

    def same_place(self, one: Reference, other: Reference) -> bool:
        return one.name == other.name

    def open_blob(self, digest: Digest) -> BinaryIO:
        return self.blob_path(digest).open("rb")

    def blob_path(self, digest: Digest) -> Path:
        path = self.path(digest)
        if not path.is_file():
            raise NotFoundError(f"there is no blob {digest}")
        return path

    def images(self) -> Iterator[Image]:
        for images in self.names().values():
            yield from images

    def summaries(self) -> Iterator[ImageSummary]:
        for image in self.images():
            yield self.summary(image)

    def summary(self, image: Image) -> ImageSummary:
        return ImageSummary(
            image.reference,
            image.config.digest,
            image.root.digest,
            image.platform,
            image.config.created,
            image.manifest.size,
        )

    def remove(self, reference: Reference, platform: Platform | None = None) -> tuple[Digest, ...]:
        with self.locked("names"):
            names = self.names()
            going = names.pop(self.key(reference), ())
            staying = tuple(one for one in going if platform is not None and one.platform != platform)
            if len(staying) == len(going):
                raise NotFoundError(f"{reference} is not here")
            if staying:
                names[self.key(reference)] = staying
            self.write_names(names)
        return tuple(digest for digest, _ in self.sweep())

    def prune(self) -> tuple[tuple[Digest, int], ...]:
        return self.sweep()

    def sweep(self) -> tuple[tuple[Digest, int], ...]:
        """Deletes what no name needs."""
        needed = {blob.digest for image in self.images() for blob in image.manifest.blobs}
        gone = []
        for path in (self.folder / "blobs").iterdir():
            digest = path.name.replace("-", ":", 1)
            if digest not in needed:
                gone.append((digest, path.stat().st_size))
                path.unlink()
        return tuple(gone)

    def close(self) -> None:
        pass


class OfOneThread(PlainStorage):
    """Knows its owner, for those that refuse other threads."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.owner = threading.get_ident()

    def check_thread(self) -> None:
        if threading.get_ident() != self.owner:
            raise StorageError("made in another thread")


def storage_fixtures(kind: type[PlainStorage]) -> dict[str, Any]:
    """What a test class of the kit needs to try such a storage."""

    @pytest.fixture
    def open_storage(self: object, tmp_path: Path) -> Callable[[], PlainStorage]:
        return lambda: kind(tmp_path / "storage")

    return {"open_storage": open_storage, "most_held": 1 << 20}
