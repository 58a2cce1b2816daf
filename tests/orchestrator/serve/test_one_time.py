"""Images under paths that nobody can guess: what may be read, what is counted, how they end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from polyarch.contract.storage import Image
from polyarch.errors import HostError, NotFoundError, PolyarchError, StorageError
from polyarch.oci.digest import digest_of
from polyarch.oci.document import Manifest, parse_document
from polyarch.oci.media_types import OCI_MANIFEST
from polyarch.serve.one_time import OneTimeServer
from support.processes import await_true
from support.small_images import SmallStorage, encoded

LAYER = b"a layer, if only by its name" * 1000
HUGE = 64 << 20
"""More than all buffers between two ends of a connection hold."""


@pytest.fixture
def storage(tmp_path: Path) -> SmallStorage:
    return SmallStorage(tmp_path)


@pytest.fixture
def image(storage: SmallStorage) -> Image:
    return storage.manifest("linux/arm64", [LAYER])


@pytest.fixture
def server() -> Iterator[OneTimeServer]:
    with OneTimeServer() as made:
        yield made


def sparse(storage: SmallStorage, size: int) -> Image:
    """An image whose layer is a hole of this size, under a digest that is none of it."""
    image = storage.manifest("linux/arm64", [b"sparse"])
    layer = replace(image.manifest.layers[0], size=size)
    with storage.path(layer.digest).open("r+b") as file:
        file.truncate(size)
    return replace(image, manifest=replace(image.manifest, layers=(layer,)))


def begin(port: int, path: str, method: str = "GET", **headers: str) -> HTTPResponse:
    """An answer whose body is still to come."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


def ask(server: OneTimeServer, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, HTTPResponse]:
    answer = begin(server.port, path, method, **headers)
    with answer:
        return answer.status, answer.read(), answer


def test_a_device_can_pull_its_images_and_nothing_else(
    server: OneTimeServer, storage: SmallStorage, image: Image
) -> None:
    second = storage.manifest("linux/amd64", [LAYER, b"another"])
    beside = storage.manifest("linux/s390x", [b"of another device"])
    path = server.admit([image, second], storage)
    assert re.fullmatch(r"polyarch/[0-9a-f]{32}", path)
    other = server.admit([beside], storage)
    assert other != path
    for each in (image, second):
        manifest = each.manifest
        for digest in (manifest.digest, digest_of(manifest.raw, "sha512")):
            status, body, answer = ask(server, f"/v2/{path}/manifests/{digest}")
            assert (status, body, answer.headers["Content-Type"]) == (200, manifest.raw, OCI_MANIFEST)
            assert answer.headers["Docker-Content-Digest"] == digest
        for blob in manifest.blobs:
            status, body, answer = ask(server, f"/v2/{path}/blobs/{blob.digest}")
            assert (status, digest_of(body), answer.headers["Docker-Content-Digest"]) == (200, blob.digest, blob.digest)
    layer, manifest = beside.manifest.layers[0].digest, image.manifest.digest
    for refused in (
        "/",
        "/v2",
        "/v2/_catalog",
        f"/v2/{path}",
        f"/v2/{path}/tags/list",
        f"/v2/{path}/manifests/latest",
        f"/v2/{path}/manifests/sha1:00",
        f"/v2/{path}/manifests/{beside.manifest.digest}",
        f"/v2/{path}/blobs/{layer}",
        f"/v2/{path}/blobs/{manifest}",
        f"/v2/{path}/referrers/{manifest}",
        f"/v2/{path.upper()}/manifests/{manifest}",
        f"/v2/{path[:-1]}/manifests/{manifest}",
        f"/v2/{path}0/manifests/{manifest}",
        f"/v2/x/{path}/manifests/{manifest}",
        f"/v2/polyarch/manifests/{manifest}",
        f"/v2/{other}/manifests/{manifest}",
        f"/v2/{path}/blobs/..%2f..%2fetc%2fpasswd",
    ):
        assert ask(server, refused)[0] == 404, refused
    assert ask(server, "/v2/")[:2] == (200, b"{}")
    assert ask(server, "/v2/", "POST")[0] == 501


