"""Redirects: followed a few times, and never with secrets to another origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.errors import UnauthorizedError, UnreachableError
from polyarch.oci.descriptor import Descriptor
from polyarch.reference import parse_reference
from polyarch.registry import sockets
from support import faults
from support.exchange import Answer, Request
from support.faulty_registry import FaultyRegistry
from support.registry_auth import basic_header, write_auth_file
from support.registry_client import Connect

BASIC = faults.unauthorized('Basic realm="x"')


def _blob(faulty_registry: FaultyRegistry) -> Descriptor:
    digest = faulty_registry.layout.names["single:1.0"]["digest"]
    layer = faulty_registry.layout.layers(digest)[0]
    return Descriptor(layer["mediaType"], layer["digest"], layer["size"])


def _elsewhere_only(faulty_registry: FaultyRegistry, fault: faults.Fault) -> faults.Fault:
    """The fault at the registry itself; the other host answers honestly."""

    def choose(request: Request, answer: Answer) -> Answer:
        return answer if request.host == faulty_registry.elsewhere else fault(request, answer)

    return choose


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_blob_on_another_host_is_fetched_without_credentials(
    connect: Connect, faulty_registry: FaultyRegistry, tmp_path: Path, code: int
) -> None:
    file = write_auth_file(tmp_path / "auth.json", faulty_registry.address)
    away = _elsewhere_only(faulty_registry, faults.redirect_to_host(faulty_registry.elsewhere, code))
    faulty_registry.script("GET", "/blobs/", BASIC)
    faulty_registry.script("GET", "/blobs/", away, forever=True)
    reference, blob = parse_reference(faulty_registry.ref("single:1.0")), _blob(faulty_registry)
    with connect(auth_file=file).registry.open_blob(reference, blob, 1000) as stream:
        assert stream.offset == 1000
        assert sum(map(len, stream.chunks)) == blob.size - 1000
    asked = faulty_registry.asked("GET", "/blobs/")
    assert [request.host for request in asked] == [faulty_registry.address] * 2 + [faulty_registry.elsewhere]
    assert [request.headers["Authorization"] for request in asked] == [None, basic_header(), None]
    assert [request.headers["Range"] for request in asked] == ["bytes=1000-"] * 3


def test_a_login_is_not_given_to_where_a_redirect_leads(
    connect: Connect, faulty_registry: FaultyRegistry, tmp_path: Path
) -> None:
    file = write_auth_file(tmp_path / "auth.json", faulty_registry.address)

    def script(request: Request, answer: Answer) -> Answer:
        if request.host == faulty_registry.elsewhere:
            return BASIC(request, answer)
        return faults.redirect_to_host(faulty_registry.elsewhere)(request, answer)

    faulty_registry.script("GET", "/blobs/", script, forever=True)
    reference, blob = parse_reference(faulty_registry.ref("single:1.0")), _blob(faulty_registry)
    opened = connect(auth_file=file).registry.open_blob(reference, blob)
    with pytest.raises(UnauthorizedError, match="refuses the blob"):
        opened.__enter__()
    assert {request.headers["Authorization"] for request in faulty_registry.requests} == {None}


def test_credentials_stay_within_the_same_origin(
    connect: Connect, faulty_registry: FaultyRegistry, tmp_path: Path
) -> None:
    file = write_auth_file(tmp_path / "auth.json", faulty_registry.address)
    moved = "/v2/single/manifests/1.0"
    faulty_registry.script("GET", "/manifests/", BASIC, faults.redirect(moved))
    connect(auth_file=file).registry.get(parse_reference(faulty_registry.ref("moved:1.0")))
    asked = faulty_registry.asked("GET", "/manifests/")
    assert [request.headers["Authorization"] for request in asked] == [None, basic_header(), basic_header()]
    assert asked[-1].path == moved


def test_what_a_plugin_sends_stays_behind_too(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    away = _elsewhere_only(faulty_registry, faults.redirect_to_host(faulty_registry.elsewhere))
    faulty_registry.script("GET", "/manifests/", away, forever=True)
    url = f"http://{faulty_registry.address}/v2/single/manifests/1.0"
    secrets = {"Authorization": "Basic secret", "cookie": "secret", "X-Plain": "kept"}
    with connect().http.request("get", url, headers=secrets) as reply:
        assert reply.status == 200
        assert reply.read(1 << 20)
    first, second = faulty_registry.requests
    assert (first.headers["Authorization"], first.headers["Cookie"]) == ("Basic secret", "secret")
    assert (second.headers["Authorization"], second.headers["Cookie"]) == (None, None)
    assert second.headers["X-Plain"] == "kept"


@pytest.mark.parametrize(
    ("method", "code", "then", "body"),
    [("POST", 303, "GET", b""), ("POST", 302, "GET", b""), ("POST", 307, "POST", b"x"), ("HEAD", 303, "HEAD", b"")],
)
def test_the_method_after_a_redirect(
    connect: Connect, faulty_registry: FaultyRegistry, method: str, code: int, then: str, body: bytes
) -> None:
    faulty_registry.script(method, "^/from", faults.redirect("/to", code))
    url = f"http://{faulty_registry.address}/from"
    with connect().http.request(method, url, content=b"x" if method == "POST" else None) as reply:
        assert reply.status == 404
    assert [(request.method, request.path) for request in faulty_registry.requests] == [
        (method, "/from"),
        (then, "/to"),
    ]
    assert faulty_registry.requests[1].headers.get("Content-Length", "0") == str(len(body))


@pytest.mark.parametrize(
    ("location", "says"),
    [
        (None, "more than 5 redirects"),
        ("http://169.254.169.254/latest/meta-data/", "link-local or metadata address"),
        ("http://[::ffff:169.254.169.254]/", "link-local or metadata address"),
        ("http://metadata.google.internal/", "link-local or metadata address"),
        ("file:///etc/passwd", "what is no URL"),
        ("http://user:secret@127.0.0.1/", "what is no URL"),
        ("http://a b/", "what is no URL"),
    ],
)
def test_a_redirect_that_is_refused(
    connect: Connect, faulty_registry: FaultyRegistry, location: str | None, says: str
) -> None:
    faulty_registry.script("GET", "/manifests/", faults.redirect(location), forever=True)
    with pytest.raises(UnreachableError, match=says):
        connect(retries=3).registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert len(faulty_registry.requests) == (6 if location is None else 1)


def test_a_name_that_leads_to_such_an_address_is_found_out(
    connect: Connect, faulty_registry: FaultyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, and numbers such as 2852039166, hide where they lead: what counts is where the connection arrives."""
    elsewhere = faulty_registry.elsewhere.partition(":")[0]
    monkeypatch.setattr(sockets, "is_private_to_machine", lambda host: host == elsewhere)
    faulty_registry.script("GET", "/manifests/", faults.redirect_to_host(faulty_registry.elsewhere), forever=True)
    with pytest.raises(UnreachableError, match="link-local or metadata address"):
        connect().registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert {request.host for request in faulty_registry.requests} == {faulty_registry.address}


def test_no_cookie_is_kept(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", "/manifests/", faults.headers(Set_Cookie="id=1; Path=/"), forever=True)
    client = connect().registry
    client.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    client.get(parse_reference(faulty_registry.ref("single:1.0")))
    assert [request.headers["Cookie"] for request in faulty_registry.requests] == [None, None]
