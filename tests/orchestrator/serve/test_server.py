"""The server as a process: its start, its end, its load, its errors."""

from __future__ import annotations

import hashlib
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import pytest

from polyarch.errors import HostError
from polyarch.serve.server import serve_forever, serving
from support.processes import await_true
from support.small_images import SmallStorage

TESTS = Path(__file__).parents[2]
SERVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from support.small_images import SmallStorage
from polyarch.serve.server import serve_forever
storage = SmallStorage(Path(sys.argv[2]))
storage.add("big:1", [storage.manifest("linux/amd64", [Path(sys.argv[3]).read_bytes()])])
serve_forever(storage, "127.0.0.1", 0, lambda address: print(address, flush=True))
print("ended", flush=True)
"""
MIB = 1 << 20


@contextmanager
def server_process(storage: SmallStorage, layer: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that serves one image with one layer, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(TESTS), str(storage.folder), str(layer)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def big_layer(tmp_path: Path) -> Path:
    """A file of 16 MiB that does not repeat itself every so many bytes."""
    path = tmp_path / "big"
    path.write_bytes(b"".join(i.to_bytes(8, "little") for i in range(2 * MIB)))
    return path


def digest_of_file(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def peak_memory(pid: int) -> int:
    """The most bytes that a process had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def test_a_hundred_downloads_at_once_in_little_memory(small_storage: SmallStorage, big_layer: Path) -> None:
    digest = digest_of_file(big_layer)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with server_process(small_storage, big_layer) as (process, address):
        before = peak_memory(process.pid)
        all_connected = threading.Barrier(100)

        def download(_: int) -> str:
            connection = HTTPConnection(address, timeout=300)
            connection.request("GET", f"/v2/big/blobs/{digest}")
            with connection.getresponse() as response:
                all_connected.wait(timeout=300)
                taken = hashlib.sha256()
                while chunk := response.read(MIB):
                    taken.update(chunk)
            connection.close()
            return f"sha256:{taken.hexdigest()}"

        with ThreadPoolExecutor(100) as clients:
            assert set(clients.map(download, range(100))) == {digest}
        assert peak_memory(process.pid) - before < 150 * MIB, "16 MiB each would be 1,600"
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(small_storage: SmallStorage, big_layer: Path, number: signal.Signals) -> None:
    with server_process(small_storage, big_layer) as (process, address):
        idle = socket.create_connection(address.split(":"))
        busy = HTTPConnection(address, timeout=30)
        busy.request("GET", f"/v2/big/blobs/{digest_of_file(big_layer)}")
        busy.getresponse().read(10)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        idle.close()
        busy.close()
    assert (process.returncode, out, err) == (0, "ended\n", "")


def test_a_client_that_goes_away_leaves_no_open_file(small_storage: SmallStorage, big_layer: Path) -> None:
    digest = digest_of_file(big_layer)

    def blobs_open(pid: int) -> int:
        return sum("sha256-" in str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink())

    with server_process(small_storage, big_layer) as (process, address):
        connection = HTTPConnection(address, timeout=30)
        connection.request("GET", f"/v2/big/blobs/{digest}")
        connection.getresponse().read(10)
        assert blobs_open(process.pid) == 1
        connection.close()
        assert connection.sock is None
        await_true(lambda: blobs_open(process.pid) == 0, "the blob's file is closed")


def test_a_blob_that_becomes_shorter_breaks_the_connection(
    small_storage: SmallStorage, big_layer: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    small_storage.add("big:1", [small_storage.manifest("linux/amd64", [big_layer.read_bytes()])])
    digest = digest_of_file(big_layer)
    with serving(small_storage) as address:
        connection = HTTPConnection(address, timeout=30)
        connection.request("GET", f"/v2/big/blobs/{digest}")
        response = connection.getresponse()
        small_storage.path(digest).write_bytes(b"")
        with pytest.raises((IncompleteRead, ConnectionError)):
            response.read()
        connection.close()
    assert capfd.readouterr() == ("", "")


def test_a_port_in_use(small_storage: SmallStorage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match=f"127.0.0.1:{port}: Address already in use$") as caught:
            serve_forever(small_storage, "127.0.0.1", port, print)
    assert caught.value.hint == "choose another port, or port 0 for a free one"


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_here(small_storage: SmallStorage, host: str) -> None:
    with pytest.raises(HostError, match=f"cannot listen at {host}:0: "):
        serve_forever(small_storage, host, 0, print)


def test_ipv6(small_storage: SmallStorage) -> None:
    if not Path("/proc/net/if_inet6").exists() or not Path("/proc/net/if_inet6").read_text():
        pytest.skip("this machine has no IPv6 address")
    with serving(small_storage, "::1") as address:
        assert address.startswith("[::1]:")
        connection = HTTPConnection("::1", int(address.rpartition(":")[2]), timeout=30)
        connection.request("GET", "/v2/")
        assert connection.getresponse().status == 200


@pytest.mark.parametrize("module", ["starlette", "uvicorn"])
def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, module: str) -> None:
    program = f"""
import sys
sys.modules[{module!r}] = None
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from support.small_images import SmallStorage
from polyarch.errors import HostError
from polyarch.serve.server import serve_forever
try:
    serve_forever(SmallStorage(Path({str(tmp_path)!r})), "127.0.0.1", 0, print)
except HostError as error:
    print(error.message, "|", error.hint)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == f"serve needs {module}, which is not installed | pip install 'polyarch[serve]'\n"


def test_the_signal_handlers_are_put_back(small_storage: SmallStorage) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    serve_forever(small_storage, "127.0.0.1", 0, lambda address: signal.raise_signal(signal.SIGTERM))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
