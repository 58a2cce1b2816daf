"""Layers that their registry does not hold: fetched from their `urls` where that is allowed, and never with secrets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.errors import NotFoundError, PolyarchError, UnreachableError
from polyarch.oci.descriptor import Descriptor
from polyarch.reference import parse_reference
from support import faults
from support.exchange import Answer, Request
from support.faulty_registry import FaultyRegistry
from support.registry_auth import write_auth_file
from support.registry_client import Connect

BASIC = faults.unauthorized('Basic realm="x"')


def _read(connect: Connect, server: FaultyRegistry, tmp_path: Path, urls: tuple[str, ...], **settings: object) -> bytes:
    """A layer that is missing at the registry, which wants a login; the other host has it for everybody."""

    def here(request: Request, answer: Answer) -> Answer:
        if request.host == server.elsewhere:
            return answer
        fault = faults.status(404) if request.headers["Authorization"] else BASIC
        return fault(request, answer)

    server.script("GET", "/blobs/", here, forever=True)
    layer = server.layout.layers(server.layout.names["single:1.0"]["digest"])[0]
    urls = tuple(url.replace("DIGEST", layer["digest"]) for url in urls)
    blob = replace(Descriptor(layer["mediaType"], layer["digest"], layer["size"]), urls=urls)
    file = write_auth_file(tmp_path / "auth.json", server.address)
    client = connect(auth_file=file, **settings).registry
    with client.open_blob(parse_reference(server.ref("single:1.0")), blob, 100) as stream:
        assert stream.offset == 100
        data = b"".join(map(bytes, stream.chunks))
    assert len(data) == blob.size - 100
    return data


@pytest.mark.parametrize("missing", [False, True])
def test_it_is_fetched_without_credentials(
    connect: Connect, faulty_registry: FaultyRegistry, tmp_path: Path, missing: bool
) -> None:
    urls = (f"http://{faulty_registry.elsewhere}/v2/single/blobs/DIGEST",)
    first = (f"http://{faulty_registry.elsewhere}/nothing",) if missing else ()
    assert _read(connect, faulty_registry, tmp_path, first + urls, foreign_layers=True)
    asked = [request for request in faulty_registry.requests if request.host == faulty_registry.elsewhere]
    assert len(asked) == 2 if missing else 1
    assert {request.headers["Authorization"] for request in asked} == {None}
    assert {request.headers["Range"] for request in asked} == {"bytes=100-"}


def test_not_unless_it_is_allowed(connect: Connect, faulty_registry: FaultyRegistry, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        _read(connect, faulty_registry, tmp_path, (f"http://{faulty_registry.elsewhere}/v2/single/blobs/DIGEST",))
    assert {request.host for request in faulty_registry.requests} == {faulty_registry.address}


def test_at_the_registry_itself_nobody_logs_in(
    connect: Connect, faulty_registry: FaultyRegistry, tmp_path: Path
) -> None:
    url = f"http://{faulty_registry.address}/layers/DIGEST"
    with pytest.raises(PolyarchError):
        _read(connect, faulty_registry, tmp_path, (url,), foreign_layers=True)
    assert {request.headers["Authorization"] for request in faulty_registry.asked("GET", "^/layers")} == {None}


@pytest.mark.parametrize("url", ["http://169.254.169.254/layer", "file:///etc/passwd", "http://[fe80::1]/layer"])
def test_it_is_guarded_as_a_redirect(
    connect: Connect, faulty_registry: FaultyRegistry, tmp_path: Path, url: str
) -> None:
    with pytest.raises(UnreachableError, match=r"no URL|link-local"):
        _read(connect, faulty_registry, tmp_path, (url,), foreign_layers=True)
