"""Images into archives and out of them. Reading and writing is what the storages and registries of archives do."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias

from polyarch.contract.storage import HasBlobFiles, Image, ImageLoader, Storage, is_unnamed
from polyarch.errors import IntegrityError, NotFoundError, UsageError
from polyarch.events import Emit, ImageLoading
from polyarch.files import disk_error, new_file
from polyarch.oci.compression import decompressed_archive
from polyarch.oci.docker_archive import DockerArchive
from polyarch.oci.oci_archive import OciArchive
from polyarch.verbs.results import PullResult
from polyarch_platforms.lazy_dataclass import dataclass

ArchiveKind: TypeAlias = Literal["oci-archive", "docker-archive"]

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ArchiveParts:
    """`open` makes the storage KIND at a file, `pull` brings all platforms of a name in; `temporary` is a folder."""

    open: Callable[[str, str], Storage | ImageLoader]
    pull: Callable[[str], tuple[PullResult, ...]]
    temporary: Callable[[], Path]
    emit: Emit


def save(
    parts: ArchiveParts, storage: Storage, images: Sequence[Image], kind: ArchiveKind, target: Path | BinaryIO
) -> None:
    """Write the images into a new archive, which takes the place of `target` when it is whole, or goes into it then.

    Raises UsageError: a name that an archive cannot keep, several platforms of one in docker's; StorageError.
    """
    if isinstance(target, Path):
        _save(parts, storage, images, kind, target, str(target))
        return
    folder = parts.temporary() / "archive"  # its own: the storage locks the folder that it writes into
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise disk_error(error, f"cannot make {folder}") from error
    file = folder / "archive.tar"
    _save(parts, storage, images, kind, file, "stdout")
    try:
        with file.open("rb") as source:
            shutil.copyfileobj(source, target, _CHUNK)
        target.flush()
    except OSError as error:
        raise disk_error(error, "cannot write the archive to stdout") from error


def _save(
    parts: ArchiveParts, storage: Storage, images: Sequence[Image], kind: ArchiveKind, file: Path, shown: str
) -> None:
    """`shown` is what a person calls the file."""
    files = _with_files(storage)
    _check(images, kind)
    for image in images:  # from now on nobody takes their blobs away
        if not all(blob.urls or storage.has_blob(blob) for blob in image.manifest.blobs):
            raise NotFoundError(f"{image.reference.familiar} was removed just now", "see: polyarch image ls")
    try:
        with new_file(file) as new:
            loader = parts.open(kind, str(new))
            if not isinstance(loader, ImageLoader):
                raise UsageError(f"the storage {kind} does not write archives")
            for image in images:
                parts.emit(ImageLoading(str(image.reference), shown))
                loader.load(image, files)
    except OSError as error:
        raise disk_error(error, f"cannot write {file}") from error


def load(parts: ArchiveParts, source: Path | BinaryIO) -> Iterator[PullResult]:
    """Bring all images of an archive of either kind in, compressed or not, under the names that they have there.

    Raises NotFoundError, IntegrityError (no such archive, or a broken one), StorageError.
    """
    file, shown = (source, str(source)) if isinstance(source, Path) else (parts.temporary() / "image.tar", "stdin")
    if not isinstance(source, Path):
        _spool(source, file)
    for text in _references(file, shown, parts.temporary):
        for result in parts.pull(text):
            place = result.reference.repository.replace(str(file.absolute()), shown, 1)
            yield replace(result, reference=replace(result.reference, repository=place))


def _spool(stream: BinaryIO, file: Path) -> None:
    try:
        with file.open("wb") as target:
            for chunk in decompressed_archive(stream, "the archive"):
                target.write(chunk)
    except OSError as error:
        raise disk_error(error, f"cannot write {file}") from error


def _references(file: Path, shown: str, temporary: Callable[[], Path]) -> list[str]:
    """What each image of an archive is called for a pull; `shown` is what a person calls the file."""
    path = file.absolute()
    found = []
    kind, place = _opened(path, shown, temporary)
    with contextlib.closing(place):
        for image in place.images:
            # In a layout a whole name and a tag beside it mean one name; docker's archives list all names of an image.
            names = image.names if kind == "docker-archive" else image.names[:1]
            found += [f"{kind}:{path}:{name}" for name in names] or [f"{kind}:{path}@{image.root.digest}"]
    if not found:
        raise NotFoundError(f"{shown} holds no image")
    return found


def _opened(path: Path, shown: str, temporary: Callable[[], Path]) -> tuple[ArchiveKind, OciArchive | DockerArchive]:
    """An OCI archive, also one that docker could read; else one of docker's."""
    try:
        return "oci-archive", OciArchive(path, temporary)
    except IntegrityError as no_layout:
        try:
            return "docker-archive", DockerArchive(path, temporary)
        except IntegrityError as error:
            layout, docker = (
                each.message.replace(f"{path}: ", "").removeprefix(f"{path} is ") for each in (no_layout, error)
            )
            why = f": {layout}" if layout == docker else f", neither OCI's ({layout}) nor docker's ({docker})"
            raise IntegrityError(f"{shown} is no image archive{why}") from error


def _with_files(storage: Storage) -> HasBlobFiles:
    if not isinstance(storage, HasBlobFiles):
        raise UsageError("the storage oci does not keep blobs as files, so nothing can be saved from it")
    return storage


def _check(images: Sequence[Image], kind: ArchiveKind) -> None:
    for image in images:
        if is_unnamed(image.reference):
            hint = f"give it one: polyarch image tag {image.manifest.digest[7:19]} NAME"
            raise UsageError(f"the image {image.manifest.digest} has no name to be saved under", hint)
    names = [image.reference for image in images]
    twice = next((name for name in names if names.count(name) > 1), None)
    if kind == "docker-archive" and twice is not None:
        raise UsageError(
            f"docker's archives keep one platform of a name, and {twice.familiar} would have several",
            "name one with --platform, or leave out --type docker-archive",
        )
