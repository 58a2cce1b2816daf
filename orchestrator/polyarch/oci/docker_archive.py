"""Docker's image archives, as `docker save`, `podman save` and skopeo's `docker-archive:` write them.

The format is moby's (image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format"): `manifest.json` lists
the images, each with a config, tags and layers; layers are uncompressed tar files, or links to one another. Since
docker 25 the archive is an OCI image layout with a `manifest.json` beside it.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from polyarch.errors import IntegrityError, NotFoundError
from polyarch.oci.archive_file import ArchiveFile
from polyarch.oci.config import MAX_CONFIG_SIZE, ImageConfig, check_layer_count, parse_config
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, check_digest, digest_of
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Index, Manifest, is_attestation, parse_document
from polyarch.oci.held import HeldImage, blob_name
from polyarch.oci.json import list_of, mapping_of, parse_json, strings, text_of
from polyarch.oci.media_types import INDEXES, MANIFESTS, OCI_LAYER, OCI_LAYER_GZIP
from polyarch.oci.oci_archive import layout_index
from polyarch.oci.tar_index import Member
from polyarch.oci.written import described, write_manifest

MAX_IMAGES = 1000
"""Images of an archive that are read."""

_MAX_LAYERS = 1000
_MAX_DOCUMENTS = 2000
_BLOB = re.compile(r"blobs/(sha256|sha512)/([0-9a-f]+)", re.ASCII)
_ID = re.compile(r"(?:.*/)?([0-9a-f]{64})(?:\.json)?", re.ASCII)
_OCI_LAYER_ZSTD = f"{OCI_LAYER}+zstd"
_COMPRESSED = {b"\x1f\x8b": OCI_LAYER_GZIP, b"\x28\xb5\x2f\xfd": _OCI_LAYER_ZSTD}


class DockerArchive:
    """The images in the archive `path`, each under its RepoTags. Satisfies ImagePlace.

    An image's manifest is the archive's own where it has one that is whole and fits its config, else one made here: the
    config as it is, each layer under its diff ID where it is uncompressed. The same archive always gives the same one.
    """

    def __init__(self, path: Path, temporary: Callable[[], Path]) -> None:
        """A compressed archive is decompressed into a file below `temporary()`, which lives until `close`.

        Raises NotFoundError: there is no such file; IntegrityError: no such archive; StorageError: the disk refuses.
        """
        self._file = ArchiveFile(path, temporary)
        self.where = str(path)
        self._blobs: dict[Digest, Member] = {}
        self._made: dict[Digest, bytes] = {}
        self._hashed: dict[Member, Digest] = {}
        try:
            self.images: tuple[HeldImage, ...] = tuple(self._images())
        except NotFoundError as error:
            self.close()
            raise IntegrityError(f"{path} is no whole docker archive: {error}") from error
        except BaseException:
            self.close()
            raise

    def size(self, digest: Digest) -> int | None:
        """Bytes of a blob; None if it is not here."""
        if digest in self._made:
            return len(self._made[digest])
        member = self._blobs.get(digest) or self._file.members.get(blob_name(digest))
        return member.size if member else None

    def read(self, digest: Digest, limit: int) -> bytes:
        """A blob of at most `limit` bytes, not verified. Raises NotFoundError; IntegrityError if it is larger."""
        if digest in self._made:
            return self._made[digest]
        if self._member(digest).size > limit:
            raise IntegrityError(f"{self.where}: blob {digest} is larger than the {limit} bytes that it may have")
        return b"".join(self.chunks(digest))

    def chunks(self, digest: Digest, offset: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from `offset` on, not verified. Raises NotFoundError."""
        if digest in self._made:
            return iter((self._made[digest][offset:],))
        return self._file.chunks(self._member(digest), offset)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _member(self, digest: Digest) -> Member:
        return self._blobs.get(digest) or self._file.member(blob_name(digest))

    def _images(self) -> Iterator[HeldImage]:
        where = f"{self.where}: manifest.json"
        raw = self._file.read("manifest.json", MAX_DOCUMENT_SIZE)
        # The file is a list, and what reads JSON from outside wants an object.
        items = list_of(parse_json(b'{"images":%b}' % raw, where)["images"], where)
        if len(items) > MAX_IMAGES:
            raise IntegrityError(f"{where}: {len(items)} images, more than the {MAX_IMAGES} that are read")
        whole = self._whole_manifests()
        for i, item in enumerate(items, 1):
            each = f"{where}: image {i}"
            document = mapping_of(item, each)
            config = self._config(text_of(document, "Config", each))
            manifest = whole.get(config.digest)
            if manifest is None or len(manifest.layers) != len(config.diff_ids):
                manifest = self._made_manifest(config, strings(document.get("Layers"), f"{each}: Layers"), each)
            yield HeldImage(manifest.descriptor, strings(document.get("RepoTags"), f"{each}: RepoTags"))

    def _config(self, name: str) -> ImageConfig:
        member = posixpath.normpath(name)
        raw = self._file.read(member, MAX_CONFIG_SIZE)
        where = f"{self.where}: {name}"
        config = parse_config(raw, where)
        # docker and podman call the file by its digest.
        if (match := _ID.fullmatch(name)) and config.digest != f"sha256:{match[1]}":
            raise IntegrityError(f"{where} is damaged: its digest is {config.digest}")
        self._blobs[config.digest] = self._file.member(member)
        return config

    def _made_manifest(self, config: ImageConfig, names: tuple[str, ...], where: str) -> Manifest:
        if len(names) > _MAX_LAYERS:
            raise IntegrityError(f"{where}: {len(names)} layers, more than the {_MAX_LAYERS} that are read")
        check_layer_count(config, len(names), where)
        layers = [self._layer(name, diff_id) for name, diff_id in zip(names, config.diff_ids, strict=True)]
        manifest = write_manifest(described(config), layers)
        self._made[manifest.digest] = manifest.raw
        return manifest

    def _layer(self, name: str, diff_id: Digest) -> Descriptor:
        member = self._file.member(posixpath.normpath(name))
        head = next(self._file.chunks(Member(member.offset, min(member.size, 4))), b"")
        media_type = next((kind for magic, kind in _COMPRESSED.items() if head.startswith(magic)), OCI_LAYER)
        digest = diff_id if media_type == OCI_LAYER else self._digest(name, member)
        self._blobs[digest] = member
        return Descriptor(media_type, digest, member.size)

    def _digest(self, name: str, member: Member) -> Digest:
        """The digest of a compressed layer: its name where that is one (the reader checks it), else by one pass."""
        if match := _BLOB.fullmatch(posixpath.normpath(name)):
            return check_digest(f"{match[1]}:{match[2]}", name)
        if member not in self._hashed:
            sha256 = hashlib.sha256()
            for chunk in self._file.chunks(member):
                sha256.update(chunk)
            self._hashed[member] = f"sha256:{sha256.hexdigest()}"
        return self._hashed[member]

    def _whole_manifests(self) -> dict[Digest, Manifest]:
        """By the config's digest, the manifests of the layout in this archive whose blobs are all there."""
        if "oci-layout" not in self._file.members:
            return {}
        found: dict[Digest, Manifest] = {}
        waiting, seen = list(layout_index(self._file).manifests), set[Digest]()
        while waiting and len(seen) < _MAX_DOCUMENTS:
            entry = waiting.pop(0)
            wanted = entry.media_type in INDEXES or entry.media_type in MANIFESTS
            if entry.digest in seen or not wanted or is_attestation(entry) or not self._is_here(entry):
                continue
            seen.add(entry.digest)
            raw = self._file.read(blob_name(entry.digest), MAX_DOCUMENT_SIZE)
            if digest_of(raw, entry.digest.partition(":")[0]) != entry.digest:
                raise IntegrityError(f"{self.where}: {blob_name(entry.digest)} is damaged")
            document = parse_document(raw, entry.media_type, f"{self.where}: {entry.digest}")
            if isinstance(document, Index):
                waiting += document.manifests
            elif all(self._is_here(blob) for blob in document.blobs):
                found.setdefault(document.config.digest, document)
        return found

    def _is_here(self, blob: Descriptor) -> bool:
        member = self._file.members.get(blob_name(blob.digest))
        return member is not None and member.size == blob.size
