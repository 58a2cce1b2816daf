"""What refers to a manifest: over the API, and over the tag where there is none."""

from __future__ import annotations

import json
from http.client import HTTPConnection

import pytest

from polyarch.errors import IntegrityError, NotFoundError, UnauthorizedError, UnreachableError, UsageError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.oci.media_types import OCI_INDEX, OCI_MANIFEST
from polyarch.reference import parse_reference
from polyarch.registry.referrers import referrers_tag
from support import faults
from support.docker_registry import DockerRegistry
from support.exchange import Answer, Body, Request
from support.faulty_registry import FaultyRegistry
from support.registry_client import Connect

SIGNATURE = "application/vnd.example.signature.v1"
SBOM = "application/vnd.example.sbom.v1"
SUBJECT = f"sha256:{'5' * 64}"


def referrer(number: int, kind: str) -> Descriptor:
    return Descriptor(OCI_MANIFEST, digest_of(str(number).encode()), 100 + number, artifact_type=kind)


FOUR = tuple(referrer(number, kind) for number, kind in enumerate((SIGNATURE, SBOM, SIGNATURE, SBOM)))


def index_of(*descriptors: Descriptor) -> bytes:
    entries = [descriptor.to_json() for descriptor in descriptors]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


@pytest.mark.parametrize(
    ("digest", "tag"),
    [
        (SUBJECT, f"sha256-{'5' * 64}"),
        (f"sha512:{'a' * 64}{'b' * 64}", f"sha512-{'a' * 64}"),  # distribution-spec, "Referrers Tag Schema"
    ],
)
def test_the_tag(digest: str, tag: str) -> None:
    assert referrers_tag(digest) == tag


def test_a_digest_is_needed(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    with pytest.raises(UsageError, match="only what refers to a digest"):
        list(connect().registry.referrers(parse_reference(faulty_registry.ref("busybox:1.36"))))
    assert faulty_registry.requests == []


def test_the_real_registry_has_no_api_but_the_tag(connect: Connect, registry: DockerRegistry) -> None:
    client = connect().registry
    named = parse_reference(registry.ref("single:1.0"))
    subject = client.get(named)
    reference = parse_reference(f"{registry.ref('single')}@{subject.digest}")
    assert list(client.referrers(reference)) == []
    connection = HTTPConnection(registry.address, timeout=30)
    entry = Descriptor(subject.media_type, subject.digest, len(subject.raw), artifact_type=SIGNATURE)
    path = f"/v2/single/manifests/{referrers_tag(subject.digest)}"
    connection.request("PUT", path, index_of(entry), {"Content-Type": OCI_INDEX})
    answer = connection.getresponse()
    assert answer.status == 201, answer.read()
    connection.close()
    assert list(client.referrers(reference)) == [entry]
    assert list(client.referrers(reference, SIGNATURE)) == [entry]
    assert list(client.referrers(reference, SBOM)) == []


def _api(*, filters: bool, size: int = 4) -> faults.Fault:
    """The API, with pages of `size`."""

    def page(request: Request, _: Answer) -> Answer:
        wanted = request.query.get("artifactType", [""])[0]
        found = [each for each in FOUR if not (filters and wanted) or each.artifact_type == wanted]
        start = int(request.query.get("from", ["0"])[0])
        headers = {"Content-Type": OCI_INDEX}
        if filters and wanted:
            headers["OCI-Filters-Applied"] = "artifactType"
        if start + size < len(found):
            headers["Link"] = f'<{request.path}?artifactType={wanted}&from={start + size}>; rel="next"'
        return Answer(200, headers, Body(index_of(*found[start : start + size])))

    return page


@pytest.mark.parametrize("filters", [True, False])
@pytest.mark.parametrize("size", [1, 3, 4])
def test_the_api(connect: Connect, faulty_registry: FaultyRegistry, filters: bool, size: int) -> None:
    faulty_registry.script("GET", "/referrers/", _api(filters=filters, size=size), forever=True)
    client = connect().registry
    reference = parse_reference(f"{faulty_registry.ref('busybox')}@{SUBJECT}")
    assert tuple(client.referrers(reference)) == FOUR
    request = faulty_registry.requests[0]
    assert request.path == f"/v2/busybox/referrers/{SUBJECT}"
    assert request.headers["Accept"] == OCI_INDEX
    assert tuple(client.referrers(reference, SBOM)) == (FOUR[1], FOUR[3])
    assert faulty_registry.requests[-1].query["artifactType"] == [SBOM]
    assert not faulty_registry.asked("GET", "/manifests/")


def test_no_page_is_asked_for_before_it_is_wanted(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", "/referrers/", _api(filters=False, size=1), forever=True)
    found = connect().registry.referrers(parse_reference(f"{faulty_registry.ref('busybox')}@{SUBJECT}"))
    assert next(found) == FOUR[0]
    assert len(faulty_registry.requests) == 1


@pytest.mark.parametrize(
    "no_api", [faults.status(404, b"404 page not found\n"), faults.status(405), faults.status(501, b"")]
)
def test_without_the_api_the_tag_is_asked_for(
    connect: Connect, faulty_registry: FaultyRegistry, no_api: faults.Fault
) -> None:
    faulty_registry.script("GET", "/referrers/", no_api, forever=True)
    tagged = faults.status(200, index_of(*FOUR), Content_Type=OCI_INDEX)
    faulty_registry.script("GET", f"/manifests/{referrers_tag(SUBJECT)}", tagged)
    reference = parse_reference(f"{faulty_registry.ref('busybox')}@{SUBJECT}")
    assert tuple(connect().registry.referrers(reference, SIGNATURE)) == (FOUR[0], FOUR[2])
    assert list(connect().registry.referrers(reference)) == []  # the second time there is no such tag


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.status(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"repository unknown"}]}'), NotFoundError),
        (faults.status(403, b'{"errors":[{"code":"DENIED"}]}'), UnauthorizedError),
        (faults.status(418), UnreachableError),
        (faults.status(200, b"<html>", Content_Type="text/html"), IntegrityError),
        (faults.status(200, b'{"schemaVersion":2}', Content_Type=OCI_INDEX), IntegrityError),
        (faults.status(200, b" " * (5 << 20), Content_Type=OCI_INDEX), IntegrityError),
    ],
)
def test_what_is_no_answer(
    connect: Connect, faulty_registry: FaultyRegistry, fault: faults.Fault, error: type[Exception]
) -> None:
    faulty_registry.script("GET", "/referrers/", fault, forever=True)
    with pytest.raises(error):
        list(connect().registry.referrers(parse_reference(f"{faulty_registry.ref('busybox')}@{SUBJECT}")))
    assert not faulty_registry.asked("GET", "/manifests/")


def test_a_tag_that_is_no_index(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": FOUR[0].to_json(), "layers": []}
    fault = faults.status(200, json.dumps(manifest).encode(), Content_Type=OCI_MANIFEST)
    faulty_registry.script("GET", "/manifests/", fault)
    with pytest.raises(IntegrityError, match="an index of referrers is wanted"):
        list(connect().registry.referrers(parse_reference(f"{faulty_registry.ref('busybox')}@{SUBJECT}")))


def test_a_loop_is_cut(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    link = f'</v2/busybox/referrers/{SUBJECT}>; rel="next"'
    fault = faults.status(200, index_of(FOUR[0]), Content_Type=OCI_INDEX, Link=link)
    faulty_registry.script("GET", "/referrers/", fault, forever=True)
    found = list(connect().registry.referrers(parse_reference(f"{faulty_registry.ref('busybox')}@{SUBJECT}")))
    assert found == [FOUR[0]]