def test_other_digests_of_a_manifest_do(server: OneTimeServer, storage: SmallStorage) -> None:
    """Layers and configs are asked for by the digest that the manifest names."""
    plain = storage.manifest("linux/amd64", [LAYER])
    digest, config = digest_of(LAYER, "sha512"), digest_of(plain.config.raw, "sha512")
    storage.path(digest).write_bytes(LAYER)
    layer = replace(plain.manifest.layers[0], digest=digest)
    stated = replace(plain.manifest.config, digest=config)
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": stated.to_json(), "layers": [layer.to_json()]}
    manifest = parse_document(encoded(document))
    assert isinstance(manifest, Manifest)
    path = server.admit([replace(plain, manifest=manifest)], storage)
    assert ask(server, f"/v2/{path}/blobs/{digest}")[1] == LAYER
    assert ask(server, f"/v2/{path}/blobs/{config}")[1] == plain.config.raw


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        ("bytes=10-", 206, 10, None),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=-5", 206, -5, None),
        (f"bytes={len(LAYER) - 1}-", 206, len(LAYER) - 1, None),
        ("bytes=0-999999999", 206, 0, None),
        ("bytes=1-2,5-6", 200, 0, None),
        ("lines=1-2", 200, 0, None),
        (f"bytes={len(LAYER)}-", 416, 0, 0),
    ],
)
def test_a_broken_transfer_goes_on(
    asked: str, status: int, first: int, last: int | None, server: OneTimeServer, storage: SmallStorage, image: Image
) -> None:
    path = server.admit([image], storage)
    blob = f"/v2/{path}/blobs/{image.manifest.layers[0].digest}"
    got, body, answer = ask(server, blob, Range=asked)
    assert got == status
    if status == 416:
        assert answer.headers["Content-Range"] == f"bytes */{len(LAYER)}"
        assert server.sent(path) == 0
        return
    assert body == LAYER[first:last]
    assert server.sent(path) == len(body)
    if status == 206:
        begins = first % len(LAYER)
        assert answer.headers["Content-Range"] == f"bytes {begins}-{begins + len(body) - 1}/{len(LAYER)}"
    tag = answer.headers["ETag"]
    assert ask(server, blob, Range=asked, If_Range=tag)[0] == status
    assert ask(server, blob, Range=asked, If_Range='"another"')[:2] == (200, LAYER)


def test_bytes_of_bodies_are_counted(server: OneTimeServer, storage: SmallStorage, image: Image) -> None:
    path, other = server.admit([image], storage), server.admit([image], storage)
    manifest = image.manifest
    assert (server.sent(path), server.asked(path)) == (0, False)
    for kind, digest in (("manifests", manifest.digest), *(("blobs", blob.digest) for blob in manifest.blobs)):
        assert ask(server, f"/v2/{path}/{kind}/{digest}", "HEAD")[1] == b""
    assert (server.sent(path), server.asked(path)) == (0, True)
    ask(server, f"/v2/{path}/manifests/{digest_of(b'nothing')}")
    assert server.sent(path) == 0
    ask(server, f"/v2/{path}/manifests/{manifest.digest}")
    assert server.sent(path) == len(manifest.raw)
    for blob in manifest.blobs:
        ask(server, f"/v2/{path}/blobs/{blob.digest}")
    assert server.sent(path) == len(manifest.raw) + manifest.size
    assert (server.sent(other), server.asked(other)) == (0, False)
    with pytest.raises(KeyError):
        server.sent("polyarch/unknown")


