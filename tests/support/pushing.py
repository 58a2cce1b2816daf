"""Putting documents into a registry over its API, and reading them, with none of polyarch's code."""

from __future__ import annotations

import hashlib
import json
from http.client import HTTPConnection
from typing import Any

Json = dict[str, Any]

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ACCEPT = ", ".join(
    (
        OCI_INDEX,
        OCI_MANIFEST,
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)


def raw(address: str, repository: str, target: str) -> bytes | None:
    """The bytes of a manifest or index; None where there is none."""
    connection = HTTPConnection(address, timeout=60)
    connection.request("GET", f"/v2/{repository}/manifests/{target}", headers={"Accept": ACCEPT})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status in (200, 404), f"{target}: {answer.status} {body[:300]!r}"
    return body if answer.status == 200 else None


def document(address: str, repository: str, target: str) -> Json:
    """The same, read."""
    body = raw(address, repository, target)
    assert body is not None, f"{repository} has no {target}"
    found: Json = json.loads(body)
    return found


def put_blob(address: str, repository: str, data: bytes, media_type: str) -> Json:
    """Uploads a blob; its descriptor."""
    digest = digest_of(data)
    _, headers = _ask(address, "POST", f"/v2/{repository}/blobs/uploads/", b"", {}, 202)
    place = headers["Location"]
    there = place.removeprefix(f"http://{address}")
    mark = "&" if "?" in there else "?"
    _ask(address, "PUT", f"{there}{mark}digest={digest}", data, {"Content-Type": "application/octet-stream"}, 201)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def put_document(address: str, repository: str, value: Json, target: str = "") -> Json:
    """Puts a manifest or index under a tag, or its digest; its descriptor."""
    data = json.dumps(value).encode()
    digest = digest_of(data)
    path = f"/v2/{repository}/manifests/{target or digest}"
    _ask(address, "PUT", path, data, {"Content-Type": value["mediaType"]}, 201)
    return {"mediaType": value["mediaType"], "digest": digest, "size": len(data)}


def artifact(address: str, repository: str, content: bytes, subject: Json | None, tag: str = "") -> Json:
    """Puts a small artifact (a signature, say) that refers to `subject`; its descriptor as in a list of referrers."""
    config = put_blob(address, repository, b"{}", "application/vnd.oci.empty.v1+json")
    layer = put_blob(address, repository, content, "application/vnd.example.signature")
    manifest: Json = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example.signature",
        "config": config,
        "layers": [layer],
        "annotations": {"org.example.kept": "yes"},
    }
    if subject is not None:
        manifest["subject"] = {key: subject[key] for key in ("mediaType", "digest", "size")}
    made = put_document(address, repository, manifest, tag)
    return {**made, "artifactType": manifest["artifactType"], "annotations": manifest["annotations"]}


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _ask(
    address: str, method: str, path: str, body: bytes, headers: dict[str, str], expected: int
) -> tuple[bytes, dict[str, str]]:
    connection = HTTPConnection(address, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    assert answer.status == expected, f"{method} {path}: {answer.status} {said[:300]!r}"
    return said, dict(answer.headers)
