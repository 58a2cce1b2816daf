"""Secrets are in no output, no file and on no command line: whatever fails, and however much polyarch tells.

Each secret is planted where it belongs, and looked for in all its usual forms everywhere else.
"""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from support.forked_commands import ForkedCommands, Ran
from support.planted_secrets import HEADER, PASSWORD, PROXY, SIGNED, TOKEN, Stage, Watch, asks, forms
from support.plugin_packages import install
from support.registry_faults.case import challenge, encoded, refusal
from support.registry_faults.server import Answer, FaultServer, Raw, Reply, Request

pytestmark = pytest.mark.system

CRASHES = {
    "token": "from polyarch.registry import authenticator as place; name = 'read_token'",
    "request": "from polyarch.registry.transport import Transport as place; name = 'send'",
    "credentials": "from polyarch.auth.credentials import Credentials as place; name = 'basic'",
}
_CRASH = """
{where}

def crash(*arguments, **named):
    raise RuntimeError("a defect")

setattr(place, name, crash)
"""
_BAD_PLUGIN = """
from polyarch.contract import *

@hookimpl
def polyarch_verifiers():
    raise RuntimeError("a plugin's defect")
"""


def _reset(wire: object) -> list[bytes]:
    return [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"]


ENDS: dict[str, Callable[[Request], Answer]] = {
    "works": asks,
    "refused": lambda request: asks(request, challenge('Basic realm="x"')),
    "denied": lambda request: asks(request, refusal(403, "DENIED", "no")),
    "fails": lambda request: asks(request, Reply(500)),
    "breaks": lambda request: asks(request, Raw(_reset)),
    "away": lambda request: asks(request, Reply(307, {"Location": f"http://{request.elsewhere}{request.url}"})),
    "away-signed": lambda request: asks(
        request, Reply(307, {"Location": f"http://{request.elsewhere}{request.url}?sig={SIGNED}"})
    ),
    "away-signed-breaks": lambda request: (
        Raw(_reset)
        if "sig=" in request.url
        else asks(request, Reply(307, {"Location": f"http://{request.elsewhere}{request.url}?sig={SIGNED}"}))
    ),
    "metadata": lambda request: asks(request, Reply(307, {"Location": "http://169.254.169.254/"})),
    "token-fails": lambda request: Reply(500) if request.kind == "token" else asks(request),
    "token-away": lambda request: (
        Reply(307, {"Location": f"http://{request.elsewhere}/t/x/t"}) if request.kind == "token" else asks(request)
    ),
    "token-broken": lambda request: (
        Reply(200, {}, encoded({"token": TOKEN + "\r\n"})) if request.kind == "token" else asks(request)
    ),
    "blob-fails": lambda request: Reply(500) if request.kind == "blobs" else asks(request),
    "hangs-up": lambda request: Raw(lambda wire: []),
}


@pytest.fixture
def stage(tmp_path: Path, commands: ForkedCommands) -> Iterator[Callable[[str], Stage]]:
    made: list[Stage] = []

    def make(end: str) -> Stage:
        made.append(Stage(tmp_path, commands, ENDS[end]))
        return made[-1]

    yield make
    for each in made:
        each.server.stop()


def test_the_search_finds_what_is_there(stage: Callable[[str], Stage]) -> None:
    """So that finding nothing means something: each form is found in a file, in output and on a command line."""
    set_up = stage("works")
    for number, form in enumerate(forms()):
        (set_up.home / f"leak-{number}").write_bytes(b"x" + form + b"y")
    found = set_up.found(Ran(0, "", f"password {PASSWORD}", 0, 0, 0))
    assert len({line.partition(":")[0] for line in found}) == len(forms()) + 1
    with Watch([b"what-is-no-secret-41"]) as watch:  # other tests look for the secrets themselves at the same time
        subprocess.run(["sh", "-c", "sleep 0.3", "what-is-no-secret-41"], check=True)
    assert watch.found
    assert watch.looks > 3


_SAMPLE = {("basic", "refused"), ("refresh", "token-broken")}


def _requests() -> Iterator[object]:
    for kind in ("basic", "token", "refresh", "helper"):
        for end in (end for end in ENDS if kind != "basic" or "token" not in end):
            marks = () if (kind, end) in _SAMPLE else pytest.mark.costly
            yield pytest.param(kind, end, id=f"{kind}-{end}", marks=marks)


@pytest.mark.parametrize(("kind", "end"), list(_requests()))
def test_of_requests(stage: Callable[[str], Stage], kind: str, end: str, soak: bool) -> None:
    """Whatever the registry and its token server do with what they are shown."""
    set_up = stage(end)
    set_up.know(refresh=kind == "refresh", helper=kind == "helper")
    name = f"{set_up.server.address}/{'basic' if kind == 'basic' else 'token'}/x:1"
    with Watch() as watch:
        told = [
            set_up.run("pull", "--progress", "json", name),
            set_up.run("resolve", "--format", "json", name),
            set_up.run("tags", name),
            *([set_up.run("doctor")] if soak else []),
        ]
    allowed = {"works": (0,), "away": (0, 5, 6), "away-signed": (0, 5, 6), "token-away": (0, 5, 6)}.get(end, (5, 6))
    assert told[0].code in allowed, told[0].told
    assert set_up.found(*told) == []
    assert watch.found == set()
    assert not any(set_up.server.shown)


@pytest.mark.parametrize("crash", CRASHES)
def test_of_a_defect(stage: Callable[[str], Stage], tmp_path: Path, crash: str) -> None:
    """With credentials in the frames of the traceback, in what is told of it and in the report."""
    set_up = stage("works")
    install(tmp_path / "site", "crashing", _BAD_PLUGIN + _CRASH.format(where=CRASHES[crash]))
    set_up.environ["PYTHONPATH"] = str(tmp_path / "site")
    kind = "basic" if crash == "credentials" else "token"
    ran = set_up.run("pull", f"{set_up.server.address}/{kind}/x:1")
    assert ran.code == 1, ran.told
    assert "a defect in polyarch: RuntimeError" in ran.stderr
    assert "Traceback" in ran.stderr + "".join(path.read_text() for path in set_up.home.rglob("polyarch-report-*"))
    assert set_up.found(ran) == []


def test_of_a_proxy_and_a_mirror(stage: Callable[[str], Stage]) -> None:
    """Passwords in a proxy's URL and in a header for a mirror, neither of which can be reached."""
    set_up = stage("works")
    folder = set_up.planted / "registry.example"
    folder.mkdir()
    (folder / "hosts.toml").write_text(
        f'[host."http://127.0.0.1:1"]\n[host."http://127.0.0.1:1".header]\nX-Key = "{HEADER}"\n'
    )
    set_up.environ["POLYARCH_CONTAINERD_HOSTS"] = str(set_up.planted)
    for scheme in ("HTTP", "HTTPS"):
        set_up.environ[f"{scheme}_PROXY"] = f"http://prox:{quote(PROXY)}@127.0.0.1:1"
    told = [set_up.run(verb, "registry.example/a:1") for verb in ("pull", "resolve", "tags", "doctor")]
    assert [ran.code for ran in told[:3]] == [6, 6, 6], told[0].told
    assert set_up.found(*told) == []


def test_of_a_login(stage: Callable[[str], Stage]) -> None:
    """A password that is typed in goes into the file for it, which nobody else may read, and nowhere else."""
    set_up = stage("refused")
    (set_up.planted / "auth.json").unlink()
    words = ("login", "-u", "ali", "--password-stdin", set_up.server.address)
    refused = set_up.run(*words, stdin=PASSWORD)
    assert refused.code == 5, refused.told
    assert set_up.found(refused) == []
    good = FaultServer(lambda request: asks(request, Reply(200, {}, b"{}")), api=True)
    try:
        kept = set_up.run(*words[:-1], good.address, stdin=PASSWORD)
    finally:
        good.stop()
    assert kept.code == 0, kept.told
    assert set_up.found(kept) == []
    file = set_up.planted / "auth.json"
    assert json.loads(file.read_text())["auths"][good.address]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
