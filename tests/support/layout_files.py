"""Reading an OCI image layout in tests, with none of polyarch's code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

Json = dict[str, Any]
_SKOPEO_READS = ("application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json")


class Layout:
    """An OCI image layout: names (`org.opencontainers.image.ref.name`) -> descriptors, digests -> bytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        listed = json.loads((directory / "index.json").read_bytes())["manifests"]
        key = "org.opencontainers.image.ref.name"
        self.names: dict[str, Json] = {
            entry["annotations"][key]: entry for entry in listed if key in entry.get("annotations", {})
        }

    def path(self, digest: str) -> Path:
        """Where the blob lies."""
        return self.directory / "blobs" / digest.replace(":", "/")

    def json(self, digest: str) -> Json:
        """A manifest, an index or a config."""
        document: Json = json.loads(self.path(digest).read_bytes())
        return document

    def entries(self, name: str) -> list[Json]:
        """The descriptors in the index that the name points at."""
        return list(self.json(self.names[name]["digest"])["manifests"])

    def manifest(self, name: str, architecture: str, variant: str | None = None) -> str:
        """The digest of the first manifest that the name's index has for linux and the architecture (and variant)."""
        for entry in self.entries(name):
            platform = entry.get("platform", {})
            if platform.get("architecture") == architecture and variant in (None, platform.get("variant")):
                return str(entry["digest"])
        raise KeyError(f"{name} has no {architecture} {variant or ''}")

    def layers(self, digest: str) -> list[Json]:
        """The layer descriptors of a manifest."""
        return list(self.json(digest)["layers"])

    def plain(self, name: str) -> bool:
        """True when skopeo 1.9 can copy the name out of the layout: OCI media types, no index within an index."""
        entry = self.names[name]
        inner = self.json(entry["digest"]).get("manifests", [])
        return entry["mediaType"] in _SKOPEO_READS and not any(item["mediaType"] == _SKOPEO_READS[0] for item in inner)

    def push(self, name: str, address: str) -> None:
        """Uploads the name to a registry that speaks plain HTTP (OCI distribution-spec 1.1, "Push")."""
        repository, _, tag = name.rpartition(":")
        connection = HTTPConnection(address, timeout=60)
        top = self.names[name]["digest"]
        for descriptor, is_blob in self._below(self.names[name]):
            if is_blob:
                self._push_blob(connection, repository, descriptor["digest"])
            else:
                reference = tag if descriptor["digest"] == top else descriptor["digest"]
                data = self.path(descriptor["digest"]).read_bytes()
                headers = {"Content-Type": descriptor["mediaType"]}
                _send(connection, "PUT", f"/v2/{repository}/manifests/{reference}", data, headers, expected=201)
        connection.close()

    def _below(self, descriptor: Json) -> Iterator[tuple[Json, bool]]:
        """All that the descriptor needs, what is needed first; True beside a blob that is no manifest."""
        document = self.json(descriptor["digest"])
        for entry in document.get("manifests", []):
            yield from self._below(entry)
        if "config" in document:
            for blob in [document["config"], *document["layers"]]:
                yield blob, True
        yield descriptor, False

    def _push_blob(self, connection: HTTPConnection, repository: str, digest: str) -> None:
        place = _send(connection, "POST", f"/v2/{repository}/blobs/uploads/", b"", {}, expected=202)
        separator = "&" if "?" in place else "?"
        headers = {"Content-Type": "application/octet-stream"}
        data = self.path(digest).read_bytes()
        _send(connection, "PUT", f"{place}{separator}digest={digest}", data, headers, expected=201)


def _send(
    connection: HTTPConnection, method: str, path: str, data: bytes, headers: dict[str, str], *, expected: int
) -> str:
    connection.request(method, path, data, headers)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == expected, f"{method} {path}: {answer.status} {body[:500]!r}"
    return answer.headers.get("Location", "")