def test_an_answer_on_its_way_is_counted_and_can_be_cut(server: OneTimeServer, storage: SmallStorage) -> None:
    image = sparse(storage, HUGE)
    path, other = server.admit([image], storage), server.admit([image], storage)
    blob = f"blobs/{image.manifest.layers[0].digest}"
    answer, untouched = begin(server.port, f"/v2/{path}/{blob}"), begin(server.port, f"/v2/{other}/{blob}")
    with answer, untouched:
        read = len(answer.read(1 << 20))
        await_true(lambda: server.sent(path) >= read, "what was read is counted")
        assert server.sent(path) < HUGE
        server.dismiss(path)
        while chunk := answer.read1(1 << 20):
            read += len(chunk)
        assert 1 << 20 <= read <= server.sent(path) < HUGE
        assert ask(server, f"/v2/{path}/{blob}")[0] == 404
        assert ask(server, f"/v2/{path}/manifests/{image.manifest.digest}")[0] == 404
        server.dismiss(path)
        assert len(untouched.read()) == HUGE
    assert server.sent(other) == HUGE


def test_a_connection_that_has_turned_to_another_path_is_not_cut(
    server: OneTimeServer, storage: SmallStorage, image: Image
) -> None:
    path, other = server.admit([image], storage), server.admit([image], storage)
    connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.connect()
    kept = connection.sock
    for each in (path, other):
        connection.request("GET", f"/v2/{each}/manifests/{image.manifest.digest}")
        assert connection.getresponse().read() == image.manifest.raw
    server.dismiss(path)
    connection.request("GET", f"/v2/{other}/manifests/{image.manifest.digest}")
    assert connection.getresponse().read() == image.manifest.raw
    assert connection.sock is kept
    server.dismiss(other)
    assert kept.recv(1) == b""  # one that waits for nothing is closed
    connection.close()


def test_leaving_ends_all(storage: SmallStorage) -> None:
    image = sparse(storage, HUGE)
    with OneTimeServer() as server:
        path = server.admit([image], storage)
        port = server.port
        answer = begin(port, f"/v2/{path}/blobs/{image.manifest.layers[0].digest}")
        idle = socket.create_connection(("127.0.0.1", port), timeout=60)
        assert len(answer.read(1 << 20)) == 1 << 20
        assert ask(server, "/v2/")[0] == 200  # and so the idle one was taken before
    with answer, idle:
        rest = 0
        while chunk := answer.read1(1 << 20):
            rest += len(chunk)
        assert rest < HUGE - (1 << 20)
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            begin(port, "/v2/")


def gone(path: Path) -> None:
    path.unlink()


def shorter(path: Path) -> None:
    path.write_bytes(LAYER[:-1])


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(("break_it", "kind"), [(gone, NotFoundError), (shorter, StorageError), (a_pipe, StorageError)])
def test_a_file_that_cannot_be_given_out_is_told(
    break_it: Callable[[Path], None],
    kind: type[PolyarchError],
    server: OneTimeServer,
    storage: SmallStorage,
    image: Image,
) -> None:
    path, other = server.admit([image], storage), server.admit([image], storage)
    digest = image.manifest.layers[0].digest
    break_it(storage.path(digest))
    assert server.fault(path) is None
    assert ask(server, f"/v2/{path}/blobs/{digest}")[0] == 404
    assert isinstance(server.fault(path), kind)
    assert server.fault(other) is None


def test_a_file_that_gets_shorter_while_it_is_sent(server: OneTimeServer, storage: SmallStorage) -> None:
    image = sparse(storage, HUGE)
    digest = image.manifest.layers[0].digest
    path = server.admit([image], storage)
    with begin(server.port, f"/v2/{path}/blobs/{digest}") as answer:
        read = len(answer.read(1 << 20))
        os.truncate(storage.path(digest), 1 << 20)
        while chunk := answer.read1(1 << 20):
            read += len(chunk)
    assert read < HUGE
    fault = server.fault(path)
    assert isinstance(fault, StorageError)
    assert "shorter" in fault.message


