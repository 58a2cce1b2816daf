"""Reading small documents of a repository, each verified, and from the storage where it is at hand already."""

from __future__ import annotations

from itertools import islice

from polyarch.contract.registry import ListsTags, Registry
from polyarch.contract.storage import ReadsBlobs
from polyarch.errors import IntegrityError, NotFoundError, PolyarchError
from polyarch.limits import MAX_CONFIG_SIZE, MAX_DOCUMENT_SIZE, MAX_READ_DOCUMENTS, MAX_READ_SIZE
from polyarch.oci.config import ImageConfig, parse_config
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, digest_of
from polyarch.oci.document import Document, Manifest, check_document, parse_document
from polyarch.reference import Reference
from polyarch.registry.several import HasMirrors


class Documents:
    """Manifests, indexes and configs of one registry; what `local` holds by digest is not asked for again."""

    def __init__(self, registry: Registry, local: ReadsBlobs | None = None) -> None:
        self.registry = registry
        self._local = local
        self._read: dict[str, Document] = {}
        self._configs: dict[Digest, bytes] = {}
        self._asked: dict[str, tuple[int, int]] = {}
        self._tags: dict[str, tuple[frozenset[str], bool]] = {}

    def root(self, reference: Reference, *, known: bool = False) -> Document:
        """What the reference points at.

        `known` says that something is stored under this name: then the digest is asked first, and the document travels
        only if it changed.
        """
        if reference.digest:
            stated = self._at_hand(reference.digest, "")
            if stated is not None:
                return stated
        elif known and (now := self.registry.head(reference)) is not None:
            return self.by_descriptor(reference, now)
        document = self.registry.get(reference)
        if reference.digest:
            check_document(
                document, Descriptor(document.media_type, reference.digest, len(document.raw)), str(reference)
            )
        self._charge(reference, len(document.raw))
        self._read[document.digest] = document
        return document

    def _charge(self, reference: Reference, size: int) -> None:
        """So much was asked of the registry. Raises IntegrityError where no honest name can need it."""
        number, read = self._asked.get(reference.name, (0, 0))
        self._asked[reference.name] = number, read = number + 1, read + size
        if number > MAX_READ_DOCUMENTS or read > MAX_READ_SIZE:
            raise IntegrityError(
                f"{reference.familiar}: what it leads to are more than {MAX_READ_DOCUMENTS} documents"
                f" or {MAX_READ_SIZE >> 20} MiB of them"
            )

    def by_descriptor(self, reference: Reference, descriptor: Descriptor) -> Document:
        """The document that an index entry or a HEAD answer describes. Raises IntegrityError if it is another."""
        if descriptor.digest in self._read:
            return self._read[descriptor.digest]
        where = f"{reference.familiar_name}@{descriptor.digest}"
        document = self._at_hand(descriptor.digest, descriptor.media_type)
        if document is None:
            self._charge(reference, descriptor.size)
            document = self.registry.get(reference.with_digest(descriptor.digest))
        check_document(document, descriptor, where)
        self._read[descriptor.digest] = document
        return document

    def manifest(self, reference: Reference, descriptor: Descriptor) -> Manifest:
        """The manifest that an index entry describes. Raises IntegrityError if it is none."""
        document = self.by_descriptor(reference, descriptor)
        if not isinstance(document, Manifest):
            raise IntegrityError(f"{reference.familiar_name}@{descriptor.digest}: a manifest is wanted, it is an index")
        return document

    def config(self, reference: Reference, manifest: Manifest) -> ImageConfig:
        """The config of a manifest."""
        where = f"{reference.familiar_name}: config {manifest.config.digest}"
        return parse_config(self._small_blob(reference, manifest.config, where), where)

    def read_blob(self, digest: Digest) -> bytes | None:
        """The blob, if it was asked of the registry before; verified."""
        return self._configs.get(digest)

    def tags(self, reference: Reference, limit: int) -> tuple[frozenset[str], bool]:
        """At most `limit` tags of the repository, and whether these are all: none and False where it cannot tell.

        It is asked once.
        """
        if reference.name not in self._tags:
            self._tags[reference.name] = self._asked_for_tags(reference, limit)
        return self._tags[reference.name]

    def _asked_for_tags(self, reference: Reference, limit: int) -> tuple[frozenset[str], bool]:
        if not isinstance(self.registry, ListsTags):
            return frozenset(), False
        try:
            tags = list(islice(self.registry.tags(reference), limit + 1))
        except NotFoundError:
            return frozenset(), True
        except PolyarchError:
            return frozenset(), False
        return frozenset(tags[:limit]), len(tags) <= limit

    def served_by(self, manifest: Manifest, root: Document) -> str | None:
        """The host that a manifest came from, or else what points at it; None if neither was asked of a registry."""
        if not isinstance(self.registry, HasMirrors):
            return None
        return self.registry.served_by(manifest.digest) or self.registry.served_by(root.digest)

    def blob_served_by(self, digest: Digest) -> str | None:
        """The host that a blob came from; None if it was not asked of a registry."""
        return self.registry.served_by(digest) if isinstance(self.registry, HasMirrors) else None

    def _at_hand(self, digest: str, media_type: str) -> Document | None:
        raw = self._stored(digest, MAX_DOCUMENT_SIZE)
        return None if raw is None else parse_document(raw, media_type, digest)

    def _stored(self, digest: str, limit: int) -> bytes | None:
        """The blob as the storage has it; None if it is not there, longer than `limit`, or damaged on disk."""
        if self._local is None:
            return None
        try:
            with self._local.open_blob(digest) as stream:
                raw = stream.read(limit + 1)
        except NotFoundError:
            return None
        return raw if digest_of(raw, digest.partition(":")[0]) == digest else None

    def _small_blob(self, reference: Reference, blob: Descriptor, where: str) -> bytes:
        if blob.size > MAX_CONFIG_SIZE:
            raise IntegrityError(f"{where}: {blob.size} bytes are more than a config may have ({MAX_CONFIG_SIZE})")
        raw = self._configs.get(blob.digest) or self._stored(blob.digest, blob.size)
        if raw is None:
            self._charge(reference, blob.size)
        while raw is None:
            raw = self._fetched(reference, blob)
            actual = digest_of(raw, blob.digest.partition(":")[0])
            if actual == blob.digest and len(raw) == blob.size:
                self._configs[blob.digest] = raw
                break
            if isinstance(self.registry, HasMirrors) and self.registry.doubt(blob):
                raw = None
            elif len(raw) != blob.size:
                raise IntegrityError(f"{where}: {blob.size} bytes were promised, {len(raw)} or more came")
            else:
                raise IntegrityError(f"{where}: digest {blob.digest} was promised, {actual} came")
        return raw

    def _fetched(self, reference: Reference, blob: Descriptor) -> bytes:
        """What comes of a blob: one byte more than promised at most, by whole chunks."""
        data = bytearray()
        with self.registry.open_blob(reference, blob) as stream:
            for chunk in stream.chunks:
                data += chunk
                if len(data) > blob.size:
                    break
        return bytes(data)
