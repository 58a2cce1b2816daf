"""Where signatures are, and what is missing to look at them."""

from __future__ import annotations

import builtins
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from polyarch.errors import HostError, IntegrityError, PolyarchError, UnreachableError, UsageError
from support.signed_images import SignedSite
from support.signed_policies import ACCEPT, cosign, gpg, only, pulled

Json = dict[str, Any]
pytestmark = pytest.mark.system


# Signatures at a server


class Lookaside(http.server.BaseHTTPRequestHandler):
    """Answers each path with a status and a body."""

    answers: dict[str, tuple[int, bytes]]

    def do_GET(self) -> None:
        status, body = self.answers.get(self.path, (404, b""))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@contextmanager
def lookaside(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """The URL of a server with these answers."""
    kind = type("Answers", (Lookaside,), {"answers": answers})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_signatures_are_read_from_a_server(site: SignedSite, tmp_path: Path) -> None:
    digest = site.image("remote:1")
    place = f"/sigs/remote@{digest.replace(':', '=')}/signature-"
    good, other = site.sign("remote:1", digest), site.sign("remote:1", digest, "other")
    policy = only(site, gpg(site))
    attempts: list[tuple[dict[str, tuple[int, bytes]], type[PolyarchError] | None]] = [
        ({f"{place}1": (200, other), f"{place}2": (200, good)}, None),
        ({f"{place}1": (200, other), f"{place}3": (200, good)}, IntegrityError),
        ({}, IntegrityError),
        ({f"{place}1": (200, b"<html>no such thing</html>")}, IntegrityError),
        ({f"{place}1": (200, good + bytes(4 << 20))}, IntegrityError),
        ({f"{place}{number}": (200, other) for number in range(1, 130)}, IntegrityError),
        ({f"{place}1": (403, good)}, UnreachableError),
    ]
    before = site.places / "tests.yaml"
    kept = before.read_text()
    try:
        for number, (answers, refused) in enumerate(attempts):
            with lookaside(answers) as url:
                site.say({"docker": {site.ref("remote"): {"lookaside": f"{url}/sigs"}}})
                if refused is None:
                    pulled(site, policy, tmp_path / str(number), "remote:1")
                    continue
                with pytest.raises(refused):
                    pulled(site, policy, tmp_path / str(number), "remote:1")
    finally:
        before.write_text(kept)


PLACES: list[tuple[str, str]] = [
    ("- a list", "is no registries.d file|an object is wanted"),
    ("docker: {example.com: {lookaside: 7}}", "lookaside is no text"),
    ("docker: {example.com: {use-sigstore-attachments: maybe}}", "use-sigstore-attachments is neither"),
    ("default-docker: {lookaside: 'ftp://example.com'}", "signatures are read from file:, http: and https: URLs"),
    ("docker: [", "is no registries.d file"),
]


@pytest.mark.parametrize(("text", "said"), PLACES, ids=["list", "number", "maybe", "ftp", "no YAML"])
def test_broken_registries_d_is_told(text: str, said: str, site: SignedSite, tmp_path: Path) -> None:
    file = site.places / "tests.yaml"
    kept = file.read_text()
    file.write_text(text)
    try:
        with pytest.raises(UsageError, match=said):
            pulled(site, only(site, gpg(site)), tmp_path, "app:signed")
    finally:
        file.write_text(kept)


# What is missing


def test_without_the_libraries_it_is_told(site: SignedSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__
    missing = ""

    def load(name: str, *words: Any, **more: Any) -> Any:
        if missing and name.partition(".")[0] == missing:
            raise ImportError(name)
        return real(name, *words, **more)

    monkeypatch.setattr(builtins, "__import__", load)
    missing = "cryptography"
    with pytest.raises(HostError, match="the Python library cryptography is not here") as caught:
        pulled(site, only(site, cosign(site)), tmp_path, "cos:signed")
    assert caught.value.hint == "pip install 'polyarch[verify]'"
    missing = "yaml"
    with pytest.raises(HostError, match="the Python library PyYAML is not here"):
        pulled(site, only(site, gpg(site)), tmp_path, "app:signed")


def test_without_gpg_it_is_told(site: SignedSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *words, **more: None)
    with pytest.raises(HostError, match="there is no program gpg") as caught:
        pulled(site, only(site, gpg(site)), tmp_path, "app:signed")
    assert caught.value.hint == "apt install gpg"


UNSUPPORTED: list[Json] = [
    {"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}},
    {"type": "signedBy", "keyType": "X509Certificates", "keyPath": "/key"},
]


@pytest.mark.parametrize("asks", UNSUPPORTED, ids=["base layer", "certificates"])
def test_what_cannot_be_checked_is_never_passed(asks: Json, site: SignedSite, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="which polyarch cannot check"):
        pulled(site, only(site, ACCEPT, asks), tmp_path, "cos:signed")
