"""Pushing manifests and indexes: what is sent, and the list of referrers (distribution-spec, "Pushing Manifests")."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from polyarch.errors import IntegrityError, UnreachableError
from polyarch.limits import MAX_DOCUMENT_SIZE
from polyarch.oci.digest import digest_of
from polyarch.oci.document import Document, parse_document
from polyarch.oci.media_types import DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST
from polyarch.reference import Reference, parse_reference
from support import faults
from support.faulty_registry import FaultyRegistry
from support.registry_client import Connect
from support.taking_registry import TakingRegistry

SUBJECT = {"mediaType": OCI_MANIFEST, "digest": f"sha256:{'5' * 64}", "size": 7}
TAG = f"sha256-{'5' * 64}"
CONFIG = "application/vnd.example.config"


@pytest.fixture
def taking() -> Iterator[TakingRegistry]:
    server = TakingRegistry()
    yield server
    server.stop()


def made(media_type: str = OCI_MANIFEST, **more: object) -> Document:
    content: dict[str, object] = {"schemaVersion": 2, "mediaType": media_type}
    if media_type in (OCI_INDEX, DOCKER_MANIFEST_LIST):
        content["manifests"] = []
    else:
        content |= {"config": {"mediaType": CONFIG, "digest": digest_of(b"{}"), "size": 2}, "layers": []}
    return parse_document(json.dumps({**content, **more}, indent=3).encode())


def named(server: TakingRegistry, tag: str = "1") -> Reference:
    return parse_reference(f"{server.address}/made/x:{tag}")


def listed(server: TakingRegistry) -> list[dict[str, object]]:
    media_type, raw = server.manifests["made/x", TAG]
    assert media_type == OCI_INDEX
    found: list[dict[str, object]] = json.loads(raw)["manifests"]
    return found


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST])
def test_it_is_sent_as_it_is_and_called_what_it_calls_itself(
    connect: Connect, taking: TakingRegistry, media_type: str
) -> None:
    document = made(media_type)
    client = connect().registry
    assert not client.has(named(taking))
    client.put(named(taking), document)
    assert taking.manifests["made/x", "1"] == (media_type, document.raw)
    assert client.has(named(taking))
    assert client.has(named(taking).with_digest(document.digest))


def test_a_manifest_of_four_megabytes(connect: Connect, taking: TakingRegistry) -> None:
    frame = len(made(annotations={"a": ""}).raw)
    document = made(annotations={"a": "x" * (MAX_DOCUMENT_SIZE - frame)})
    assert len(document.raw) == MAX_DOCUMENT_SIZE
    connect().registry.put(named(taking), document)
    assert taking.manifests["made/x", "1"][1] == document.raw


def test_a_registry_that_keeps_the_list_is_left_to_it(connect: Connect, taking: TakingRegistry) -> None:
    taking.behaviour.subjects = True
    connect().registry.put(named(taking), made(subject=SUBJECT))
    assert ("made/x", TAG) not in taking.manifests
    assert not taking.requests("GET")


@pytest.mark.parametrize(
    ("media_type", "stated", "kind"),
    [
        (OCI_MANIFEST, "application/vnd.example.sbom", "application/vnd.example.sbom"),
        (OCI_MANIFEST, "", CONFIG),
        (OCI_INDEX, "application/vnd.example.sbom", "application/vnd.example.sbom"),
        (OCI_INDEX, "", None),
    ],
    ids=("manifest", "manifest-by-config", "index", "index-of-no-type"),
)
def test_elsewhere_it_is_put_on_the_list(
    connect: Connect, taking: TakingRegistry, media_type: str, stated: str, kind: str | None
) -> None:
    more = {"artifactType": stated} if stated else {}
    document = made(media_type, subject=SUBJECT, annotations={"who": "me"}, **more)
    client = connect().registry
    for _ in range(2):  # once on the list, however often it is pushed
        client.put(named(taking), document)
    (entry,) = listed(taking)
    assert entry.get("artifactType") == kind
    assert entry == {
        "mediaType": media_type,
        "digest": document.digest,
        "size": len(document.raw),
        "annotations": {"who": "me"},
        **({"artifactType": kind} if kind else {}),
    }
    another = made(subject=SUBJECT, annotations={"who": "another"})
    client.put(named(taking, "2"), another)
    assert [entry["digest"] for entry in listed(taking)] == [document.digest, another.digest]


def test_a_tag_that_is_no_list_is_told_and_left(connect: Connect, taking: TakingRegistry) -> None:
    client, other = connect().registry, made(annotations={"somebody": "else's"})
    client.put(named(taking, TAG), other)
    with pytest.raises(IntegrityError, match="an index of referrers is wanted"):
        client.put(named(taking), made(subject=SUBJECT))
    assert taking.manifests["made/x", TAG][1] == other.raw


def test_a_registry_that_has_something_else_now(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    other = f"sha256:{'1' * 64}"
    faulty_registry.script("PUT", "/manifests/", faults.status(201, b"", Docker_Content_Digest=other))
    with pytest.raises(IntegrityError, match=f"says that it has {other}"):
        connect().registry.put(parse_reference(faulty_registry.ref("busybox:1")), made())


def test_what_it_names_is_missing(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    body = json.dumps({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown"}]}).encode()
    faulty_registry.script("PUT", "/manifests/", faults.status(404, body))
    with pytest.raises(
        UnreachableError, match=r"answered 404 for the manifest: blob unknown \(MANIFEST_BLOB_UNKNOWN\)"
    ):
        connect().registry.put(parse_reference(faulty_registry.ref("busybox:1")), made())
