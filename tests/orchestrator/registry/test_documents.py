"""Manifests: from a real registry, and from one that answers as it should not."""

from __future__ import annotations

import json

import pytest

from polyarch.errors import IntegrityError, NotFoundError, PolyarchError, UnauthorizedError, UnreachableError
from polyarch.oci.digest import digest_of
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Index, Manifest
from polyarch.oci.media_types import DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX, OCI_MANIFEST
from polyarch.reference import parse_reference
from support import faults
from support.docker_registry import DockerRegistry
from support.exchange import Answer, Body, Request
from support.faulty_registry import FaultyRegistry
from support.registry_client import Connect

MANIFESTS = "/manifests/"


def test_head_and_get_agree_with_the_layout(connect: Connect, registry: DockerRegistry) -> None:
    client = connect().registry
    reference = parse_reference(registry.ref("busybox:1.36"))
    document = client.get(reference)
    assert isinstance(document, Index)
    assert digest_of(document.raw) == document.digest
    assert client.head(reference) == document.descriptor
    entry = client.get(reference.with_digest(document.manifests[0].digest))
    assert isinstance(entry, Manifest)
    assert entry.digest == document.manifests[0].digest


def test_docker_media_types_are_taken(connect: Connect, registry: DockerRegistry) -> None:
    client = connect().registry
    reference = parse_reference(registry.ref("docker-list:1.0"))
    document = client.get(reference)
    assert isinstance(document, Index)
    assert document.media_type == "application/vnd.docker.distribution.manifest.list.v2+json"
    assert client.head(reference) == document.descriptor


def test_the_agent_names_the_program(connect: Connect, registry: DockerRegistry) -> None:
    before = len(registry.access_log())
    connect().registry.head(parse_reference(registry.ref("busybox:1.36")))
    assert {access.agent.partition("/")[0] for access in registry.access_log()[before:]} == {"polyarch"}


def test_the_four_kinds_are_asked_for(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    client, reference = connect().registry, parse_reference(faulty_registry.ref("busybox:1.36"))
    client.head(reference)
    client.get(reference)
    asked = {tuple((request.headers["Accept"] or "").split(", ")) for request in faulty_registry.requests}
    assert asked == {(OCI_INDEX, DOCKER_MANIFEST_LIST, OCI_MANIFEST, DOCKER_MANIFEST)}


@pytest.mark.parametrize("more", ["; charset=utf-8", ';a="b;c"', " ; q=1"], ids=("charset", "quoted", "blank"))
def test_parameters_of_a_media_type_mean_nothing(connect: Connect, faulty_registry: FaultyRegistry, more: str) -> None:
    for method in ("GET", "HEAD"):
        faulty_registry.script(method, MANIFESTS, faults.headers(Content_Type=f"{OCI_INDEX}{more}"))
    client, reference = connect().registry, parse_reference(faulty_registry.ref("busybox:1.36"))
    assert client.get(reference).media_type == OCI_INDEX
    head = client.head(reference)
    assert head is not None
    assert head.media_type == OCI_INDEX


@pytest.mark.parametrize("method", ["head", "get"])
@pytest.mark.parametrize("name", ["busybox:no-such-tag", "no/such/repository:1", f"busybox@sha256:{'0' * 64}"])
def test_what_is_not_there(connect: Connect, registry: DockerRegistry, method: str, name: str) -> None:
    reference = parse_reference(registry.ref(name))
    with pytest.raises(NotFoundError) as caught:
        getattr(connect().registry, method)(reference)
    assert str(reference) in caught.value.message
    assert registry.address in caught.value.message
    assert caught.value.details["registry"] == registry.address


def test_a_registry_says_whether_the_repository_or_the_tag_is_missing(
    connect: Connect, faulty_registry: FaultyRegistry
) -> None:
    body = json.dumps({"errors": [{"code": "NAME_UNKNOWN", "message": "repository name not known to registry"}]})
    faulty_registry.script("GET", MANIFESTS, faults.status(404, body.encode()))
    client = connect().registry
    with pytest.raises(NotFoundError, match="has no repository busybox") as caught:
        client.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert "spelling" in (caught.value.hint or "")
    with pytest.raises(NotFoundError, match="has no tag nope in busybox") as caught:
        client.get(parse_reference(faulty_registry.ref("busybox:nope")))
    assert f"polyarch tags {faulty_registry.ref('busybox')}" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (faults.status(401), UnauthorizedError, "refuses the manifest"),
        (faults.status(403, b'{"errors":[{"code":"DENIED","message":"no"}]}'), UnauthorizedError, r"no \(DENIED\)"),
        (faults.status(400, b"bad\x1b[31m request"), UnreachableError, r"answered 400 .*bad\\x1b\[31m request"),
        (faults.status(418), UnreachableError, "answered 418"),
        (faults.status(407), UnreachableError, "the proxy before .* wants credentials"),
        (faults.status(204), UnreachableError, "answered 204"),
        (faults.html_error(200), IntegrityError, "a web page titled 'Bad Gateway', not with a manifest"),
        (faults.status(200, b"not json"), IntegrityError, "not JSON"),
        (faults.status(200, b"{}"), IntegrityError, "no manifest and no index"),
        (faults.huge(MAX_DOCUMENT_SIZE + 65536), IntegrityError, "an answer of more than 4194304 bytes"),
        (faults.headers(Content_Type="application/vnd.oci.image.manifest.v1+json"), IntegrityError, "calls itself"),
        (faults.headers(Docker_Content_Digest=f"sha256:{'1' * 64}"), IntegrityError, "announced was sha256:1111"),
        (faults.headers(Content_Encoding="br"), IntegrityError, "content encoding 'br'"),
        (faults.headers(Content_Encoding="gzip"), IntegrityError, "not gzip, as it says"),
        (faults.wrong_bytes, IntegrityError, "announced was"),
    ],
)
def test_a_bad_answer(
    connect: Connect, faulty_registry: FaultyRegistry, fault: faults.Fault, error: type[PolyarchError], says: str
) -> None:
    faulty_registry.script("GET", MANIFESTS, fault, forever=True)
    reference = parse_reference(faulty_registry.ref("busybox:1.36"))
    with pytest.raises(error, match=says) as caught:
        connect(retries=1).registry.get(reference)
    assert caught.value.message.startswith(f"{reference}: ")
    assert "\n" not in caught.value.message
    # None of these is tried again; but a 400 on loopback may be what a server with TLS says to plain HTTP.
    assert len(faulty_registry.asked("GET")) == (2 if caught.value.details.get("status") == 400 else 1)


