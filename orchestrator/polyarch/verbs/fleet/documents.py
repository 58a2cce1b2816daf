"""The documents of a fleet's images: whatever is asked how often, the registry is asked once."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from polyarch.contract.registry import Registry
from polyarch.errors import NotFoundError, UnauthorizedError
from polyarch.events import ignore
from polyarch.oci.config import MAX_CONFIG_SIZE, ImageConfig
from polyarch.oci.digest import Digest
from polyarch.oci.document import Document, Manifest
from polyarch.reference import Reference
from polyarch.resolution.documents import Documents
from polyarch.transfer.blob import bring_blob
from polyarch.transfer.staged import KeepsBlobs


class FleetDocuments(Documents):
    """As Documents, of one image name, for many kinds of devices.

    A name is looked up once, so that it stands for the same to the end. A config is kept in the storage as soon as it
    is read: bringing the variant later does not fetch it again. `fetched` are those that came so, and their bytes.
    """

    def __init__(
        self, registry: Registry, storage: KeepsBlobs, retries: int, stood: Mapping[str, Digest] | None = None
    ) -> None:
        """`stood` are whole names, and the digests that they stand for whatever the registry says by now."""
        super().__init__(registry, storage)
        self._storage, self._retries, self._stood = storage, retries, stood or {}
        self._roots: dict[Reference, Document | NotFoundError | UnauthorizedError] = {}
        self._keeping = threading.Lock()
        self.fetched: dict[Digest, int] = {}

    def root(self, reference: Reference, *, known: bool = False) -> Document:
        """What the reference points at; also that it points at nothing is remembered."""
        if reference not in self._roots:
            try:
                digest = self._stood.get(str(reference))
                asked = reference.with_digest(digest) if digest else reference
                self._roots[reference] = super().root(asked, known=known)
            except (NotFoundError, UnauthorizedError) as error:
                self._roots[reference] = error
        found = self._roots[reference]
        if isinstance(found, Exception):
            raise found
        return found

    @property
    def stands(self) -> dict[str, Digest]:
        """What each name that was looked up stands for; whole names."""
        return {str(name): root.digest for name, root in self._roots.items() if not isinstance(root, Exception)}

    def config(self, reference: Reference, manifest: Manifest) -> ImageConfig:
        """The config of a manifest. Raises StorageError, too."""
        if manifest.config.size <= MAX_CONFIG_SIZE:
            with self._keeping:
                self._keep(reference, manifest)
        return super().config(reference, manifest)

    def _keep(self, reference: Reference, manifest: Manifest) -> None:
        blob = manifest.config
        if self._storage.has_blob(blob):
            return
        with self._storage.write_blob(blob) as writer:
            if writer is not None:
                self.fetched[blob.digest] = bring_blob(
                    self.registry,
                    reference,
                    blob,
                    writer,
                    retries=self._retries,
                    emit=ignore,
                    cancelled=threading.Event(),
                )
