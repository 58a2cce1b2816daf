"""What is shown to a registry, a proxy, a token server or an object store is not told, though they say it again.

Each says back what it was just shown, in one of the usual forms, in all the places whose words polyarch tells.
"""

from __future__ import annotations

import base64
import html
import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from support.certificates import self_signed
from support.forked_commands import ForkedCommands, Ran
from support.http2_server import Http2Server, Stream
from support.planted_secrets import HEADER, PASSWORD, PROXY, REFRESH, Stage, asks
from support.plugin_packages import install
from support.registry_faults.case import MANIFEST, Image, challenge, encoded, refusal
from support.registry_faults.server import Answer, Reply, Request, raw

pytestmark = pytest.mark.system


def _shown(request: Request) -> str:
    """What came with the request, each time in another form."""
    field = request.headers.get("Authorization", "")
    secret = field.partition(" ")[2]
    if field.startswith("Basic "):
        plain = base64.b64decode(secret).decode().partition(":")[2]
        said = [field, secret, plain, quote(plain, safe=""), html.escape(plain), repr(plain), json.dumps(plain)]
    elif field:
        said = [field, secret]
    elif request.method == "POST":  # with an identity token in its body
        said = [f"refresh_token={REFRESH}", REFRESH]
    else:
        said = ["nothing"]
    return said[request.number % len(said)]


def _until_shown(request: Request, then: Callable[[str], Answer]) -> Answer:
    said = _shown(request)
    return asks(request) if said == "nothing" else then(said)


def _reply(status: int, **headers: str) -> Reply:
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()})


def _page(said: str) -> Reply:
    return Reply(500, {"Content-Type": "text/html"}, f"<title>No entry for {said}</title>".encode())


def _document(said: str) -> Reply:
    body = encoded({"schemaVersion": 2, "mediaType": said})
    return Reply(200, {"Content-Type": MANIFEST}, body)


def _tags(said: str) -> Reply:
    return Reply(200, {"Content-Type": "application/json"}, encoded({"name": said, "tags": said}))


SAYS: dict[str, Callable[[str], Answer]] = {
    "errors": lambda said: refusal(403, "DENIED", f"no rights for {said}"),
    "code": lambda said: refusal(400, said, "bad request"),
    "not-found": lambda said: refusal(404, "MANIFEST_UNKNOWN", said),
    "message": lambda said: Reply(500, {}, encoded({"message": said})),
    "description": lambda said: Reply(400, {}, encoded({"error": "x", "error_description": said})),
    "text": lambda said: Reply(502, {"Content-Type": "text/plain"}, f"cannot take {said}".encode()),
    "page": _page,
    "reason": lambda said: raw(f"HTTP/1.1 418 {said}\r\nContent-Length: 0\r\n\r\n".encode()),
    "no-http": lambda said: raw(f"{said}\r\n\r\n".encode()),
    "bad-field": lambda said: raw(f"HTTP/1.1 200 OK\r\n{said} : x\r\nBad {said}\r\n\r\n".encode()),
    "bad-length": lambda said: raw(f"HTTP/1.1 200 OK\r\nContent-Length: {said}\r\n\r\n".encode()),
    "warning": lambda said: _reply(404, Warning=f'299 - "{said.replace(chr(92), "").replace(chr(34), "")}"'),
    "challenge": lambda said: challenge(f'Bearer realm="http://[{said}/",service="{said}"'),
    "realm": lambda said: challenge(f'Bearer realm="ftp://{said}/"'),
    "location": lambda said: _reply(307, Location=f"ftp://{said}/"),
    "location-with-user": lambda said: _reply(307, Location=f"http://ali:{quote(PASSWORD, safe='')}@127.0.0.2:1/"),
    "location-no-host": lambda said: _reply(307, Location=f"http://[{said}"),
    "retry-after": lambda said: _reply(503, Retry_After=said),
    "encoding": lambda said: Reply(200, {"Content-Encoding": said, "Content-Type": MANIFEST}, b"{}"),
    "digest": lambda said: Reply(200, {"Docker-Content-Digest": said, "Content-Type": MANIFEST}, Image().root),
    "type": lambda said: Reply(200, {"Content-Type": said}, b"{}"),
    "document": _document,
    "no-json": lambda said: Reply(200, {"Content-Type": MANIFEST}, said.encode()),
    "tags": _tags,
}
_COSTLY = pytest.mark.costly


