"""What a storage has to be able to do, and what some can do beyond that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import field, replace
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from polyarch.contract.http import Http, no_http
from polyarch.contract.registry import no_folder
from polyarch.errors import HostError
from polyarch.events import Emit, ignore
from polyarch.oci.config import ImageConfig
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Document, Manifest
from polyarch.reference import Reference
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform


@dataclass(frozen=True, slots=True)
class Image:
    """One variant of an image under a name.

    `root` is what the name points at in the registry: the index, or the manifest itself. `platform` is what the
    variant is for, as far as it was proven.
    """

    reference: Reference
    root: Document
    manifest: Manifest
    config: ImageConfig
    platform: Platform

    @property
    def entry(self) -> Descriptor:
        """The manifest as an index lists it: with the platform that it is for."""
        return replace(self.manifest.descriptor, platform=self.platform)


class BlobWriter(Protocol):
    """A blob on its way in. Nothing of it is visible before `finish`; without that its bytes are kept for the next try.

    Digest and size are checked by polyarch itself, before it calls `finish`.
    """

    @property
    def offset(self) -> int:
        """How many bytes are here, from an earlier try too: where the next write goes."""

    def kept(self) -> Iterator[bytes]:
        """The bytes that are here, from the first on, to be hashed again."""

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`. Raises StorageError (disk full)."""

    def restart(self) -> None:
        """Throw away what is here."""

    def finish(self) -> None:
        """The blob is whole and verified: make it visible, in one step."""


@runtime_checkable
class ReadsBack(Protocol):
    """A BlobWriter whose bytes can be read while further ones come, by those who can wait until they are verified."""

    def open_written(self) -> BinaryIO:
        """An unbuffered file (with `fileno`) of what is here, in which later bytes appear as they are written.

        The caller closes it; it can be read until then, when the writer is done, too. Raises StorageError.
        """


class Storage(Protocol):
    """Where images are kept. May be used from several threads and processes at once. Raises StorageError."""

    def has_blob(self, blob: Descriptor) -> bool:
        """True if the blob is here, whole."""

    def write_blob(self, blob: Descriptor) -> AbstractContextManager[BlobWriter | None]:
        """Bring a blob in; None if it is here by now. Waits where another process is at the same blob."""

    def commit(self, image: Image) -> None:
        """Let the name point at the image, in one step; its config and layers are here already.

        Where the storage keeps several platforms of a name, those with the same root stay, the others go.
        """

    def find(self, reference: Reference) -> tuple[Image, ...]:
        """The images under this name; () for none.

        With a tag they are the ones under `name` and `tag`, and of these, where there is a digest too, those whose root
        or manifest has it; without a tag all of the repository whose root or manifest has the digest.
        """

    def close(self) -> None:
        """Give back connections, locks and files."""


@runtime_checkable
class ImageLoader(Protocol):
    """Where images are taken whole: an engine, an archive, a bucket. A plugin may make one in place of a Storage.

    Polyarch then fetches the blobs into files of its own, resumes broken transfers, checks everything, and hands the
    image over when it is whole and proven; the files go when it is loaded. Used by one thread at a time, but several
    processes may load at once. Raises StorageError, HostError where what it needs is not there or does not run, and
    UsageError for a name that it cannot give.
    """

    def has(self, image: Image) -> bool:
        """True if the image's name points at this very variant already (at its config, where no more is kept)."""

    def lacks(self, image: Image) -> Collection[Digest]:
        """Which of the image's blobs (config and layers) `load` will want to read; the others are not fetched."""

    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        """Take the image and let its name point at it, in one step: nothing of it is visible before.

        `blobs` has the files of what `lacks` answered. Where several platforms of a name are kept, those with the same
        root stay, as with `Storage.commit`.
        """

    def close(self) -> None:
        """Give back connections, locks and files."""


@runtime_checkable
class LoadsEarly(Protocol):
    """A loader that can begin before all blobs are there, because it gives the image its name at the very end."""

    def load_early(self, image: Image, blobs: HasBlobFiles, proven: Callable[[], None]) -> None:
        """As `load`, in a thread of its own. `blobs` waits for each file until it is here.

        `proven` has to be called before the image can be seen: it waits until all of it is here and what it says. When
        the pull ends before that, both raise StorageError; then nothing of the image may be left.
        """


@runtime_checkable
class ReadsBlobs(Protocol):
    """A storage whose blobs can be read again."""

    def open_blob(self, digest: Digest) -> BinaryIO:
        """A seekable stream of the blob. Raises NotFoundError."""


@runtime_checkable
class HasBlobFiles(Protocol):
    """A storage that has each blob as a plain file."""

    def blob_path(self, digest: Digest) -> Path:
        """The file of the blob, which is only to be read. Raises NotFoundError."""


