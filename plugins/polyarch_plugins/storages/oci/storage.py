"""The storage itself: what the contract asks for, on the layout, the locks and the leases."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from polyarch.contract import (
    BlobWriter,
    Descriptor,
    Digest,
    Image,
    ImageSummary,
    Layout,
    LayoutImages,
    NewEntries,
    NotFoundError,
    Platform,
    Reference,
    StorageError,
    StorageServices,
    absolute_path,
    disk_error,
    locked,
    make_directory,
    printable,
    read_bounded,
    sync_directory,
    write_in_one_step,
)
from polyarch_plugins.storages.oci.garbage import blobs_here, remove_blobs, remove_partials
from polyarch_plugins.storages.oci.leases import Lease, counted_on
from polyarch_plugins.storages.oci.mending import mend_layout, replaced_blob
from polyarch_plugins.storages.oci.partial import PartialBlob, lock_partial, partial_path
from polyarch_plugins.storages.oci.remembered import WORTH_REMEMBERING, recalled, remember, remember_too

if TYPE_CHECKING:
    from polyarch.contract import LayoutSummaries

VERSION = 1
"""The number of the arrangement of files that the package's docstring describes."""

MENDS = "polyarch verify --repair"
"""What writes a damaged index.json of the storage below the root folder anew."""

_DIRECTORY_MODE = 0o700


def open_storage(services: StorageServices) -> OciStorage:
    """The storage at the place that the user named, else below the root folder. Touches no file."""
    place = absolute_path(services.location) if services.location else services.root / "oci"
    own = not services.location  # elsewhere nobody would ever see, or prune, what lost its name
    return OciStorage(place, lock_timeout=services.lock_timeout, sync=services.sync, keep_unnamed=own)