@pytest.fixture
def stage(tmp_path: Path, commands: ForkedCommands) -> Iterator[Callable[[Callable[[Request], Answer]], Stage]]:
    made: list[Stage] = []

    def make(answer: Callable[[Request], Answer]) -> Stage:
        made.append(Stage(tmp_path, commands, answer))
        return made[-1]

    yield make
    for each in made:
        each.server.stop()


Make = Callable[[Callable[[Request], Answer]], Stage]


def _told(set_up: Stage, name: str, times: int = 2) -> list[Ran]:
    """Some commands, each of them several times, so that each form is met."""
    words = [
        ("pull", "--progress", "json", name),
        ("resolve", "--format", "json", name),
        ("tags", name),
        ("pull", name),
    ]
    return [set_up.run(*each) for each in (words * 2 if times > 1 else words[:2])]


@pytest.mark.parametrize("kind", ["basic", *(pytest.param(kind, marks=_COSTLY) for kind in ("token", "helper"))])
@pytest.mark.parametrize("says", [each if each == "errors" else pytest.param(each, marks=_COSTLY) for each in SAYS])
def test_a_registry(stage: Make, kind: str, says: str, count: Callable[[int, int], int]) -> None:
    set_up = stage(lambda request: asks(request) if request.kind == "token" else _until_shown(request, SAYS[says]))
    set_up.know(helper=kind == "helper")
    told = _told(set_up, f"{set_up.server.address}/{'basic' if kind == 'basic' else 'token'}/x:1", count(1, 2))
    assert set_up.found(*told) == []
    assert {ran.code for ran in told} <= {0, 3, 5, 6, 7}, [ran.told for ran in told]
    assert any(ran.code for ran in told)


@pytest.mark.parametrize("kind", ["refresh", pytest.param("password", marks=_COSTLY)])
@pytest.mark.parametrize("says", [each if each == "errors" else pytest.param(each, marks=_COSTLY) for each in SAYS])
def test_a_token_server(stage: Make, kind: str, says: str, count: Callable[[int, int], int]) -> None:
    set_up = stage(lambda request: _until_shown(request, SAYS[says]) if request.kind == "token" else asks(request))
    set_up.know(refresh=kind == "refresh")
    told = _told(set_up, f"{set_up.server.address}/token/x:1", count(1, 2))
    assert set_up.found(*told) == []
    assert {ran.code for ran in told} <= {5, 6}, [ran.told for ran in told]


def test_what_is_said_is_told(stage: Make) -> None:
    """But for the secret: so the tests above look at what polyarch does tell."""
    set_up = stage(lambda request: _until_shown(request, SAYS["errors"]))
    ran = set_up.run("pull", f"{set_up.server.address}/basic/x:1")
    assert "no rights for [secret] (DENIED)" in ran.told or "no rights for Basic [secret]" in ran.told


@_COSTLY
def test_a_login(stage: Make) -> None:
    set_up = stage(lambda request: _until_shown(request, SAYS["errors"]))
    (set_up.planted / "auth.json").unlink()
    told = [
        set_up.run("login", "-u", "ali", "--password-stdin", set_up.server.address, stdin=PASSWORD) for _ in range(7)
    ]
    assert {ran.code for ran in told} == {5}
    assert set_up.found(*told) == []


@pytest.mark.parametrize("secret", ["get", pytest.param("store", marks=_COSTLY)])
def test_a_credential_helper(stage: Make, secret: str) -> None:
    """One that fails behind its answer, and one that says what it was to keep."""
    set_up = stage(lambda request: asks(request, Reply(200, {}, b"{}")))
    set_up.know(helper=True)
    program = set_up.planted / "docker-credential-planted"
    answer = json.dumps({"ServerURL": "x", "Username": "ali", "Secret": PASSWORD})
    says = f"cat <<'END'\n{answer}\nEND" if secret == "get" else 'echo "cannot keep $(cat)"'
    program.write_text(f"#!/bin/sh\n{says}\nexit 1\n")
    words = ("login", "-u", "ali", "--password-stdin", set_up.server.address)
    ran = (
        set_up.run(*words, stdin=PASSWORD) if secret == "store" else set_up.run("pull", f"{set_up.server.address}/x:1")
    )
    assert ran.code == 8, ran.told
    assert "docker-credential-planted" in ran.told
    assert set_up.found(ran) == []


