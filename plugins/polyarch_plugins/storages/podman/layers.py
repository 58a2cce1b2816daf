"""Which blobs podman's layers were made of: containers/storage, layers.go, the file `layers.json` of a store.

podman has no command that tells it. What cannot be read is taken for an empty store: then every layer travels.
"""

from __future__ import annotations

import json
from pathlib import Path

from polyarch.contract import Digest, StorageError, is_digest, read_bounded

_LARGEST_FILE = 64 << 20


def blobs_of_layers(graph_root: Path, driver: str) -> frozenset[Digest]:
    """Digests of the blobs, compressed or not, that whole layers of the store at `graph_root` were unpacked from.

    Those are the ones that podman finds again (containers/image, storage/storage_dest.go, TryReusingBlob).
    """
    try:
        layers = json.loads(read_bounded(graph_root / f"{driver}-layers" / "layers.json", _LARGEST_FILE))
    except (OSError, ValueError, RecursionError, StorageError):
        return frozenset()
    found = set[Digest]()
    for layer in layers if isinstance(layers, list) else ():
        if not isinstance(layer, dict) or (isinstance(layer.get("flags"), dict) and layer["flags"].get("incomplete")):
            continue
        for key in ("compressed-diff-digest", "diff-digest"):
            if isinstance(digest := layer.get(key), str) and is_digest(digest):
                found.add(digest)
    return frozenset(found)
