"""Blobs: whole, from an offset, and where the connection breaks."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from polyarch.errors import IntegrityError, NotFoundError, UnauthorizedError, UnreachableError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.oci.document import Manifest
from polyarch.reference import Reference, parse_reference
from polyarch.registry.client import DistributionRegistry
from support import faults
from support.docker_registry import DockerRegistry
from support.faulty_registry import FaultyRegistry
from support.registry_client import Connect

BLOBS = "/blobs/"


def _largest_layer(client: DistributionRegistry, reference: Reference) -> Descriptor:
    manifest = client.get(reference)
    assert isinstance(manifest, Manifest)
    return max(manifest.layers, key=lambda layer: layer.size)


def _read(client: DistributionRegistry, reference: Reference, blob: Descriptor, offset: int = 0) -> tuple[int, bytes]:
    with client.open_blob(reference, blob, offset) as stream:
        return stream.offset, b"".join(bytes(chunk) for chunk in stream.chunks)


def _drain(chunks: Iterable[bytes | memoryview], into: bytearray) -> None:
    for chunk in chunks:
        into += chunk


def test_a_blob_from_the_real_registry(connect: Connect, registry: DockerRegistry) -> None:
    client = connect().registry
    reference = parse_reference(registry.ref("single:1.0"))
    blob = _largest_layer(client, reference)
    offset, whole = _read(client, reference, blob)
    assert (offset, len(whole), digest_of(whole)) == (0, blob.size, blob.digest)
    before = len(registry.access_log())
    assert _read(client, reference, blob, 1000) == (1000, whole[1000:])
    assert [access.status for access in registry.access_log()[before:]] == [206]
    assert _read(client, reference, blob, blob.size) == (0, whole)  # 416, then without a range


def test_a_missing_blob_is_named(connect: Connect, registry: DockerRegistry) -> None:
    reference = parse_reference(registry.ref("single:1.0"))
    with pytest.raises(NotFoundError, match="has no blob 000000000000 in single"):
        _read(connect().registry, reference, Descriptor("x", f"sha256:{'0' * 64}", 5))


def _served(faulty_registry: FaultyRegistry) -> tuple[Reference, Descriptor, bytes]:
    digest = faulty_registry.layout.names["single:1.0"]["digest"]
    layer = max(faulty_registry.layout.layers(digest), key=lambda layer: layer["size"])
    content = faulty_registry.layout.path(layer["digest"]).read_bytes()
    blob = Descriptor(layer["mediaType"], layer["digest"], layer["size"])
    return parse_reference(faulty_registry.ref("single:1.0")), blob, content


@pytest.mark.parametrize(
    ("fault", "begins", "requests"),
    [
        (faults.honest, 1000, 1),
        (faults.ignore_range, 0, 1),
        (faults.wrong_range(1000), 0, 1),  # all of it, as a range
        (faults.wrong_range(1), 0, 2),
        (faults.headers(Content_Range=None), 0, 2),
        (faults.headers(Content_Range="bytes 1000-1999/2000"), 0, 2),
        (faults.headers(Content_Range="lines 1-2/3"), 0, 2),
        (faults.status(416), 0, 2),
    ],
)
def test_an_offset(
    connect: Connect, faulty_registry: FaultyRegistry, fault: faults.Fault, begins: int, requests: int
) -> None:
    reference, blob, content = _served(faulty_registry)
    faulty_registry.script("GET", BLOBS, fault)
    assert _read(connect().registry, reference, blob, 1000) == (begins, content[begins:])
    asked = faulty_registry.asked("GET", BLOBS)
    assert [request.headers["Range"] for request in asked] == ["bytes=1000-", None][:requests]


def test_a_part_that_was_not_asked_for_is_refused(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    reference, blob, _ = _served(faulty_registry)
    faulty_registry.script("GET", BLOBS, faults.status(206, b"part", Content_Range="bytes 5-8/9"))
    with pytest.raises(IntegrityError, match="answered 206, with something else than blob"):
        _read(connect().registry, reference, blob)


def test_a_blob_that_breaks_off_says_so_and_can_be_resumed(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    reference, blob, content = _served(faulty_registry)
    faulty_registry.script("GET", BLOBS, faults.cut_after(50_000))
    client = connect().registry
    received = bytearray()
    with client.open_blob(reference, blob) as stream:
        with pytest.raises(UnreachableError, match=f"^{reference}: registry .* broke off") as caught:
            _drain(stream.chunks, received)
    assert caught.value.details["reference"] == str(reference)
    assert len(received) == 50_000
    offset, rest = _read(client, reference, blob, len(received))
    assert (offset, bytes(received) + rest) == (50_000, content)


def test_a_stalled_blob_is_cut(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    reference, blob, _ = _served(faulty_registry)
    faulty_registry.script("GET", BLOBS, faults.stall_after(50_000))
    with connect(read_timeout=0.2).registry.open_blob(reference, blob) as stream:
        with pytest.raises(UnreachableError, match="nothing more came"):
            list(stream.chunks)


def test_a_busy_registry_is_asked_again(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    reference, blob, content = _served(faulty_registry)
    faulty_registry.script("GET", BLOBS, faults.status(503), faults.too_many_requests("0"), faults.html_error())
    assert _read(connect().registry, reference, blob) == (0, content)
    assert len(faulty_registry.asked("GET", BLOBS)) == 4


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (faults.status(403), UnauthorizedError, "refuses the blob"),
        (faults.html_error(500), UnreachableError, "a web page titled 'Bad Gateway'"),
        (faults.status(204), IntegrityError, "answered 204"),
    ],
)
def test_a_refusal(
    connect: Connect, faulty_registry: FaultyRegistry, fault: faults.Fault, error: type[Exception], says: str
) -> None:
    reference, blob, _ = _served(faulty_registry)
    faulty_registry.script("GET", BLOBS, fault, forever=True)
    with pytest.raises(error, match=says):
        _read(connect(retries=1).registry, reference, blob)


def test_what_the_caller_raises_comes_out_as_it_is(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    reference, blob, _ = _served(faulty_registry)
    with pytest.raises(KeyError, match="mine"), connect().registry.open_blob(reference, blob):
        raise KeyError("mine")


def test_many_threads_share_a_client(connect: Connect, registry: DockerRegistry) -> None:
    client = connect().registry
    reference = parse_reference(registry.ref("single:1.0"))
    blob = _largest_layer(client, reference)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: digest_of(_read(client, reference, blob)[1]), range(24)))
    assert set(results) == {blob.digest}


def test_closing_ends_who_waits(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    reference, blob, _ = _served(faulty_registry)
    faulty_registry.script("GET", BLOBS, faults.stall_after(50_000))
    connected = connect(read_timeout=60.0)
    waiting = threading.Event()
    ended: list[Exception] = []

    def read() -> None:
        try:
            with connected.registry.open_blob(reference, blob) as stream:
                received = 0
                for chunk in stream.chunks:
                    received += len(chunk)
                    if received == 50_000:
                        waiting.set()
        except UnreachableError as error:
            ended.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert waiting.wait(20)
    connected.http.close()
    thread.join(20)
    assert not thread.is_alive()
    assert len(ended) == 1
    with pytest.raises(UnreachableError, match="closed here"):
        connected.registry.get(reference)