def test_a_digest_is_held_against_the_bytes(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    entry = faulty_registry.layout.names["busybox:1.36"]["digest"]

    def wrong(request: Request, answer: Answer) -> Answer:
        return faults.wrong_bytes(request, answer).with_headers(Docker_Content_Digest=None)

    faulty_registry.script("GET", MANIFESTS, wrong)
    with pytest.raises(IntegrityError, match=f"asked for was {entry}"):
        connect().registry.get(parse_reference(faulty_registry.ref(f"busybox@{entry}")))


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_passing_status_that_stays(connect: Connect, faulty_registry: FaultyRegistry, code: int) -> None:
    faulty_registry.script("GET", MANIFESTS, faults.status(code, b'{"errors":[{"message":"not now"}]}'), forever=True)
    connected = connect(retries=2)
    with pytest.raises(UnreachableError, match=f"answered {code} for the manifest: not now"):
        connected.registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert len(faulty_registry.asked("GET")) == 3
    assert len(connected.warnings) == 2


@pytest.mark.parametrize(
    "fault",
    [
        faults.status(503),
        faults.html_error(502),
        faults.too_many_requests("0"),
        faults.too_many_requests(faults.http_date(-5)),
        faults.cut_after(0),
        faults.cut_after(100),
        faults.wrong_length(100_000),
    ],
)
def test_a_passing_fault_is_survived(connect: Connect, faulty_registry: FaultyRegistry, fault: faults.Fault) -> None:
    faulty_registry.script("GET", MANIFESTS, fault, fault)
    document = connect().registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert document.digest == faulty_registry.layout.names["busybox:1.36"]["digest"]
    assert len(faulty_registry.asked("GET")) == 3


def test_a_server_that_asks_for_an_hour_gets_no_further_try(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", MANIFESTS, faults.too_many_requests("3600"), forever=True)
    with pytest.raises(UnreachableError, match="pull rate limit") as caught:
        connect().registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert "3600 s" in (caught.value.hint or "")
    assert "polyarch login" in (caught.value.hint or "")
    assert len(faulty_registry.asked("GET")) == 1


def test_a_stall_is_cut(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", MANIFESTS, faults.stall_after(100), forever=True)
    with pytest.raises(UnreachableError, match="nothing more came within the time limit"):
        connect(retries=0, read_timeout=0.2).registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))


@pytest.mark.parametrize(
    "fault",
    [
        faults.status(405),
        faults.status(501),
        faults.headers(Docker_Content_Digest=None),
        faults.headers(Docker_Content_Digest="sha256:short"),
        faults.headers(Content_Type="application/json"),
    ],
)
def test_a_head_that_tells_nothing(connect: Connect, faulty_registry: FaultyRegistry, fault: faults.Fault) -> None:
    faulty_registry.script("HEAD", MANIFESTS, fault)
    assert connect().registry.head(parse_reference(faulty_registry.ref("busybox:1.36"))) is None


def test_a_body_that_came_compressed_unasked_is_unpacked(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    import gzip

    def compressed(_: Request, answer: Answer) -> Answer:
        body = Body(gzip.compress(b"".join(answer.body.chunks())))
        return Answer(200, {**answer.headers, "Content-Encoding": "gzip"}, body)

    faulty_registry.script("GET", MANIFESTS, compressed)
    document = connect().registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert document.digest == faulty_registry.layout.names["busybox:1.36"]["digest"]
    assert faulty_registry.asked("GET")[0].headers["Accept-Encoding"] == "identity"


def test_a_compression_bomb_is_bounded(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    import tracemalloc
    import zlib

    bomb = zlib.compressobj(9, wbits=31)
    packed = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(200)) + bomb.flush()
    faulty_registry.script("GET", MANIFESTS, faults.status(200, packed, Content_Encoding="gzip"))
    client = connect().registry
    tracemalloc.start()
    with pytest.raises(IntegrityError, match="more than"):
        client.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20


def test_a_head_that_answers_another_digest_tells_nothing(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    digest = faulty_registry.layout.names["busybox:1.36"]["digest"]
    faulty_registry.script("HEAD", MANIFESTS, faults.headers(Docker_Content_Digest=f"sha256:{'1' * 64}"))
    client = connect().registry
    reference = parse_reference(faulty_registry.ref(f"busybox@{digest}"))
    assert client.head(reference) is None
    assert client.head(reference) == client.get(reference).descriptor


def test_schema_1_is_told_as_what_it_is(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    """Its digest is that of the payload within its signature, not of its bytes."""
    signed = faults.status(
        200,
        b'{"schemaVersion":1,"name":"busybox","fsLayers":[],"signatures":[]}',
        Content_Type="application/vnd.docker.distribution.manifest.v1+prettyjws",
        Docker_Content_Digest=f"sha256:{'1' * 64}",
    )
    faulty_registry.script("GET", MANIFESTS, signed)
    with pytest.raises(IntegrityError, match="Docker schema 1 manifest"):
        connect().registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