class _Proxy:
    """Whatever is asked, it says what it was shown, on the first line or in the body."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._listener.getsockname())
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                opened, _ = self._listener.accept()
                with opened, suppress(OSError):
                    head = opened.recv(65536).decode(errors="replace")
                    lines = [line for line in head.split("\r\n") if line.lower().startswith("proxy-authorization")]
                    said = f"refused: {lines} or {PROXY}"
                    reason, body = (said, "") if self._where == "reason" else ("No", said)
                    answer = f"HTTP/1.1 407 {reason}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
                    opened.sendall(answer.encode())

    def stop(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("where", ["reason", pytest.param("body", marks=_COSTLY)])
@pytest.mark.parametrize("scheme", ["https", pytest.param("http", marks=_COSTLY)])
def test_a_proxy(stage: Make, where: str, scheme: str) -> None:
    set_up, proxy = stage(asks), _Proxy(where)
    for name in ("HTTP", "HTTPS"):
        set_up.environ[f"{name}_PROXY"] = f"http://prox:{quote(PROXY)}@{proxy.address}"
    (set_up.home / "polyarch.toml").write_text(
        f"retries = 1\ninsecure_registries = [{json.dumps('registry.example') if scheme == 'http' else ''}]\n"
    )
    ran = set_up.run("pull", "registry.example/a:1")
    proxy.stop()
    assert ran.code == 6, ran.told
    assert set_up.found(ran) == []


@_COSTLY
def test_a_mirror_with_a_header(stage: Make) -> None:
    """A header of hosts.toml's comes back."""
    set_up = stage(lambda request: refusal(403, "DENIED", f"not by {request.headers.get('X-Key')}"))
    folder = set_up.planted / "registry.example"
    folder.mkdir()
    place = f"http://{set_up.server.address}"
    (folder / "hosts.toml").write_text(f'server = "{place}"\n[header]\nX-Key = "{HEADER}"\n')
    set_up.environ["POLYARCH_CONTAINERD_HOSTS"] = str(set_up.planted)
    told = _told(set_up, "registry.example/a:1")
    assert set_up.found(*told) == []
    assert "not by [secret]" in told[0].told


@_COSTLY
@pytest.mark.parametrize(
    "text",
    [
        '[host."https://ali:SECRET@mirror.example:x"]\n',
        'server = "https://ali:SECRET@registry.example:99999"\n',
        '[host."http://ali:SECRET@mirror.example"]\n',
    ],
    ids=["host", "server", "plain"],
)
def test_a_password_in_a_files_url(stage: Make, text: str) -> None:
    """It does not belong there, and what is told of it does not say it."""
    set_up = stage(asks)
    folder = set_up.planted / "registry.example"
    folder.mkdir()
    (folder / "hosts.toml").write_text(text.replace("SECRET", quote(PASSWORD, safe="")))
    set_up.environ["POLYARCH_CONTAINERD_HOSTS"] = str(set_up.planted)
    ran = set_up.run("pull", "registry.example/a:1")
    assert ran.code == 2, ran.told
    assert set_up.found(ran) == []


KEYS = {"AWS_SECRET_ACCESS_KEY": "key-of-the-store-Qm81/z+0", "AWS_SESSION_TOKEN": "session-of-the-store-77aX=="}


@pytest.mark.parametrize("status", [403, *(pytest.param(status, marks=_COSTLY) for status in (400, 404, 500))])
def test_an_object_store(stage: Make, status: int) -> None:
    """It says its token again, and the key that it should not know."""
    pytest.importorskip("obstore")
    said = " ".join(KEYS.values())

    def answer(request: Request) -> Answer:
        if "Authorization" in request.headers and "AWS4" in request.headers["Authorization"]:
            body = f"<Error><Code>Denied</Code><Message>{said} {request.headers['Authorization']}</Message></Error>"
            return Reply(status, {"Content-Type": "application/xml"}, body.encode())
        return asks(request)

    set_up = stage(answer)
    set_up.environ |= KEYS | {
        "AWS_ENDPOINT_URL": f"http://{set_up.server.address}",
        "AWS_ACCESS_KEY_ID": "user-of-the-store",
        "AWS_REGION": "us-east-1",
    }
    ran = set_up.run("pull", "--into", "s3://bucket/images", f"{set_up.server.address}/basic/x:1")
    assert ran.code in (3, 5, 6), ran.told
    assert set_up.found(ran) == []
    texts = [ran.told, *(path.read_text(errors="replace") for path in set_up.home.rglob("*") if path.is_file())]
    assert [key for key in KEYS.values() for text in texts if key in text or quote(key, safe="") in text] == []