@runtime_checkable
class ForgetsBlobs(Protocol):
    """A storage in which blobs may wait that get no name."""

    def forget(self, digests: Collection[Digest]) -> None:
        """These blobs are no longer counted on here: remove those that no name needs and nobody else counts on."""


@runtime_checkable
class ListsImages(Protocol):
    """A storage that can tell what it has."""

    def images(self) -> Iterator[Image]:
        """Every image under every name."""


@dataclass(frozen=True, slots=True)
class ImageSummary:
    """What an engine tells of an image: less than all documents, enough for a list.

    `id` is the config's digest, `digest` what the name points at in the registry ("" if nobody knows); `created` is as
    in the config (RFC 3339, "" if unknown), `size` is in bytes, as the engine counts them. `manifest` is the digest of
    the variant's manifest, "" if nobody knows; `labels` and `diff_ids` are the config's, `blobs` the sizes of config
    and layers by digest, None if they are not known. A storage that is `ListsImages`, too, tells all of it.
    """

    reference: Reference
    id: Digest
    digest: Digest
    platform: Platform
    created: str
    size: int
    manifest: Digest = ""
    labels: Mapping[str, str] | None = None
    blobs: Mapping[Digest, int] | None = None
    diff_ids: tuple[Digest, ...] | None = None


@runtime_checkable
class SummarisesImages(Protocol):
    """A storage that can tell what it has, though not with all documents: faster, or for want of them."""

    def summaries(self) -> Iterator[ImageSummary]:
        """Every image under every name."""


@runtime_checkable
class RemovesImages(Protocol):
    """A storage that can give images up again."""

    def remove(self, reference: Reference, platform: Platform | None = None) -> tuple[Digest, ...]:
        """Take the name away (or one platform of it), and every blob that nothing needs any more; the digests of those.

        Raises NotFoundError.
        """

    def prune(self) -> tuple[tuple[Digest, int], ...]:
        """Remove what no name needs: blobs, and what broken transfers left. (digest, bytes) of each."""


def unnamed(digest: Digest) -> Reference:
    """What an image without a name is called: `digest` is that of its manifest, or of what lists its platforms."""
    return Reference("localhost", "unnamed", "", digest)


def is_unnamed(reference: Reference) -> bool:
    """True for what `unnamed` makes."""
    return reference == unnamed(reference.digest)


@runtime_checkable
class KeepsUnnamed(Protocol):
    """A storage in which an image stays when its name moves to another one: as `localhost/unnamed@DIGEST`.

    It goes by `discard`, or by `RemovesImages.remove` like any other, and has no such name any more once it got one.
    """

    def untag(self, reference: Reference, platform: Platform | None = None) -> None:
        """Take the name away (or one platform of it); the image stays. Raises NotFoundError."""

    def discard(self, images: Collection[Image], *, dry_run: bool = False) -> tuple[tuple[Digest, int], ...]:
        """Take away each name that leads to no other images than these, then what `RemovesImages.prune` does.

        So a name that has moved meanwhile stays. (digest, bytes) of each blob that went; with `dry_run` of each that
        would, and nothing goes.
        """


@dataclass(frozen=True, slots=True)
class OfferedImage:
    """An image that can be pulled from `registry` (a host with a port, plain HTTP), from any repository below
    `repository` and by any tag, or by digest; by nobody who was not told the repository.

    `root` is what a tag points at there: the image's root, or its manifest where the root would lead an engine to
    other manifests, too. From an index `platform` leads to the manifest.
    """

    registry: str
    repository: str
    root: Document
    platform: Platform


def no_offer(image: Image, blobs: HasBlobFiles) -> AbstractContextManager[OfferedImage]:
    """For those who have no registry to hand out: raises HostError."""
    raise HostError(f"there is no registry here to offer {image.reference.familiar} at")


@dataclass(frozen=True, slots=True)
class StorageServices:
    """What polyarch hands to the factory of a storage.

    `location` is what the user wrote behind the storage's name (`oci-archive:FILE`), "" if nothing; `root` is the
    folder of all that polyarch keeps; `lock_timeout` is in seconds, `sync` asks for fsync before a name is written.
    `http_at` speaks HTTP over a unix socket; what it answers is closed by polyarch. `environ` is the environment, which
    nobody else reads. `emit` is given events (`Warned` for what the user should know). `offer` is for an engine that
    pulls better than it loads: a registry on loopback with an image, for as long as the context lasts; of the blobs it
    asks for those that the engine asks for, and a file that cannot be read is raised at the end. `temporary` is a
    folder for files that are of no use later; polyarch makes it when first asked for, and removes it.
    """

    root: Path
    location: str = ""
    lock_timeout: float = 60.0
    sync: bool = True
    http_at: Callable[[Path], Http] = no_http
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    emit: Emit = ignore
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    offer: Callable[[Image, HasBlobFiles], AbstractContextManager[OfferedImage]] = no_offer
    temporary: Callable[[], Path] = no_folder
