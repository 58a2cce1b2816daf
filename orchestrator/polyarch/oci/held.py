"""Images that a place (a folder, a file, a bucket) holds under names of its own, and what those names are called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, check_digest, hex_of, is_digest
from polyarch_platforms.lazy_dataclass import dataclass

REF_NAME = "org.opencontainers.image.ref.name"
"""Annotation of an index.json's entry (image-spec annotations.md): a tag with most tools, a whole name with some."""

CONTAINERD_NAME = "io.containerd.image.name"
"""The whole name, where containerd, docker or BuildKit wrote the entry (containerd, core/images/annotations.go)."""

POLYARCH_NAME = "io.polyarch.name"
"""The whole name, where polyarch wrote the entry and the image-spec's grammar does not allow it as a `ref.name`."""

ROOT = "io.polyarch.root"
"""Digest of what the name points at in the registry, where that is not the entry itself."""


@dataclass(frozen=True, slots=True)
class HeldImage:
    """An image in a place: what its names point at, and the names as they are written there, whole ones first.

    `origin` is the digest of what the name points at in the registry that polyarch took it from, "" if nobody noted it.
    """

    root: Descriptor
    names: tuple[str, ...] = ()
    origin: Digest = ""


class ImagePlace(Protocol):
    """What holds images under names, each blob readable from an offset. May be used from several threads at once."""

    @property
    def where(self) -> str:
        """The place, as a message names it."""

    @property
    def images(self) -> tuple[HeldImage, ...]:
        """What is here."""

    def size(self, digest: Digest) -> int | None:
        """Bytes of a blob; None if it is not here."""

    def read(self, digest: Digest, limit: int) -> bytes:
        """A blob of at most `limit` bytes, not verified. Raises NotFoundError; IntegrityError if it is larger."""

    def chunks(self, digest: Digest, offset: int) -> Iterator[bytes | memoryview]:
        """The bytes of a blob from `offset` on, not verified. Raises NotFoundError."""

    def close(self) -> None:
        """Give back files and connections."""


def held_images(entries: Iterable[Descriptor]) -> tuple[HeldImage, ...]:
    """The images that the entries of an index.json name."""
    found = []
    for entry in entries:
        origin = entry.annotations.get(ROOT, "")
        found.append(HeldImage(entry, names_of(entry), origin if is_digest(origin) else ""))
    return tuple(found)


def names_of(entry: Descriptor) -> tuple[str, ...]:
    """The names that an entry of an index.json has, whole ones first."""
    found = (entry.annotations.get(key, "") for key in (CONTAINERD_NAME, POLYARCH_NAME, REF_NAME))
    return tuple(dict.fromkeys(name for name in found if name))


def blob_name(digest: Digest) -> str:
    """Where a layout keeps a blob (image-spec, image-layout.md, "Blobs"). Raises IntegrityError: no digest."""
    algorithm = check_digest(digest, "blob").partition(":")[0]
    return f"blobs/{algorithm}/{hex_of(digest)}"
