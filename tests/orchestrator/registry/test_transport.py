"""What the transport does beneath every request: connections, proxies, faults of the network."""

from __future__ import annotations

import base64
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import httpcore
import pytest

from polyarch.errors import UnreachableError, UsageError
from polyarch.reference import parse_reference
from support import faults
from support.faulty_registry import FaultyRegistry
from support.processes import free_port
from support.registry_client import Connect

LONG = b"x" * (8 << 20)


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts that were connected to, one for each connection."""
    opened: list[str] = []
    connect_tcp = httpcore.SyncBackend.connect_tcp

    def counted(self: httpcore.SyncBackend, host: str, *arguments: object) -> httpcore.NetworkStream:
        opened.append(host)
        return connect_tcp(self, host, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", counted)
    return opened


def test_one_connection_serves_many_requests(
    connect: Connect, faulty_registry: FaultyRegistry, connections: list[str]
) -> None:
    faulty_registry.script(
        "GET", "/manifests/", faults.status(503, b"x" * 60_000), faults.redirect("/v2/single/manifests/1.0")
    )
    client = connect().registry
    for name in ("busybox:1.36", "single:1.0", "busybox:1.36"):
        client.head(parse_reference(faulty_registry.ref(name)))
        client.get(parse_reference(faulty_registry.ref(name)))
    assert len(faulty_registry.requests) == 8
    assert connections == ["127.0.0.1"]


@pytest.mark.parametrize(
    "answer", [faults.status(503, LONG), faults.status(307, LONG, Location="/v2/single/manifests/1.0")]
)
def test_a_long_unwanted_body_is_not_read(
    connect: Connect, faulty_registry: FaultyRegistry, connections: list[str], answer: faults.Fault
) -> None:
    faulty_registry.script("GET", "/manifests/", answer)
    connect().registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert len(connections) == 2


def test_a_connection_that_the_server_closed_is_replaced(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", "/manifests/", faults.headers(Connection="close"), forever=True)
    connected = connect(retries=0)
    for _ in range(3):
        assert connected.registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))


def test_plain_http_goes_through_its_proxy(
    connect: Connect, faulty_registry: FaultyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:pass%20word@{faulty_registry.address}")
    with connect().http.request("GET", "http://registry.example/v2/single/manifests/1.0") as reply:
        assert reply.status == 404 or reply.read(1 << 20)
    (request,) = faulty_registry.requests
    assert request.target == "http://registry.example/v2/single/manifests/1.0"
    assert request.headers["Host"] == "registry.example"
    assert request.headers["Proxy-Authorization"] == "Basic " + base64.b64encode(b"me:pass word").decode()


def test_https_asks_its_proxy_for_a_tunnel(
    connect: Connect, faulty_registry: FaultyRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{faulty_registry.address}")
    with pytest.raises(UnreachableError, match="the proxy refused it: 501") as caught:
        connect().registry.get(parse_reference("registry.example/a:1"))
    assert "secret" not in str(caught.value) + str(caught.value.hint)


@pytest.mark.parametrize(
    "proxy", ["ftp://me:secret@a", "http://me:secret@", "http://me:secret@a:x", "socks5://me:secret@a"]
)
def test_a_proxy_that_is_none_is_told_without_its_password(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(UsageError, match=r"no proxy's URL|a SOCKS proxy") as caught:
        connect(retries=0).registry.get(parse_reference("registry.example/a:1"))
    assert "secret" not in str(caught.value) + str(caught.value.hint)


def test_a_proxy_that_is_not_there_is_named(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{free_port()}")
    with pytest.raises(UnreachableError, match=r"through the proxy 127\.0\.0\.1\): connection refused") as caught:
        connect(retries=0).registry.get(parse_reference("registry.example/a:1"))
    assert "secret" not in str(caught.value) + str(caught.value.hint)


def test_nobody_listens(connect: Connect) -> None:
    address = f"127.0.0.1:{free_port()}"
    connected = connect(retries=2)
    with pytest.raises(
        UnreachableError, match=f"^{address}/a:1: registry {address} cannot be reached: connection refused"
    ):
        connected.registry.get(parse_reference(f"{address}/a:1"))
    assert len(connected.warnings) == 2


def test_a_host_that_does_not_exist(connect: Connect) -> None:
    with pytest.raises(UnreachableError, match=r"no host of that name|cannot be looked up") as caught:
        connect(retries=0).registry.get(parse_reference("no-such-host.invalid/a:1"))
    assert caught.value.hint


Serve = Callable[[bytes], str]


@pytest.fixture
def serve_bytes() -> Iterator[Serve]:
    """Bytes -> the address of a server that says them to everybody and closes."""
    listeners: list[socket.socket] = []

    def make(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return "{}:{}".format(*listener.getsockname())

    yield make
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Field: " + b"a" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        bytes(range(256)) * 10,
    ],
)
def test_what_is_no_http_is_a_fault_of_the_network(connect: Connect, serve_bytes: Serve, answer: bytes) -> None:
    address = serve_bytes(answer)
    with pytest.raises(UnreachableError, match=f"registry {address} cannot be reached") as caught:
        connect(retries=1).registry.get(parse_reference(f"{address}/a:1"))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("location", [b"http://[", b"//", b"\xff\xfe", b"http://a:b:c/", b"http://" + b"a" * 5000])
def test_a_location_of_rubbish(connect: Connect, serve_bytes: Serve, location: bytes) -> None:
    address = serve_bytes(b"HTTP/1.1 307 X\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n")
    with pytest.raises(UnreachableError):
        connect(retries=0).registry.get(parse_reference(f"{address}/a:1"))


@pytest.mark.parametrize("url", ["", "a", "ftp://a/", "http://user:pw@a/", "http://a b/"])
def test_a_plugin_asks_for_no_url(connect: Connect, url: str) -> None:
    with pytest.raises(UsageError, match="cannot be asked"), connect().http.request("GET", url):
        pass


def test_a_registry_that_is_none(connect: Connect) -> None:
    from polyarch.contract.registry import Endpoint
    from polyarch.registry.client import DistributionRegistry

    http = connect().http
    client = DistributionRegistry(http, lambda reference: Endpoint("a b", "x", "y"))
    with pytest.raises(UsageError, match="is no registry"):
        client.get(parse_reference("a.example/x"))


def test_the_socket_is_read_in_large_pieces() -> None:
    import httpcore

    from polyarch.registry import sockets
    from polyarch.registry.watch import Watch

    asked: list[int] = []

    class Watched(httpcore.NetworkStream):
        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            asked.append(max_bytes)
            return b""

        def get_extra_info(self, info: str) -> object:
            return None

    sockets.Stream(Watched(), set(), Watch()).read(64 << 10)  # type: ignore[arg-type]
    assert asked[0] >= 256 << 10  # httpx alone asks for 64 KiB


def test_nothing_of_httpx_is_loaded_before_the_first_request() -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from polyarch.registry.services import registry_services\n"
        "from polyarch.settings import Settings\n"
        "with registry_services(Settings(root=Path('/x')), print) as services:\n"
        "    services.distribution(lambda reference: reference)\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('httpx', 'httpcore', 'h2')])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
