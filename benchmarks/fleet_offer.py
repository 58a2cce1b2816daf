"""A program: the server of a rollout with one image, whose layer is so many bytes. It ends with its standard input.

python -m benchmarks.fleet_offer BYTES

It prints its port, the path and the layer's digest.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from polyarch.contract import Image, Manifest
from polyarch.oci.config import parse_config
from polyarch.oci.document import parse_document
from polyarch.oci.media_types import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from polyarch.reference import parse_reference
from polyarch.serve.one_time import OneTimeServer
from polyarch_platforms.platform import parse

_CHUNK = bytes(1 << 20)


class Blobs:
    """Satisfies HasBlobFiles, with a file a digest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def blob_path(self, digest: str) -> Path:
        return self._folder / digest

    def zeros(self, size: int) -> str:
        """Adds that many zero bytes; the digest."""
        digest, whole = hashlib.sha256(), self._folder / "whole"
        with whole.open("wb") as file:
            for at in range(0, size, len(_CHUNK)):
                chunk = _CHUNK[: size - at]
                digest.update(chunk)
                file.write(chunk)
        return whole.rename(self._folder / f"sha256:{digest.hexdigest()}").name

    def add(self, document: object) -> tuple[str, bytes]:
        """Adds a document; its digest and bytes."""
        raw = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        (self._folder / digest).write_bytes(raw)
        return digest, raw


def main(size: int) -> None:
    """Serve."""
    with tempfile.TemporaryDirectory(prefix="bench-offer-") as folder, OneTimeServer() as server:
        blobs = Blobs(Path(folder))
        layer = blobs.zeros(size)
        labels = {"os": "linux", "architecture": "amd64"}
        config, raw = blobs.add({**labels, "rootfs": {"type": "layers", "diff_ids": [layer]}})
        described = {"mediaType": OCI_CONFIG, "digest": config, "size": len(raw)}
        layers = [{"mediaType": OCI_LAYER_GZIP, "digest": layer, "size": size}]
        words = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": described, "layers": layers}
        manifest = parse_document(blobs.add(words)[1])
        assert isinstance(manifest, Manifest)
        name = parse_reference("fleet/app:1")
        path = server.admit([Image(name, manifest, manifest, parse_config(raw), parse("linux/amd64"))], blobs)
        print(server.port, path, layer, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
