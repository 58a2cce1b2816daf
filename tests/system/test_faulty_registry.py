"""The faulty registry does what it says: each fault as a client without any forgiveness sees it."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from pathlib import Path

import pytest

from support.docker_registry import skopeo, skopeo_copy
from support.faults import (
    Fault,
    cut_after,
    fewer_bytes,
    headers,
    honest,
    html_error,
    http_date,
    huge,
    ignore_range,
    more_bytes,
    redirect,
    redirect_to_host,
    slow,
    stall_after,
    status,
    too_many_requests,
    unauthorized,
    wrong_bytes,
    wrong_length,
    wrong_range,
)
from support.faulty_registry import FaultyRegistry
from support.layout_files import Layout

pytestmark = pytest.mark.system


@pytest.fixture
def digest(sample_layout: Path) -> str:
    """The first layer of a sample image."""
    layout = Layout(sample_layout)
    return str(layout.layers(layout.manifest("busybox:1.36", "arm64"))[0]["digest"])


@pytest.fixture
def truth(sample_layout: Path, digest: str) -> bytes:
    return Layout(sample_layout).path(digest).read_bytes()


class Client:
    """Asks each time on a new connection; `body` reads to the end."""

    def __init__(self, address: str, digest: str) -> None:
        self.connection = HTTPConnection(address, timeout=5)
        self.blob = f"/v2/busybox/blobs/{digest}"

    def ask(self, method: str = "GET", path: str | None = None, **sent: str) -> HTTPResponse:
        self.connection.close()
        self.connection.request(method, path or self.blob, headers={k.replace("_", "-"): v for k, v in sent.items()})
        return self.connection.getresponse()

    def body(self, **sent: str) -> bytes:
        return self.ask(**sent).read()


@pytest.fixture
def client(faulty_registry: FaultyRegistry, digest: str) -> Iterator[Client]:
    client = Client(faulty_registry.address, digest)
    yield client
    client.connection.close()


def test_unscripted_it_is_a_registry(faulty_registry: FaultyRegistry, sample_layout: Path, tmp_path: Path) -> None:
    options = ("inspect", "--raw", "--tls-verify=false")
    for name, entry in Layout(sample_layout).names.items():
        raw = skopeo(*options, f"docker://{faulty_registry.ref(name)}")
        assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == entry["digest"]
    skopeo_copy(f"docker://{faulty_registry.ref('busybox:1.36')}", f"oci:{tmp_path}/copy:busybox:1.36")
    assert Layout(tmp_path / "copy").names["busybox:1.36"]["digest"] == entry_digest(sample_layout, "busybox:1.36")
    assert faulty_registry.asked("GET", "/manifests/1.36$")[0].headers["User-Agent"].startswith("skopeo")


def entry_digest(directory: Path, name: str) -> str:
    return str(Layout(directory).names[name]["digest"])


def test_head_tells_what_get_gives(client: Client, truth: bytes, digest: str) -> None:
    answer = client.ask("HEAD")
    assert (answer.status, answer.headers["Docker-Content-Digest"], answer.read()) == (200, digest, b"")
    assert int(answer.headers["Content-Length"]) == len(truth)


def test_ranges(client: Client, truth: bytes) -> None:
    answer = client.ask(Range="bytes=1000-")
    assert (answer.status, answer.read()) == (206, truth[1000:])
    assert answer.headers["Content-Range"] == f"bytes 1000-{len(truth) - 1}/{len(truth)}"
    assert client.body(Range="bytes=5-9") == truth[5:10]
    assert client.ask(Range=f"bytes={len(truth)}-").status == 416


def test_cut(faulty_registry: FaultyRegistry, client: Client, truth: bytes) -> None:
    faulty_registry.script("GET", "/blobs/", cut_after(70_000))
    with pytest.raises(IncompleteRead) as caught:
        client.body()
    assert caught.value.partial == truth[:70_000]
    assert client.body() == truth, "the script is over"


def test_stall_ends_with_the_event(faulty_registry: FaultyRegistry, client: Client, truth: bytes) -> None:
    go_on = threading.Event()
    faulty_registry.script("GET", "/blobs/", stall_after(100, go_on))
    answer = client.ask()
    assert answer.read(100) == truth[:100]
    sock = client.connection.sock
    assert isinstance(sock, socket.socket)
    sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        answer.read(1)
    go_on.set()


def test_slow(faulty_registry: FaultyRegistry, client: Client, truth: bytes) -> None:
    faulty_registry.script("GET", "/blobs/", slow(len(truth) * 10))
    assert client.body() == truth


@pytest.mark.parametrize("after", ["1", None, "a date"])
def test_too_many_requests(faulty_registry: FaultyRegistry, client: Client, after: str | None) -> None:
    sent = http_date(2) if after == "a date" else after
    faulty_registry.script("GET", "/blobs/", too_many_requests(sent))
    answer = client.ask()
    assert (answer.status, answer.headers["Retry-After"]) == (429, sent)
    assert after != "a date" or parsedate_to_datetime(str(sent)).utcoffset() is not None


def test_fails_twice_works_fails_for_good(faulty_registry: FaultyRegistry, client: Client) -> None:
    faulty_registry.script("GET", "/blobs/", status(503), status(503), honest, status(500), forever=True)
    seen = []
    for _ in range(6):
        answer = client.ask()
        answer.read()
        seen.append(answer.status)
    assert seen == [503, 503, 200, 500, 500, 500]
    assert len(faulty_registry.asked("GET", "/blobs/")) == 6


@pytest.mark.parametrize(
    ("fault", "right_size"),
    [(wrong_bytes, True), (more_bytes(3), False), (fewer_bytes(3), False)],
    ids=["other", "longer", "shorter"],
)
def test_wrong_content(
    faulty_registry: FaultyRegistry, client: Client, truth: bytes, fault: Fault, right_size: bool
) -> None:
    faulty_registry.script("GET", "/blobs/", fault)
    answer = client.ask()
    body = answer.read()
    assert body != truth
    assert (len(body) == len(truth)) is right_size
    assert int(answer.headers["Content-Length"]) == len(body)


def test_wrong_length(faulty_registry: FaultyRegistry, client: Client, truth: bytes) -> None:
    faulty_registry.script("GET", "/blobs/", wrong_length(10), wrong_length(len(truth) + 10))
    assert client.body() == truth[:10]
    with pytest.raises(IncompleteRead):
        client.body()


def test_headers(faulty_registry: FaultyRegistry, client: Client) -> None:
    faulty_registry.script("GET", "/manifests/", headers(Content_Type="text/plain", Docker_Content_Digest=None))
    answer = client.ask(path="/v2/busybox/manifests/1.36")
    assert (answer.headers["Content-Type"], answer.headers["Docker-Content-Digest"]) == ("text/plain", None)


def test_ranges_go_wrong(faulty_registry: FaultyRegistry, client: Client, truth: bytes) -> None:
    faulty_registry.script("GET", "/blobs/", ignore_range, wrong_range(7))
    answer = client.ask(Range="bytes=1000-")
    assert (answer.status, answer.headers["Content-Range"], answer.read()) == (200, None, truth)
    answer = client.ask(Range="bytes=1000-")
    assert (answer.status, answer.read()) == (206, truth[993:])
    assert answer.headers["Content-Range"] == f"bytes 993-{len(truth) - 1}/{len(truth)}"


def test_huge_manifest(faulty_registry: FaultyRegistry, client: Client) -> None:
    faulty_registry.script("GET", "/manifests/", huge(8 << 20))
    answer = client.ask(path="/v2/busybox/manifests/1.36")
    assert sum(len(chunk) for chunk in iter(lambda: answer.read(65536), b"")) == 8 << 20


def test_pages_and_challenges(faulty_registry: FaultyRegistry, client: Client) -> None:
    faulty_registry.script("GET", "/v2/", html_error(), unauthorized('Bearer realm="'), unauthorized(None))
    answer = client.ask(path="/v2/")
    assert (answer.status, answer.headers["Content-Type"]) == (502, "text/html")
    assert answer.read().startswith(b"<html>")
    challenges = []
    for _ in range(2):
        answer = client.ask(path="/v2/")
        answer.read()
        challenges.append((answer.status, answer.headers["WWW-Authenticate"]))
    assert challenges == [(401, 'Bearer realm="'), (401, None)]


def test_redirect_to_another_host_records_the_credentials(
    faulty_registry: FaultyRegistry, client: Client, truth: bytes, digest: str
) -> None:
    faulty_registry.script("GET", "/blobs/", redirect_to_host(faulty_registry.elsewhere))
    answer = client.ask(Authorization="Bearer secret")
    answer.read()
    location = answer.headers["Location"]
    assert (answer.status, location) == (307, f"http://{faulty_registry.elsewhere}{client.blob}")
    other = Client(faulty_registry.elsewhere, digest)
    assert other.body() == truth
    other.connection.close()
    first, second = faulty_registry.asked("GET", "/blobs/")
    assert (first.host, first.headers["authorization"]) == (faulty_registry.address, "Bearer secret")
    assert (second.host, second.headers["authorization"]) == (faulty_registry.elsewhere, None)


def test_redirect_loop(faulty_registry: FaultyRegistry, client: Client) -> None:
    faulty_registry.script("GET", "/blobs/", redirect(), forever=True)
    for _ in range(3):
        answer = client.ask()
        answer.read()
        assert (answer.status, answer.headers["Location"]) == (307, client.blob)


def test_head_can_be_refused(faulty_registry: FaultyRegistry, client: Client) -> None:
    faulty_registry.script("HEAD", "/manifests/", status(405), forever=True)
    assert client.ask("HEAD", "/v2/busybox/manifests/1.36").status == 405
    assert client.ask("GET", "/v2/busybox/manifests/1.36").status == 200