_TALKATIVE = """
import logging

logging.basicConfig(level=1)
"""
_ABORTS = """
import faulthandler, os
from polyarch.registry import authenticator as place

faulthandler.enable(2, all_threads=True)
place.read_token = lambda *words: os.abort()
"""
_NO_CORE = "import resource\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"


@_COSTLY
@pytest.mark.parametrize("end", ["works", "aborts"])
def test_a_plugin_that_has_everything_logged(stage: Make, tmp_path: Path, end: str) -> None:
    """All that libraries say of what they do goes to the output; and the interpreter tells how it ended."""
    set_up = stage(asks)
    install(tmp_path / "site", "talkative", _NO_CORE + _TALKATIVE + (_ABORTS if end == "aborts" else ""))
    set_up.environ["PYTHONPATH"] = str(tmp_path / "site")
    for kind in ("basic", "token"):
        ran = set_up.run("pull", f"{set_up.server.address}/{kind}/x:1")
        assert set_up.found(ran) == []
        assert ran.code == (-6 if end == "aborts" and kind == "token" else 0), ran.told
        assert "DEBUG:" in ran.told
    assert end == "works" or "Fatal Python error: Aborted" in ran.told


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[Http2Server]:
    """Asks for Basic credentials, then says no, and what it was shown."""

    def answer(stream: Stream) -> None:
        shown = stream.fields.get("authorization", "")
        if not shown:
            stream.head(401, [("www-authenticate", 'Basic realm="x"')], end=True)
            return
        stream.head(403, [("content-type", "application/json")])
        stream.data(encoded({"errors": [{"code": "DENIED", "message": shown}]}), end=True)

    server = Http2Server(tmp_path / "tls", answer)
    yield server
    server.stop()


@_COSTLY
@pytest.mark.parametrize("logged", [False, True], ids=["", "logged"])
def test_over_http2_with_a_clients_key(stage: Make, tls: Http2Server, tmp_path: Path, logged: bool) -> None:
    """The key of a client certificate, its folder as certs.d has it, and headers as HTTP/2 packs them."""
    set_up = stage(asks)
    folder = set_up.planted / tls.address
    key, certificate = self_signed(tmp_path / "client")
    folder.mkdir()
    shutil.copy(tls.certificate, folder / "ca.crt")
    shutil.copy(certificate, folder / "client.cert")
    shutil.copy(key, folder / "client.key")
    set_up.environ["POLYARCH_CONTAINERD_HOSTS"] = str(set_up.planted)
    auth = base64.b64encode(f"ali:{PASSWORD}".encode()).decode()
    (set_up.planted / "auth.json").write_text(json.dumps({"auths": {tls.address: {"auth": auth}}}))
    if logged:
        install(tmp_path / "site", "talkative", _TALKATIVE)
        set_up.environ["PYTHONPATH"] = str(tmp_path / "site")
    told = [set_up.run("pull", f"{tls.address}/a:1")]
    assert tls.requests
    assert told[0].code == 5, told[0].told
    broken = key.read_text().replace("A", "B", 3)
    (folder / "client.key").write_text(broken)
    told.append(set_up.run("pull", f"{tls.address}/a:1"))
    assert told[1].code == 2, told[1].told
    lines = [line for text in (key.read_text(), broken) for line in text.splitlines()[1:-1] if len(line) > 30]
    assert [line for line in lines for ran in told if line in ran.told] == []
    assert set_up.found(*told) == []
    assert not logged or "DEBUG:" in told[0].told


def test_how_much_is_told_is_said_by_debug_alone(stage: Make) -> None:
    """There is no -v: what looks like it is refused, and tells nothing."""
    set_up = stage(lambda request: _until_shown(request, SAYS["errors"]))
    for words in (("-vv", "pull"), ("pull", "-vv"), ("pull", "--verbose")):
        ran = set_up.run(*words, f"{set_up.server.address}/basic/x:1")
        assert ran.code == 2, ran.told
        assert set_up.found(ran) == []