class OciStorage:
    """Satisfies Storage, ReadsBlobs, HasBlobFiles, ListsImages, SummarisesImages, RemovesImages, KeepsUnnamed and
    ForgetsBlobs.

    The first write makes its folder.
    """

    def __init__(
        self, directory: Path, *, lock_timeout: float = 60.0, sync: bool = True, keep_unnamed: bool = True
    ) -> None:
        """`lock_timeout` is in seconds; `sync` waits for the disk before a name is written.

        With `keep_unnamed` an image stays when its name moves on.
        """
        self.directory = directory
        self._layout = Layout(directory, MENDS if keep_unnamed else None)
        self._images = LayoutImages(self._layout)
        self._private = directory / ".polyarch"
        self._partials = self._private / "partial"
        self._lease = Lease(self._private / "leases")
        self._lock_timeout, self._sync, self._keep_unnamed = lock_timeout, sync, keep_unnamed
        self._made = False

    def has_blob(self, blob: Descriptor) -> bool:
        """True if the blob is here, whole; it is counted on then."""
        self._check_version()
        if not self._layout.has_blob(blob):
            return False
        self._make()
        with self._locked():
            if not self._layout.has_blob(blob):
                return False
            self._lease.add(blob.digest)
            return True

    @contextlib.contextmanager
    def write_blob(self, blob: Descriptor) -> Iterator[BlobWriter | None]:
        """Bring a blob in; None if it is here by now. Waits as long as another process at the same blob gets on."""
        self._make()
        path = partial_path(self._partials, blob.digest)
        try:
            descriptor = lock_partial(path, blob.digest, self._lock_timeout)
        except OSError as error:
            raise disk_error(error, f"cannot write {path}") from error
        bringing = PartialBlob(path, descriptor, lambda: self._publish(blob.digest, path), sync=self._sync)
        with contextlib.closing(bringing) as writer:
            if not self.has_blob(blob):
                yield writer
                return
            writer.restart()  # its bytes are of no use any more
        yield None

    def _publish(self, digest: Digest, path: Path) -> None:
        """Rename a whole blob into place; from then on it is counted on. Raises OSError."""
        self._layout.make_blob_directory(digest)
        with self._locked():
            self._lease.add(digest)
            path.replace(self._layout.blob_path(digest))

    def open_blob(self, digest: Digest) -> BinaryIO:
        """A seekable stream of the blob. Raises NotFoundError."""
        self._check_version()
        return self._layout.open_blob(digest)

    def blob_path(self, digest: Digest) -> Path:
        """The file of the blob. Raises NotFoundError."""
        self._check_version()
        path = self._layout.blob_path(digest)
        if not path.is_file():
            raise NotFoundError(f"there is no blob {digest} in {self.directory}")
        return path

    def commit(self, image: Image) -> None:
        """Let the name point at the image, in one step. Raises StorageError if a blob of it is not here."""
        self._make()
        if self._sync:
            self._sync_blobs(image.manifest.blobs)
        with self._locked():
            for blob in image.manifest.blobs:
                if not blob.urls and not self._layout.has_blob(blob):
                    raise StorageError(
                        f"{image.reference}: blob {blob.digest} is not in {self.directory}", "pull it again"
                    )
            new = self._images.with_image(self._layout.entries(), image)
            entry = new.entries[-1]
            self._layout.write_document(image.config.raw, sync=self._sync)  # where a damaged one is still here
            new = self._write(new, keep_unnamed=self._keep_unnamed)
            self._lease.drop(blob.digest for blob in image.manifest.blobs)
            remove_blobs(self._layout, new.unlisted)
        with contextlib.suppress(StorageError):
            if line := self._summaries().line_of(entry):
                remember_too(self._private / "summaries", line)

    def _write(self, new: NewEntries, *, keep_unnamed: bool) -> NewEntries:
        """Write documents and index.json; what it says then, and what went."""
        self._write_documents(new)
        if keep_unnamed:
            new = self._images.with_unnamed(new)
            self._write_documents(new)
        self._layout.write_index(new.entries, sync=self._sync)
        return new

    def _write_documents(self, new: NewEntries) -> None:
        for document in new.documents:
            self._layout.write_document(document, sync=self._sync)

    def _sync_blobs(self, blobs: Iterable[Descriptor]) -> None:
        """Wait until the blobs and their names are on the disk."""
        paths = [self._layout.blob_path(blob.digest) for blob in blobs]
        try:
            for path in paths:
                with contextlib.suppress(FileNotFoundError):  # commit tells which one is missing
                    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    try:
                        os.fdatasync(descriptor)
                    finally:
                        os.close(descriptor)
            for folder in {path.parent for path in paths if path.parent.is_dir()}:
                sync_directory(folder)
                sync_directory(folder.parent)
        except OSError as error:
            raise disk_error(error, f"cannot write into {self.directory}") from error

    def find(self, reference: Reference) -> tuple[Image, ...]:
        """The images under this name: by tag (and digest, if it has both), or by the digest of root or manifest."""
        return self._images.find(self._entries(), reference)

    def images(self) -> Iterator[Image]:
        """Every image under every name."""
        for entry in self._entries():
            yield from self._images.of(entry)

    def summaries(self) -> Iterator[ImageSummary]:
        """Every image under every name, by what is remembered of its documents where these are the same files.

        Raises NotFoundError where a folder that the user named is not there; the usual one need not be.
        """
        entries, summaries = self._listed(), self._summaries()
        yield from summaries.of(entries)
        self._remember(entries, summaries)

    def examined(self) -> tuple[tuple[ImageSummary, ...], tuple[Reference, ...]]:
        """As `summaries`, and the names that lead to something of which parts are gone or damaged."""
        entries, summaries = self._listed(), self._summaries()
        found = tuple(summaries.of(entries, past_damage=True))
        self._remember(entries, summaries)
        damaged = tuple(dict.fromkeys(summaries.damaged))
        # What somebody removes in this moment goes after its name.
        return found, (*damaged, *(name for name in summaries.lacking if name not in damaged and self.lacks(name)))

    def _listed(self) -> tuple[Descriptor, ...]:
        if not self._keep_unnamed and not self.directory.exists():
            raise NotFoundError(f"there is no folder {self.directory}")
        return self._entries()

    def lacks(self, reference: Reference) -> bool:
        """Whether parts are gone of what stands under a name."""
        return self._images.lacking(self._entries(), reference)

    def _remember(self, entries: Sequence[Descriptor], summaries: LayoutSummaries) -> None:
        if max(summaries.learnt, summaries.past - len(entries)) >= WORTH_REMEMBERING and self._private.is_dir():
            with contextlib.suppress(StorageError), locked(self._private / "lock", "", 0):  # else the next one does it
                remember(self._private / "summaries", summaries.to_remember(), self._private / ".new")

    def _summaries(self) -> LayoutSummaries:
        from polyarch.contract import LayoutSummaries

        return LayoutSummaries(self._layout, recalled(self._private / "summaries"))

    def _needed(self, entries: Sequence[Descriptor]) -> set[Digest]:
        """What the entries and storages in use need. Under the storage's lock. Raises StorageError for damaged ones."""
        return self._summaries().needed(entries) | counted_on(self._lease.directory)

    def _entries(self) -> tuple[Descriptor, ...]:
        self._check_version()
        return self._layout.entries() if self._is_here() else ()

    def _is_here(self) -> bool:
        return self._layout.exists() or self._layout.names_something()

    def remove(self, reference: Reference, platform: Platform | None = None) -> tuple[Digest, ...]:
        """Take a name away, or one platform of it; the digests of the blobs that went with it."""
        self._images.without(self._entries(), reference, platform)  # what is not here is told without a write
        self._make()
        with self._locked():
            new = self._images.without(self._layout.entries(), reference, platform)
            self._write(new, keep_unnamed=False)
            self._lease.drop_own()
            return self._remove_unneeded(new.replaced, new.entries)

    def _remove_unneeded(self, going: Iterable[Descriptor], staying: Sequence[Descriptor]) -> tuple[Digest, ...]:
        """Delete what only the entries that went needed. Raises OSError."""
        try:
            kept = self._needed(staying)
        except StorageError:  # another image is damaged: what it needs cannot be told, so everything stays for `prune`
            return ()
        candidates: set[Digest] = set()
        for entry in going:
            try:
                candidates |= self._images.needed([entry])
            except StorageError:  # the rest of a damaged image is left for `prune`
                candidates.add(entry.digest)
        return tuple(digest for digest, _ in remove_blobs(self._layout, candidates - kept))

    def untag(self, reference: Reference, platform: Platform | None = None) -> None:
        """Take a name away, or one platform of it; the image stays, without a name if it has no other."""
        self._images.without(self._entries(), reference, platform)  # what is not here is told without a write
        self._make()
        with self._locked():
            new = self._images.without(self._layout.entries(), reference, platform)
            new = self._write(new, keep_unnamed=True)
            remove_blobs(self._layout, new.unlisted)

    def prune(self) -> tuple[tuple[Digest, int], ...]:
        """Remove the blobs that no name needs, and what broken transfers left."""
        return self.discard(())

    def discard(self, images: Collection[Image], *, dry_run: bool = False) -> tuple[tuple[Digest, int], ...]:
        """Take away the names that lead to no other images than these, and do what `prune` does, or tell it."""
        self._check_version()
        if not self._is_here():
            return ()
        self._make()
        with self._locked():
            entries = self._layout.entries()
            staying = self._images.without_these(entries, images) if images else entries
            if not dry_run:
                self._lease.drop_own()
            kept = self._needed(staying)
            if len(staying) < len(entries) and not dry_run:
                self._layout.write_index(staying, sync=self._sync)
            blobs = remove_blobs(self._layout, set(blobs_here(self._layout)) - kept, dry_run=dry_run)
            return blobs + remove_partials(self._partials, dry_run=dry_run)

    def mend(self) -> tuple[str, ...]:
        """Write `oci-layout` and `index.json` anew if they are damaged; what was done."""
        self._check_version()
        if not self._private.is_dir():
            return ()
        with self._locked():
            return mend_layout(self._layout, sync=self._sync)

    def entries(self) -> tuple[Descriptor, ...]:
        """What index.json names."""
        return self._entries()

    def replace_blob(self, blob: Descriptor) -> contextlib.AbstractContextManager[BlobWriter | None]:
        """Bring a blob in anew, in the place of a damaged one; None if it is sound by now."""
        self._make()
        path = partial_path(self._partials, blob.digest)
        publish = partial(self._publish, blob.digest, path)
        return replaced_blob(self._layout, path, blob, publish, self._lock_timeout, sync=self._sync)

    def forget(self, digests: Collection[Digest]) -> None:
        """Count on these blobs no more, and remove those that no name needs and no other storage in use counts on."""
        self._check_version()
        if not self._is_here():
            return
        self._make()
        with self._locked():
            self._lease.forget(digests)
            kept = self._needed(self._layout.entries())
            remove_blobs(self._layout, set(digests) - kept)

    def close(self) -> None:
        """Count on no blob any more."""
        self._lease.close()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the storage's lock; an OSError inside becomes a StorageError."""
        with locked(self._private / "lock", f"the storage {self.directory}", self._lock_timeout):
            try:
                yield
            except OSError as error:
                raise disk_error(error, f"cannot write into the storage {self.directory}") from error

    def _check_version(self) -> None:
        path = self._private / "version"
        try:
            version = read_bounded(path, 100).decode("ascii", "replace").strip()
        except FileNotFoundError:
            return
        except NotADirectoryError as error:
            if self.directory.is_file():
                hint = "for an archive: --into oci-archive:FILE"
                raise StorageError(f"{self.directory} is a file, not a folder", hint) from error
            return
        except OSError as error:
            raise disk_error(error, f"cannot read {path}") from error
        if version != str(VERSION):
            raise StorageError(
                f"the storage {self.directory} is of version {printable(version, 40)}, known is {VERSION}",
                "use a newer polyarch, or another place with --root",
            )

    def _make(self) -> None:
        """Make what is missing of the folder. A folder with anything else in it is refused."""
        if self._made:
            return
        self._check_version()
        try:
            # In this order: whoever makes it at the same time makes `.polyarch` before anything else.
            is_filled = self.directory.is_dir() and any(self.directory.iterdir())
            if is_filled and not self._private.is_dir() and not self._layout.exists():
                raise StorageError(
                    f"{self.directory} holds files, but is no OCI image layout", "name an empty or a new folder"
                )
            make_directory(self._partials, _DIRECTORY_MODE)
            make_directory(self._lease.directory, _DIRECTORY_MODE)
        except OSError as error:
            raise disk_error(error, f"cannot make the storage {self.directory}") from error
        with self._locked():
            self._layout.create(_DIRECTORY_MODE)
            self._layout.entries()  # of a version that can be written
            version = self._private / "version"
            if not version.exists():
                write_in_one_step(version, b"%d\n" % VERSION, self._private / ".new", sync=self._sync)
        self._made = True