def test_a_file_system_without_sendfile(
    server: OneTimeServer, storage: SmallStorage, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr("os.sendfile", refuse)
    path = server.admit([image], storage)
    blob = f"/v2/{path}/blobs/{image.manifest.layers[0].digest}"
    assert ask(server, blob)[1] == LAYER
    assert ask(server, blob, Range="bytes=7-")[1] == LAYER[7:]
    assert server.sent(path) == 2 * len(LAYER) - 7


class Limit:
    """Notes what is taken."""

    piece = 1000

    def __init__(self) -> None:
        self.taken: list[int] = []

    def take(self, count: int) -> None:
        self.taken.append(count)


def test_what_is_sent_is_taken_from_the_limit_first(storage: SmallStorage, image: Image) -> None:
    limit = Limit()
    with OneTimeServer(limit) as server:
        path = server.admit([image], storage)
        blob = f"/v2/{path}/blobs/{image.manifest.layers[0].digest}"
        assert ask(server, blob)[1] == LAYER
        assert sum(limit.taken) == server.sent(path) == len(LAYER)
        assert max(limit.taken) == Limit.piece
        assert ask(server, blob, Range="bytes=-2500")[1] == LAYER[-2500:]
        assert limit.taken[-3:] == [1000, 1000, 500]
        ask(server, blob, "HEAD")
        ask(server, f"/v2/{path}/manifests/{image.manifest.digest}")
        assert sum(limit.taken) == server.sent(path) == len(LAYER) + 2500 + len(image.manifest.raw)


def test_nothing_is_logged(
    server: OneTimeServer, storage: SmallStorage, image: Image, capfd: pytest.CaptureFixture[str]
) -> None:
    path = server.admit([image], storage)
    ask(server, f"/v2/{path}/manifests/{image.manifest.digest}")
    ask(server, f"/v2/{path}/manifests/none")
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(b"\x16\x03\x01 hello\n")  # podman tries TLS first, and wants to be told soon
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    with begin(server.port, f"/v2/{path}/blobs/{image.manifest.layers[0].digest}"):
        pass
    assert capfd.readouterr() == ("", "")


def test_it_listens_on_loopback_alone(server: OneTimeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server._server.server_address[0] == "127.0.0.1"

    def refuse(*_: object) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr("socket.socket.bind", refuse)
    with pytest.raises(HostError, match="cannot listen"), OneTimeServer():
        pass


class Process:
    """The server in a process of its own, so that its memory can be told from that of the tests."""

    def __init__(self, folder: Path, size: int) -> None:
        program = [sys.executable, __file__, str(folder), str(size)]
        here = Path(__file__).parents[2]
        environment = os.environ | {"PYTHONPATH": str(here)}
        self._process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True, env=environment)
        assert self._process.stdout is not None
        port, self.blob = self._process.stdout.readline().split()
        self.port = int(port)

    def memory(self) -> int:
        """The most bytes that were resident so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+([0-9]+) kB", status)[1]) * 1024  # type: ignore[index]

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


def serve(folder: Path, size: int) -> None:
    """What the process does."""
    storage = SmallStorage(folder)
    image = sparse(storage, size)
    with OneTimeServer() as server:
        path = server.admit([image], storage)
        print(server.port, f"/v2/{path}/blobs/{image.manifest.layers[0].digest}", flush=True)
        signal.pause()


def downloaded(folder: Path, threads: int, size: int) -> int:
    """The bytes by which a server's memory grows while so many threads download a blob of this size at once."""
    process = Process(folder, size)
    try:
        with begin(process.port, process.blob, "HEAD"):
            before = process.memory()
        counts: list[int] = []
        all_here = threading.Barrier(threads)

        def one() -> None:
            with begin(process.port, process.blob) as answer:
                all_here.wait(60)  # every answer is open before the first goes on
                buffer, count = bytearray(1 << 18), 0
                while more := answer.readinto(buffer):
                    count += more
                counts.append(count)

        clients = [threading.Thread(target=one) for _ in range(threads)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert counts == [size] * threads
        return process.memory() - before
    finally:
        process.stop()


def test_a_hundred_downloads_at_once_take_no_memory(tmp_path: Path) -> None:
    assert downloaded(tmp_path, 100, 8 << 20) < 32 << 20


@pytest.mark.soak
def test_a_gibibyte_takes_no_memory(tmp_path: Path, count: Callable[[int, int], int]) -> None:
    assert downloaded(tmp_path, 4, count(16 << 20, 1 << 30)) < 4 << 20


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
