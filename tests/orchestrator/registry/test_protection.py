"""What a registry may not bring the client to: leaving TLS, or showing credentials where they do not belong."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from polyarch.errors import PolyarchError, UnauthorizedError, UnreachableError
from polyarch.reference import parse_reference
from polyarch.registry import authenticator, http_client
from polyarch.registry.origin import Origin
from support import faults
from support.certificates import self_signed
from support.faulty_registry import FaultyRegistry
from support.registry_auth import basic_header, write_auth_file
from support.registry_client import Connect

Secure = Callable[[int, dict[str, str]], str]


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Secure]:
    """A status and headers -> the address of a server with TLS that answers everybody so."""
    servers: list[ThreadingHTTPServer] = []
    key, certificate = self_signed(tmp_path / "secure")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *arguments: object) -> None:
            """Plain HTTP at a TLS server is no defect of the test."""

    def make(status: int, headers: dict[str, str]) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Nothing is printed."""

        server = Quiet(("127.0.0.1", 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}"

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_server_that_closes_on_plain_http_is_asked_with_tls(connect: Connect, secure: Secure) -> None:
    with pytest.raises(UnauthorizedError):
        connect(retries=0).registry.get(parse_reference(f"{secure(401, {})}/a:1"))


def test_no_redirect_leads_out_of_tls(connect: Connect, secure: Secure, faulty_registry: FaultyRegistry) -> None:
    address = secure(307, {"Location": f"http://{faulty_registry.address}/v2/busybox/manifests/1.36"})
    with pytest.raises(UnreachableError, match="from https to plain http://"):
        connect(retries=2).registry.get(parse_reference(f"{address}/busybox:1.36"))
    assert faulty_registry.requests == []


def test_no_token_is_fetched_outside_of_tls(
    connect: Connect, secure: Secure, faulty_registry: FaultyRegistry, tmp_path: Path
) -> None:
    address = secure(401, {"WWW-Authenticate": f'Bearer realm="http://{faulty_registry.address}/token"'})
    client = connect(auth_file=write_auth_file(tmp_path / "auth.json", address), retries=2).registry
    with pytest.raises(UnreachableError, match="which has no TLS"):
        client.get(parse_reference(f"{address}/busybox:1.36"))
    assert faulty_registry.requests == []


@pytest.mark.parametrize("neighbour", [True, False])
def test_a_foreign_token_server_sees_no_credentials(
    connect: Connect,
    faulty_registry: FaultyRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    neighbour: bool,
) -> None:
    """127.0.0.2 as if it were a stranger to 127.0.0.1, or a neighbour, as everybody on loopback is."""
    if not neighbour:
        monkeypatch.setattr(authenticator, "is_loopback", lambda host: False)
    challenge = faults.unauthorized(f'Bearer realm="http://{faulty_registry.elsewhere}/token"')
    faulty_registry.script("GET", "/manifests/", challenge)
    faulty_registry.script("GET", "^/token", faults.status(200, b'{"token":"t"}'))
    connected = connect(auth_file=write_auth_file(tmp_path / "auth.json", faulty_registry.address))
    connected.registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    (asked,) = faulty_registry.asked("GET", "^/token")
    assert asked.headers["Authorization"] == (basic_header() if neighbour else None)
    assert asked.query["scope"] == ["repository:busybox:pull"]  # the challenge named none
    assert ["are not shown to" in warning for warning in connected.warnings] == ([] if neighbour else [True])


@pytest.mark.parametrize(
    ("realm", "trusted", "shown"),
    [
        (Origin("https", "login.other.example", 443), "login.other.example", True),
        (Origin("https", "login.other.example", 5001), "Login.Other.Example:5001", True),
        (Origin("https", "login.other.example", 443), "", False),
        (Origin("https", "login.other.example", 443), "other.example", False),
        (Origin("https", "login.other.example", 443), "login.other.example:5001", False),
        (Origin("http", "login.other.example", 80), "login.other.example", False),
    ],
)
def test_settings_may_name_a_token_server(realm: Origin, trusted: str, shown: bool) -> None:
    assert authenticator.may_show(Origin("https", "registry.example.com", 443), realm, trusted) is shown


@pytest.mark.parametrize("code", [302, 307, 308])
def test_a_token_server_that_sends_a_login_on_is_refused(
    connect: Connect, faulty_registry: FaultyRegistry, tmp_path: Path, code: int
) -> None:
    """A refresh token goes in the body, which 307 and 308 would take along."""
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"auths": {faulty_registry.address: {"identitytoken": "secret-token"}}}))
    realm = f'Bearer realm="http://{faulty_registry.address}/token"'
    faulty_registry.script("GET", "/manifests/", faults.unauthorized(realm), forever=True)
    faulty_registry.script("POST", "^/token", faults.redirect_to_host(faulty_registry.elsewhere, code))
    with pytest.raises(PolyarchError):
        connect(auth_file=file, retries=0).registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert len(faulty_registry.asked("POST", "^/token")) == 1
    elsewhere = [request for request in faulty_registry.requests if request.host == faulty_registry.elsewhere]
    assert [request.headers.get("Content-Length", "0") for request in elsewhere] == (["0"] if code == 302 else [])


@pytest.mark.parametrize("allowed", [True, False])
def test_credentials_are_not_shown_over_plain_http(
    connect: Connect,
    faulty_registry: FaultyRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    allowed: bool,
) -> None:
    """127.0.0.1 as if it were not loopback, where a plugin asks for an http URL by itself."""
    monkeypatch.setattr(http_client, "is_loopback", lambda host: False)
    faulty_registry.script("GET", "/manifests/", faults.unauthorized('Basic realm="x"'))
    insecure = (faulty_registry.address,) if allowed else ()
    file = write_auth_file(tmp_path / "auth.json", faulty_registry.address)
    http = connect(auth_file=file, insecure_registries=insecure).http
    with http.request("GET", f"http://{faulty_registry.address}/v2/busybox/manifests/1.36") as reply:
        assert reply.status == (200 if allowed else 401)
    shown = [request.headers["Authorization"] for request in faulty_registry.requests]
    assert shown == ([None, basic_header()] if allowed else [None])


def test_the_scheme_that_a_registry_speaks_is_remembered(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    client = connect(retries=0).registry
    client.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    faulty_registry.script("GET", "/manifests/", faults.status(400), forever=True)
    with pytest.raises(UnreachableError, match="answered 400"):
        client.get(parse_reference(faulty_registry.ref("single:1.0")))
    assert len(faulty_registry.requests) == 2
