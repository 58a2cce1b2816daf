"""Logins at real registries: Basic, and bearer tokens, which are asked for once for many requests."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from polyarch.auth.credentials import Credentials
from polyarch.errors import UnauthorizedError, UnreachableError, UsageError
from polyarch.oci.document import Index, Manifest
from polyarch.reference import parse_reference
from polyarch.registry.login import login
from polyarch.settings import Settings
from support import faults
from support.docker_registry import DockerRegistry
from support.exchange import Answer, Request
from support.faulty_registry import FaultyRegistry
from support.registry_auth import PASSWORD, USERNAME, TokenServer, basic_header, write_auth_file
from support.registry_client import Connect


def test_basic(connect: Connect, authed_registry: DockerRegistry, tmp_path: Path) -> None:
    file = write_auth_file(tmp_path / "auth.json", authed_registry.address)
    client = connect(auth_file=file).registry
    before = len(authed_registry.access_log())
    document = client.get(parse_reference(authed_registry.ref("busybox:1.36")))
    assert isinstance(document, Index)
    client.head(parse_reference(authed_registry.ref("busybox:1.36")))
    statuses = [access.status for access in authed_registry.access_log()[before:]]
    assert statuses == [401, 200, 200]  # asked once; later requests bring the answer along


@pytest.mark.parametrize("password", ["", "wrong"])
def test_basic_refused(connect: Connect, authed_registry: DockerRegistry, tmp_path: Path, password: str) -> None:
    file = tmp_path / "auth.json"
    if password:
        write_auth_file(file, authed_registry.address, password=password)
    reference = parse_reference(authed_registry.ref("busybox:1.36"))
    connected = connect(auth_file=file)
    with pytest.raises(UnauthorizedError, match="authentication required") as caught:
        connected.registry.get(reference)
    assert f"polyarch login {authed_registry.address}" in (caught.value.hint or "")
    assert password not in str(caught.value) or not password
    with pytest.raises(UnauthorizedError, match="refuses the manifest"):
        connected.registry.head(reference)


def test_a_token_for_nobody_is_asked_for_once(
    connect: Connect, token_registry: DockerRegistry, token_server: TokenServer
) -> None:
    reference = parse_reference(token_registry.ref("busybox:1.36"))
    client = connect().registry
    before = len(token_server.requests)
    index = client.get(reference)
    assert isinstance(index, Index)
    manifest = client.get(reference.with_digest(index.manifests[0].digest))
    assert isinstance(manifest, Manifest)
    for blob in manifest.blobs:
        with client.open_blob(reference, blob) as stream:
            assert sum(map(len, stream.chunks)) == blob.size
    asked = token_server.requests[before:]
    assert len(asked) == 1
    assert asked[0].authorization is None
    assert asked[0].fields == {"service": [token_server.service], "scope": ["repository:busybox:pull"]}


def test_many_threads_ask_for_one_token(
    connect: Connect, token_registry: DockerRegistry, token_server: TokenServer
) -> None:
    client = connect().registry
    before = len(token_server.requests)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: client.head(parse_reference(token_registry.ref("busybox:1.36"))), range(16)))
    assert None not in found
    assert len(token_server.requests) - before == 1


def test_a_token_for_somebody(
    connect: Connect, token_registry: DockerRegistry, token_server: TokenServer, tmp_path: Path
) -> None:
    reference = parse_reference(token_registry.ref("single:1.0"))
    before = len(token_server.requests)
    with pytest.raises(UnauthorizedError) as caught:
        connect().registry.get(reference)
    assert f"polyarch login {token_registry.address}" in (caught.value.hint or "")
    file = write_auth_file(tmp_path / "auth.json", token_registry.address)
    assert isinstance(connect(auth_file=file).registry.get(reference), Manifest)
    assert [request.authorization for request in token_server.requests[before:]] == [None, basic_header()]
    assert token_server.requests[-1].fields["account"] == [USERNAME]


def test_a_wrong_password_is_told_by_the_token_server(
    connect: Connect, token_registry: DockerRegistry, tmp_path: Path
) -> None:
    file = write_auth_file(tmp_path / "auth.json", token_registry.address, password="wrong-secret")
    with pytest.raises(UnauthorizedError, match=r"token server .* refuses the credentials of ali: incorrect") as caught:
        connect(auth_file=file).registry.get(parse_reference(token_registry.ref("busybox:1.36")))
    assert "wrong-secret" not in str(caught.value) + repr(caught.value)


def test_an_identity_token_is_posted(
    connect: Connect, token_registry: DockerRegistry, token_server: TokenServer, tmp_path: Path
) -> None:
    file = tmp_path / "auth.json"
    entry = {"auth": "YWxpOg==", "identitytoken": token_server.refresh_token}
    file.write_text(json.dumps({"auths": {token_registry.address: entry}}))
    assert connect(auth_file=file).registry.get(parse_reference(token_registry.ref("single:1.0")))
    request = token_server.requests[-1]
    assert request.method == "POST"
    assert request.authorization is None
    assert request.fields["grant_type"] == ["refresh_token"]
    assert request.fields["scope"] == ["repository:single:pull"]


def test_a_refused_token_is_renewed_once(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    reference = parse_reference(faulty_registry.ref("busybox:1.36"))
    challenge = f'Bearer realm="http://{faulty_registry.address}/token",service="s",scope="repository:busybox:pull"'
    faulty_registry.script("GET", "^/token", *(faults.status(200, f'{{"token":"t{n}"}}'.encode()) for n in range(9)))
    ask = faults.unauthorized(challenge)
    faulty_registry.script("GET", "/manifests/", ask, faults.honest, ask, faults.honest, ask, ask, ask, ask)
    client = connect().registry
    client.get(reference)
    client.get(reference)  # the token at hand has become invalid
    shown = [request.headers["Authorization"] for request in faulty_registry.asked("GET", "/manifests/")]
    assert shown == [None, "Bearer t0", "Bearer t0", "Bearer t1"]
    with pytest.raises(UnauthorizedError):
        client.get(reference)
    assert len(faulty_registry.asked("GET", "^/token")) <= 4


@pytest.mark.parametrize(
    "challenge", [None, "", "Bearer", 'Bearer realm=""', "Negotiate", 'Basic realm="x"', 'Bearer realm="x', "\\,;="]
)
def test_a_challenge_that_cannot_be_met(
    connect: Connect, faulty_registry: FaultyRegistry, challenge: str | None
) -> None:
    faulty_registry.script("GET", "/manifests/", faults.unauthorized(challenge), forever=True)
    with pytest.raises(UnauthorizedError, match="authentication required"):
        connect().registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert len(faulty_registry.asked("GET")) == 1


@pytest.mark.parametrize(
    ("realm", "says"),
    [
        ("http://169.254.169.254/token", "link-local or metadata address"),
        ("http://metadata.google.internal/token", "link-local or metadata address"),
        ("ftp://a.example/token", "a token server that is none"),
        ("http://user:pw@127.0.0.1/", "a token server that is none"),
    ],
)
def test_a_realm_that_is_none(connect: Connect, faulty_registry: FaultyRegistry, realm: str, says: str) -> None:
    faulty_registry.script("GET", "/manifests/", faults.unauthorized(f'Bearer realm="{realm}"'), forever=True)
    with pytest.raises(UnreachableError, match=says):
        connect(retries=0).registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))


def cut_token(request: Request, answer: Answer) -> Answer:
    return faults.cut_after(3)(request, faults.status(200, b'{"token":"t"}')(request, answer))


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (faults.status(200, b"{}"), UnreachableError, "without a proper token"),
        (faults.status(200, b'{"token":"a\\r\\nX-Injected: b"}'), UnreachableError, "without a proper token"),
        (faults.status(200, b"[]"), UnreachableError, "JSON object"),
        (faults.status(200, b" " * 65537), UnreachableError, "more than 65536 bytes"),
        (faults.status(403, b'{"details":"account locked"}'), UnauthorizedError, "account locked"),
        (faults.html_error(404), UnreachableError, "answered 404: a web page"),
        (faults.html_error(503), UnreachableError, "answered 503"),
        (cut_token, UnreachableError, "token server .* broke off"),
    ],
)
def test_a_token_server_that_fails(
    connect: Connect, faulty_registry: FaultyRegistry, fault: faults.Fault, error: type[Exception], says: str
) -> None:
    challenge = faults.unauthorized(f'Bearer realm="http://{faulty_registry.address}/token"')
    faulty_registry.script("GET", "/manifests/", challenge, forever=True)
    faulty_registry.script("GET", "^/token", fault, forever=True)
    with pytest.raises(error, match=says):
        connect(retries=2).registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert len(faulty_registry.asked("GET", "^/token")) <= 3  # its tries are not multiplied by those of the request


def test_the_longest_name_in_the_auth_file_decides(
    connect: Connect, faulty_registry: FaultyRegistry, tmp_path: Path
) -> None:
    address = faulty_registry.address
    file = tmp_path / "auth.json"
    file.write_text(f'{{"auths": {{"{address}": {{"auth": "YTph"}}, "{address}/library": {{"auth": "Yjpi"}}}}}}')
    faulty_registry.script("GET", "/manifests/", faults.unauthorized('Basic realm="x"'), forever=True)
    client = connect(auth_file=file).registry
    for name in ("library/busybox:1.36", "busybox:1.36"):
        with pytest.raises(UnauthorizedError):
            client.get(parse_reference(faulty_registry.ref(name)))
    shown = [request.headers["Authorization"] for request in faulty_registry.asked("GET")]
    assert shown == [None, "Basic Yjpi", None, "Basic YTph"]


def test_a_broken_auth_file_is_told_before_anything_is_asked(
    connect: Connect, faulty_registry: FaultyRegistry, tmp_path: Path
) -> None:
    (tmp_path / "auth.json").write_text("{")
    with pytest.raises(UsageError, match=r"auth\.json"):
        connect(auth_file=tmp_path / "auth.json")
    assert faulty_registry.requests == []


def test_login_tries_and_keeps(connect: Connect, token_registry: DockerRegistry, tmp_path: Path) -> None:
    client = connect().registry
    settings = Settings(root=tmp_path, auth_file=tmp_path / "new" / "auth.json")
    somewhere = parse_reference(token_registry.ref("single:1.0"))
    with pytest.raises(UnauthorizedError, match="incorrect username or password"):
        login(settings, client, somewhere, Credentials(USERNAME, "wrong"))
    assert not (tmp_path / "new").exists()
    with pytest.raises(UnauthorizedError):
        client.get(somewhere)
    assert client.get(parse_reference(token_registry.ref("busybox:1.36")))  # the wrong ones are forgotten
    assert login(settings, client, somewhere, Credentials(USERNAME, PASSWORD)) == str(tmp_path / "new" / "auth.json")
    assert client.get(somewhere)  # used from now on, without opening anything anew
    assert connect(auth_file=tmp_path / "new" / "auth.json").registry.get(somewhere)


@pytest.mark.parametrize("password", ["wrong", PASSWORD])
def test_login_at_a_registry_with_basic(
    connect: Connect, authed_registry: DockerRegistry, tmp_path: Path, password: str
) -> None:
    settings = Settings(root=tmp_path, auth_file=tmp_path / "auth.json")
    somewhere = parse_reference(authed_registry.ref("x"))
    if password == PASSWORD:
        login(settings, connect().registry, somewhere, Credentials(USERNAME, password))
    else:
        with pytest.raises(UnauthorizedError, match=f"refuses the credentials of '{USERNAME}'"):
            login(settings, connect().registry, somewhere, Credentials(USERNAME, password))
    assert (tmp_path / "auth.json").exists() is (password == PASSWORD)


def test_login_where_nothing_listens_or_no_registry_is(
    connect: Connect, faulty_registry: FaultyRegistry, tmp_path: Path
) -> None:
    settings = Settings(root=tmp_path, auth_file=tmp_path / "auth.json")
    faulty_registry.script("GET", "/v2/", faults.html_error(404))
    with pytest.raises(UnreachableError, match="answered 404 to a login: a web page"):
        login(settings, connect().registry, parse_reference(faulty_registry.ref("x")), Credentials("a", "b"))
    assert not (tmp_path / "auth.json").exists()
