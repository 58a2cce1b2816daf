"""What is in the root folder: images that can be read, what nobody needs any more, and who is at work there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from polyarch.contract.repair import TellsLacking
from polyarch.contract.storage import Image, ListsImages, Storage, is_unnamed
from polyarch.errors import PolyarchError
from polyarch.reference import Reference
from polyarch.verbs.doctor.check import Check, Mend, refused, words
from polyarch_platforms.lazy_dataclass import dataclass

# Not the storage's: containers and unpacked layers, which may be millions of files.
_NOT_COUNTED = frozenset({"containers", "snapshots"})


@dataclass(frozen=True, slots=True)
class Contents:
    """The check of the images, and the bytes in the storage's folder that no image needs, as far as can be told."""

    check: Check
    prunable: int = 0


def look_into(root: Path, open_storage: Callable[[], Storage]) -> Contents:
    """Read every image's documents; a storage that cannot be read fails the main job."""
    name = "images"
    try:
        storage = open_storage()
        if not isinstance(storage, ListsImages):
            return Contents(Check(name, "ok", "a storage that cannot tell what it has"))
        if isinstance(storage, TellsLacking) and (lacking := storage.examined()[1]):
            return Contents(_damaged(name, lacking))
        images = list(storage.images())
    except PolyarchError as error:
        return Contents(refused(name, error, essential=True))
    prunable = max(0, _used(root) - needed(images))
    workers = sorted(set(holders(root)))
    names = len({str(image.reference) for image in images})
    fact = f"{names} name{'' if names == 1 else 's'}, all can be read" if names else "none yet"
    if workers:
        fact += f"; in use by {', '.join(workers)}"
    return Contents(Check(name, "ok", fact), prunable)


def _damaged(name: str, lacking: Iterable[Reference]) -> Check:
    lacking = tuple(dict.fromkeys(lacking))
    named = [each for each in lacking if not is_unnamed(each)]
    # Where another one came from nobody knows.
    mend = ("verify", "--repair", *map(name_of, named)) if named else ("image", "rm", *map(name_of, lacking))
    return Check(name, "failed", f"damaged: {', '.join(map(name_of, lacking))}", Mend(words("polyarch", *mend)))


def name_of(reference: Reference) -> str:
    """What a command takes."""
    return reference.digest[7:19] if is_unnamed(reference) else reference.familiar


def needed(images: Iterable[Image]) -> int:
    """Bytes of the blobs and documents of these images, each counted once."""
    sizes: dict[str, int] = {}
    for image in images:
        sizes.update((blob.digest, blob.size) for blob in image.manifest.blobs)
        sizes.update((document.digest, len(document.raw)) for document in (image.root, image.manifest))
    return sum(sizes.values())


def _used(root: Path) -> int:
    total = 0
    for folder, folders, files in os.walk(root):
        if folder == str(root):
            folders[:] = [name for name in folders if name not in _NOT_COUNTED]
        for name in files:
            try:
                total += Path(folder, name).lstat().st_size
            except OSError:
                continue  # gone in this moment
    return total


def holders(root: Path, processes: Path = Path("/proc")) -> Iterator[str]:
    """Other processes that hold a lock below the folder, as far as this user may see: by /proc/locks (proc(5))."""
    try:
        lines = (processes / "locks").read_text("ascii", "replace").splitlines()
    except OSError:
        return
    pids = {fields[4] for fields in map(str.split, lines) if len(fields) > 5 and fields[1] == "FLOCK"}
    for pid in pids - {str(os.getpid())}:
        try:
            opened = [each.readlink() for each in (processes / pid / "fd").iterdir()]
            name = (processes / pid / "comm").read_text("utf-8", "replace").strip()
        except OSError:
            continue
        if any(path.is_relative_to(root) for path in opened):
            yield f"process {pid} ({name})"
