"""The image of a case, as an OCI image layout written with none of polyarch's code (image-spec 1.1.1)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from support.hostile_layers.case import Case
from support.registry_faults.case import ARCHITECTURE

NAME = "case:1"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"


def write_layout(case: Case, directory: Path, name: str = NAME) -> int:
    """A layout that holds the image of a case under a name; how many layers that has. It starts nothing, so that nobody
    looks for a program.
    """
    blobs = case.blobs()
    ids = case.diff_ids if case.diff_ids is not None else [blob.diff_id for blob in blobs]
    config = _encoded(
        {
            "architecture": ARCHITECTURE,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": list(ids)},
        }
    )
    layers = [_written(directory, blob.data, blob.media_type) for blob in blobs]
    manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": _written(directory, config, _CONFIG)}
    entry = _written(directory, _encoded({**manifest, "layers": layers}), _MANIFEST)
    entry |= {"platform": {"architecture": ARCHITECTURE, "os": "linux"}}
    entry |= {"annotations": {"org.opencontainers.image.ref.name": name}}
    (directory / "index.json").write_bytes(_encoded({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return len(layers)


def _encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _written(directory: Path, data: bytes, media_type: str) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    path = directory / "blobs" / "sha256" / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}
