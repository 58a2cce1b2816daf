"""Writes OCI image layouts, byte for byte the same each time, with nothing but the standard library.

It shares no code with polyarch's own reader and writer of layouts, so that the one can be held against the other.
Format: OCI image-spec 1.1, image-layout.md, manifest.md, image-index.md, config.md, layer.md.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

Json = dict[str, Any]
TarEntry = tuple[tarfile.TarInfo, BinaryIO | None]

MTIME = 1_704_067_200
"""The time of every file, in seconds since 1970: 2024-01-01T00:00:00Z."""
CREATED = "2024-01-01T00:00:00Z"

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_REF_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class Layer:
    """A written layer: its blob's digest and size in bytes, how it is compressed, and the digest of the tar inside."""

    digest: str
    size: int
    compression: Literal["gzip", "zstd"]
    diff_id: str
    created_by: str


class LayoutWriter:
    """Fills one folder with blobs; `finish` writes the index that names them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._blobs = directory / "blobs" / "sha256"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._named: list[Json] = []

    def blob(self, data: bytes, media_type: str) -> Json:
        """Stores the bytes; their descriptor."""
        digest = hashlib.sha256(data).hexdigest()
        (self._blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def document(self, value: Json) -> Json:
        """Stores a manifest or an index; its descriptor, of the media type that it names itself."""
        return self.blob(_encoded(value), value["mediaType"])

    def open_layer(self, created_by: str) -> OpenLayer:
        """A gzip layer to add entries to and then to close; memory does not grow with its size."""
        return OpenLayer(self._blobs, created_by)

    def layer(self, entries: Iterable[TarEntry], created_by: str) -> Layer:
        """Stores a gzip layer of the entries."""
        opened = self.open_layer(created_by)
        for entry in entries:
            opened.add(entry)
        return opened.close()

    def zstd_layer(self, layer: Layer) -> Layer:
        """Stores a gzip layer's tar again, compressed by the `zstd` program."""
        tar = zlib.decompress((self._blobs / layer.digest.removeprefix("sha256:")).read_bytes(), wbits=31)
        packed = subprocess.run(["zstd", "-q", "-c"], input=tar, stdout=subprocess.PIPE, check=True).stdout
        blob = self.blob(packed, f"{_OCI_LAYER}+zstd")
        return Layer(blob["digest"], blob["size"], "zstd", layer.diff_id, layer.created_by)

    def image(self, platform: Mapping[str, str], layers: Sequence[Layer], *, docker: bool = False) -> Json:
        """Stores config and manifest of a single-platform image; the manifest's descriptor, without platform."""
        config = {
            "created": CREATED,
            **platform,
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["sh"],
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": _history(layers),
        }
        return self.document(
            {
                "schemaVersion": 2,
                "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
                "config": self.blob(_encoded(config), DOCKER_CONFIG if docker else OCI_CONFIG),
                "layers": [
                    {
                        "mediaType": f"{_DOCKER_LAYER}.gzip" if docker else f"{_OCI_LAYER}+{layer.compression}",
                        "digest": layer.digest,
                        "size": layer.size,
                    }
                    for layer in layers
                ],
            }
        )

    def index(self, entries: Sequence[Json], *, docker: bool = False) -> Json:
        """Stores an index (Docker: manifest list) of the descriptors; its descriptor."""
        return self.document(
            {"schemaVersion": 2, "mediaType": DOCKER_LIST if docker else OCI_INDEX, "manifests": list(entries)}
        )

    def name(self, reference: str, descriptor: Json) -> None:
        """Gives what the descriptor points at a name in the layout, as skopeo's `oci:DIR:NAME` reads it."""
        self._named.append({**descriptor, "annotations": {_REF_NAME: reference}})

    def finish(self) -> dict[str, str]:
        """Writes `oci-layout` and `index.json`: name -> digest."""
        (self.directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self._named}
        (self.directory / "index.json").write_bytes(_encoded(index))
        return {entry["annotations"][_REF_NAME]: entry["digest"] for entry in self._named}


class OpenLayer:
    """A layer that is being written. `compressed_size` and `tar_size`, in bytes, grow with each entry."""

    def __init__(self, blobs: Path, created_by: str) -> None:
        self._blobs = blobs
        self._created_by = created_by
        self._file = _LayerFile(blobs / "layer.partial")
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)

    @property
    def compressed_size(self) -> int:
        return self._file.compressed_size

    @property
    def tar_size(self) -> int:
        return self._file.tell()

    def add(self, entry: TarEntry) -> None:
        self._tar.addfile(*entry)

    def close(self) -> Layer:
        """Ends the layer and gives its blob the right name."""
        self._tar.close()
        self._file.close()
        digest = self._file.compressed.hexdigest()
        self._file.path.rename(self._blobs / digest)
        diff_id = f"sha256:{self._file.plain.hexdigest()}"
        return Layer(f"sha256:{digest}", self._file.compressed_size, "gzip", diff_id, self._created_by)


class _LayerFile(io.RawIOBase):
    """A file for `tarfile` to write to: it compresses what comes and takes the digests of both sides."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plain = hashlib.sha256()
        self.compressed = hashlib.sha256()
        self.compressed_size = 0
        self._tar_size = 0
        self._file = path.open("wb")
        self._gzip = zlib.compressobj(wbits=31)  # a gzip header without name and time

    def write(self, data: Buffer, /) -> int:
        self.plain.update(data)
        self._put(self._gzip.compress(data))
        size = memoryview(data).nbytes
        self._tar_size += size
        return size

    def tell(self) -> int:
        return self._tar_size

    def close(self) -> None:
        if not self._file.closed:
            self._put(self._gzip.flush())
            self._file.close()
        super().close()

    def _put(self, data: bytes) -> None:
        self.compressed.update(data)
        self.compressed_size += len(data)
        self._file.write(data)


def folder(name: str, mode: int = 0o755) -> TarEntry:
    """A directory of root's."""
    return _info(name, tarfile.DIRTYPE, mode), None


def regular(name: str, data: bytes, mode: int = 0o644) -> TarEntry:
    """A regular file of root's."""
    info = _info(name, tarfile.REGTYPE, mode)
    info.size = len(data)
    return info, io.BytesIO(data)


def link(name: str, target: str, *, hard: bool = False) -> TarEntry:
    """A symbolic link, or a hard link to a program."""
    info = _info(name, tarfile.LNKTYPE, 0o755) if hard else _info(name, tarfile.SYMTYPE, 0o777)
    info.linkname = target
    return info, None


def _info(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, MTIME
    return info


def _history(layers: Sequence[Layer]) -> list[Json]:
    """One line a layer, and after the first one the line of a command that made no layer, as builders write it."""
    lines: list[Json] = [{"created": CREATED, "created_by": layer.created_by} for layer in layers]
    lines.insert(1, {"created": CREATED, "created_by": '/bin/sh -c #(nop)  CMD ["sh"]', "empty_layer": True})
    return lines


def _encoded(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
