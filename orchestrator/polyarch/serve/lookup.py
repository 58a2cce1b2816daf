"""Answers what a registry is asked, from a storage that may change at any time. For many threads at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from polyarch.errors import NotFoundError
from polyarch.oci.digest import Digest, is_digest
from polyarch.oci.document import Document
from polyarch.serve.catalogue import Catalogue, Repository, catalogue_of
from polyarch.serve.errors import RegistryError, blob_unknown, manifest_unknown, name_unknown
from polyarch.serve.offer import Servable, offer_of

MIN_AGE = 1.0
"""Seconds for which a catalogue is good where a name is found in it; what is not found is looked for in a new one."""

AGE_PER_COST = 20.0
"""… or this many times as long as it took to make, so that a large storage is not read all the time."""


class Lookup:
    """Documents, blobs, tags and names of one storage.

    A tag's document is always read from the storage; the catalogue only tells which names exist, and what hangs on
    them. Every method raises RegistryError for what is not here, StorageError where the storage fails.
    """

    def __init__(self, storage: Servable) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._catalogue = Catalogue({}, ())
        self._made = self._good_until = float("-inf")

    def names(self) -> tuple[str, ...]:
        """One name of each repository, sorted."""
        return self._new(time.monotonic()).names

    def tags(self, name: str, registry: str | None) -> tuple[str, ...]:
        """The tags of a repository in lexical order, as the spec asks for: without regard to case."""
        repository = self._new(time.monotonic()).find(name, registry)
        if repository is None:
            raise name_unknown(name)
        return tuple(sorted(repository.tags, key=tag_order))

    def document(self, name: str, registry: str | None, target: str) -> Document:
        """The manifest or index that a tag or a digest names."""
        asked = time.monotonic()
        repository = self._recent().find(name, registry)
        found = self._document(repository, target) if repository else None
        if found is None:
            repository = self._new(asked).find(name, registry)
            if repository is None:
                raise name_unknown(name)
            found = self._document(repository, target)
        if found is None:
            raise manifest_unknown(name, target)
        return found

    def blob(self, name: str, registry: str | None, digest: Digest) -> Path:
        """The file of a config or layer of the repository."""
        asked = time.monotonic()
        repository = self._recent().find(name, registry)
        if repository is None or digest not in repository.blobs:
            repository = self._new(asked).find(name, registry)
            if repository is None:
                raise name_unknown(name)
        if digest not in repository.blobs:
            raise blob_unknown(name, digest)
        try:
            return self._storage.blob_path(digest)
        except NotFoundError as error:
            raise blob_unknown(name, digest) from error

    def _document(self, repository: Repository, target: str) -> Document | None:
        by_digest = is_digest(target)
        reference = (repository.documents if by_digest else repository.tags).get(target)
        images = self._storage.find(reference) if reference else ()
        if not images:
            return None
        offer = offer_of(images, self._storage)
        return offer.by_digest(target) if by_digest else offer.document

    def _recent(self) -> Catalogue:
        """A catalogue that is good enough for names that it has."""
        with self._lock:
            good = time.monotonic() < self._good_until
        return self._catalogue if good else self._new(time.monotonic())

    def _new(self, asked: float) -> Catalogue:
        """A catalogue that was begun after the moment `asked`; threads that wait together share one."""
        with self._lock:
            if self._made < asked:
                began = time.monotonic()
                self._catalogue = catalogue_of(self._storage)
                self._made = began
                cost = time.monotonic() - began
                self._good_until = began + cost + max(MIN_AGE, AGE_PER_COST * cost)
            return self._catalogue


def tag_order(tag: str) -> tuple[str, str]:
    """The key that sorts tags in the spec's order."""
    return tag.lower(), tag


def check_digest_asked(digest: str) -> Digest:
    """`digest` if it is one; else the spec's error."""
    if not is_digest(digest):
        raise RegistryError(400, "DIGEST_INVALID", "a digest is sha256: or sha512: and its lower-case hex digits")
    return digest
