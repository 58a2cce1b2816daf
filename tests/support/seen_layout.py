"""What an OCI image layout holds, read and checked with none of polyarch's code (image-spec 1.1, image-layout.md)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("org.opencontainers.image.ref.name", "io.polyarch.name")
ROOT = "io.polyarch.root"


@dataclass(frozen=True)
class SeenLayout:
    """Names -> digests of the manifests behind them; those of entries without a name; blobs needed, and blobs here."""

    names: dict[str, frozenset[str]]
    unnamed: frozenset[str]
    needed: frozenset[str]
    blobs: frozenset[str]

    @property
    def images(self) -> frozenset[str]:
        """The manifests of all entries."""
        return self.unnamed.union(*self.names.values())


def seen_layout(directory: Path) -> SeenLayout:
    """Reads all of it; AssertionError where it is no valid layout, or something that it names is not whole."""
    if not (directory / "oci-layout").exists():  # it was not made yet, or not to its end
        assert not list((directory / "blobs").glob("*/*"))
        return SeenLayout({}, frozenset(), frozenset(), frozenset())
    assert json.loads((directory / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    blobs = {f"sha256:{path.name}": path.read_bytes() for path in (directory / "blobs").glob("sha256/*")}
    for digest, data in blobs.items():
        assert hashlib.sha256(data).hexdigest() == digest[7:], f"{digest} is not what its name says"
    index = json.loads((directory / "index.json").read_bytes())
    assert index["schemaVersion"] == 2
    names: dict[str, frozenset[str]] = {}
    unnamed: set[str] = set()
    needed: set[str] = set()
    for entry in index["manifests"]:
        notes = entry.get("annotations", {})
        manifests = _manifests(entry, blobs, needed)
        assert manifests
        if root := notes.get(ROOT):
            assert root in blobs, f"what {notes} points at in the registry is not here"
            needed.add(root)
        found = [notes[key] for key in NAMES if key in notes]
        if found:
            assert found[0] not in names, "a name stands for one thing"
            names[found[0]] = frozenset(manifests)
        else:
            assert not unnamed & manifests
            unnamed |= manifests
    assert not unnamed.intersection(*[frozenset().union(*names.values())]), "what has a name is not without one"
    return SeenLayout(names, frozenset(unnamed), frozenset(needed), frozenset(blobs))


def _manifests(entry: dict[str, Any], blobs: dict[str, bytes], needed: set[str]) -> set[str]:
    needed.add(entry["digest"])
    document = _document(entry, blobs)
    if "layers" not in document:
        return set().union(*(_manifests(each, blobs, needed) for each in document["manifests"]))
    for blob in (document["config"], *document["layers"]):
        assert len(blobs.get(blob["digest"], b"")) == blob["size"], f"{blob['digest']} of {entry['digest']} is missing"
        needed.add(blob["digest"])
    return {entry["digest"]}


def _document(entry: dict[str, Any], blobs: dict[str, bytes]) -> Any:
    assert entry["digest"] in blobs, f"the document {entry['digest']} is missing"
    assert len(blobs[entry["digest"]]) == entry["size"]
    return json.loads(blobs[entry["digest"]])
