"""Bringing damaged blobs of a stored image again, from where its name comes from, by digest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from polyarch.contract.layout_names import Root, has_no_name, is_made_here, new_entry, reference_of, root_of
from polyarch.contract.registry import Registry
from polyarch.contract.repair import Repairs
from polyarch.errors import IntegrityError, NotFoundError, PolyarchError, StorageError
from polyarch.events import Emit
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, digest_of, hasher
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Document, Manifest, parse_document
from polyarch.oci.media_types import DOCUMENTS, INDEXES
from polyarch.reference import Reference
from polyarch.transfer.blob import bring_blob
from polyarch_platforms.lazy_dataclass import dataclass

_CHUNK = 1 << 20
_MOST_TRIED = 12
"""Manifests of which every selection is tried for an index that was made here."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair works with: the storage, and where a name comes from."""

    storage: Repairs
    registry: Callable[[Reference], Registry]
    retries: int
    emit: Emit

    def names_there(self, names: Sequence[Reference]) -> list[Reference]:
        """The first of the names under which there is something."""
        there = {reference_of(entry) for entry in self.storage.entries()}
        return [name for name in names if name in there][:1]

    def image(self, name: Reference) -> tuple[Digest, ...]:
        """Bring all damaged and missing blobs of what stands under a name; their digests.

        What cannot be had is passed over, and its error raised when all others are here. Nothing goes before what is to
        stand in its place is whole. Raises NotFoundError (the registry has it no more), IntegrityError,
        UnauthorizedError, UnreachableError, StorageError.
        """
        brought: list[Digest] = []
        failures: list[PolyarchError] = []
        for entry in [entry for entry in self.storage.entries() if reference_of(entry) == name]:
            for mend in self._wanting(entry, name):
                try:
                    brought += mend()
                except PolyarchError as error:
                    failures.append(error)
        if failures:
            raise failures[0]
        return tuple(brought)

    def _wanting(self, entry: Descriptor, name: Reference) -> Iterator[Callable[[], list[Digest]]]:
        """What is to be done, one after the other: each document before what it leads to."""
        root = root_of(entry)
        unnamed = has_no_name(entry)
        if root.digest != entry.digest and not self._sound(root.digest):
            yield lambda: self._document(root.digest, root.media_type, name, unnamed=unnamed)
        waiting = [(entry, True)]
        while waiting:
            one, needed = waiting.pop()
            size = self._size(one.digest)
            if size is None and not needed:
                continue  # of another platform, which is not at hand
            if size != one.size or not self._sound(one.digest):
                if one is entry and is_made_here(entry):
                    yield lambda: self._made(entry, name, root)
                elif one.media_type in DOCUMENTS:
                    yield lambda one=one: self._document(  # type: ignore[misc]
                        one.digest, one.media_type, name, unnamed=unnamed
                    )
                else:
                    yield lambda one=one: self._blob(one, name, unnamed=unnamed)  # type: ignore[misc]
            if one.media_type in DOCUMENTS and (document := self._read(one.digest, one.media_type)) is not None:
                if isinstance(document, Manifest):
                    waiting += [(blob, True) for blob in document.blobs if not blob.urls]
                else:
                    waiting += [(below, is_made_here(entry)) for below in document.manifests]

    def _document(self, digest: Digest, media_type: str, name: Reference, *, unnamed: bool) -> list[Digest]:
        _check_named(name, unnamed=unnamed)
        raw = self.registry(name).get(replace(name, digest=digest)).raw
        return self._put(Descriptor(media_type, digest, len(raw)), raw)

    def _put(self, blob: Descriptor, raw: bytes) -> list[Digest]:
        if digest_of(raw, blob.digest.partition(":")[0]) != blob.digest:
            raise IntegrityError(f"{blob.digest} was promised, something else came")
        with self.storage.replace_blob(blob) as writer:
            if writer is not None:
                writer.restart()
                writer.write(raw)
                writer.finish()
        return [blob.digest]

    def _blob(self, blob: Descriptor, name: Reference, *, unnamed: bool) -> list[Digest]:
        _check_named(name, unnamed=unnamed)
        with self.storage.replace_blob(blob) as writer:
            if writer is not None:
                bring_blob(
                    self.registry(name),
                    name,
                    blob,
                    writer,
                    retries=self.retries,
                    emit=self.emit,
                    cancelled=threading.Event(),
                )
        return [blob.digest]

    def _made(self, entry: Descriptor, name: Reference, root: Root) -> list[Digest]:
        """Make an index again that was made here: of those that the root lists, the selection that has its digest."""
        document = self._read(root.digest, root.media_type)
        listed: Sequence[Descriptor] = ()
        if isinstance(document, Manifest):
            listed = [document.descriptor]
        elif document is not None:
            listed = [each for each in document.manifests if self._size(each.digest) is not None][:_MOST_TRIED]
        for number in range(len(listed), 0, -1):
            for some in combinations(listed, number):
                made = new_entry(name, root, some)
                if made.entry.digest == entry.digest and made.index is not None:
                    return self._put(Descriptor(entry.media_type, entry.digest, len(made.index)), made.index)
        raise StorageError(
            f"{name.familiar}: the list of its platforms cannot be made again",
            f"polyarch image rm {name.familiar}, then pull it again",
        )

    def _read(self, digest: Digest, media_type: str) -> Document | None:
        if not self._sound(digest):
            return None
        with self.storage.open_blob(digest) as stream:
            raw = stream.read(MAX_DOCUMENT_SIZE + 1)
        try:
            document = parse_document(raw, media_type, digest)
        except IntegrityError:
            return None
        return document if isinstance(document, Manifest) or media_type in INDEXES else None

    def _size(self, digest: Digest) -> int | None:
        try:
            with self.storage.open_blob(digest) as stream:
                return stream.seek(0, 2)
        except NotFoundError:
            return None
        except (StorageError, OSError):
            return -1

    def _sound(self, digest: Digest) -> bool:
        """Whether a blob is here and has its digest; one that the disk does not give is as good as damaged."""
        hashed = hasher(digest)
        try:
            with self.storage.open_blob(digest) as stream:
                while chunk := stream.read(_CHUNK):
                    hashed.update(chunk)
        except (NotFoundError, StorageError, OSError):
            return False
        return hashed.hexdigest() == digest.partition(":")[2]


def _check_named(name: Reference, *, unnamed: bool) -> None:
    if unnamed:
        raise IntegrityError(
            f"{name} is damaged, and has no name that says where to fetch it from",
            f"polyarch image rm {name.digest[7:19]}, then pull or build it again",
        )
