"""A copy of a file that names images, with the digests of a lock behind the names, and nothing else changed."""

from __future__ import annotations

from polyarch.errors import UsageError
from polyarch.lock.locked import Lock, LockedImage
from polyarch.lock.named import NamedImage
from polyarch.lock.sources import Source
from polyarch.oci.digest import Digest
from polyarch.reference import parse_reference
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import parse


@dataclass(frozen=True, slots=True)
class Pin:
    """An image name of a file and what stands in its place in the copy; the same where it had a digest before."""

    line: int
    name: str
    pinned: str


def pinned_copy(source: Source, lock: Lock, lock_name: str) -> tuple[str, tuple[Pin, ...]]:
    """The text of the copy, and what was written for each image.

    Raises UsageError where a name is not in the lock, or the lock lacks the platform that the file wants.
    """
    pins = [Pin(image.line, image.name, _pinned(image, source, lock, lock_name)) for image in source.images]
    text, places = source.text, set()
    for image, pin in sorted(zip(source.images, pins, strict=True), key=lambda each: each[0].start, reverse=True):
        if image.start not in places and pin.pinned != image.name:
            places.add(image.start)
            tail = text[image.start : image.end]
            # A block scalar (`|`) ends with its last line; so does what takes its place.
            ending = tail[len(tail.rstrip()) :]
            text = text[: image.start] + image.quote + pin.pinned + image.quote + ending + text[image.end :]
    return source.mark + text, tuple(pins)


def _pinned(image: NamedImage, source: Source, lock: Lock, lock_name: str) -> str:
    reference = parse_reference(image.name)
    entry = lock.entry(reference)
    where = f"{source.path}, line {image.line}"
    if entry is None:
        hint = f"lock what the file names: polyarch lock --from {source.path}"
        raise UsageError(f"{where}: {reference.familiar} is not in {lock_name}", hint)
    if reference.digest:
        return image.name
    name, digest = _where(image, entry, where, lock_name)
    return f"{name}@{digest}"


def _where(image: NamedImage, entry: LockedImage, where: str, lock_name: str) -> tuple[str, Digest]:
    """The name and the digest behind it: the index's, so that each machine takes its own variant from it.

    A variant that was found under another name, by a tag convention, is no part of that index, and goes by itself.
    """
    if not image.platform:
        return image.name, entry.digest
    variant = entry.best_for(parse(image.platform))
    if variant is None:
        there = ", ".join(entry.manifests)
        hint = f"lock it with: polyarch lock --platform {image.platform} {entry.reference.familiar}"
        raise UsageError(
            f"{where}: {entry.reference.familiar} is wanted for {image.platform}; {lock_name} has {there}", hint
        )
    if variant.reference:
        return parse_reference(variant.reference).familiar, variant.manifest
    return image.name, entry.digest
