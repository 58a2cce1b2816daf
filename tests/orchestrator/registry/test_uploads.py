"""Pushing blobs: whole, in chunks, mounted, and where it breaks off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from polyarch.contract.registry import BlobStream, TakesImages
from polyarch.errors import IntegrityError, UnauthorizedError, UnreachableError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.reference import Reference, parse_reference
from polyarch.registry import uploads
from support.docker_registry import DockerRegistry
from support.registry_auth import PASSWORD, USERNAME, TokenServer, write_auth_file
from support.registry_client import Connect
from support.taking_registry import TakingRegistry

CONTENT = os.urandom(1 << 20) * 3
BLOB = Descriptor("application/octet-stream", digest_of(CONTENT), len(CONTENT))


@pytest.fixture
def taking() -> Iterator[TakingRegistry]:
    server = TakingRegistry()
    yield server
    server.stop()


@dataclass(slots=True)
class Source:
    """Gives the content out in pieces of 100,000 bytes; remembers from where on it was asked for."""

    content: bytes = CONTENT
    opened: list[int] = field(default_factory=list)

    def open_at(self, offset: int) -> AbstractContextManager[BlobStream]:
        @contextmanager
        def opened() -> Iterator[BlobStream]:
            self.opened.append(offset)
            content = memoryview(self.content)
            yield BlobStream(offset, (content[i : i + 100_000] for i in range(offset, len(content), 100_000)))

        return opened()


def named(server: TakingRegistry | DockerRegistry, name: str = "made/x:1") -> Reference:
    return parse_reference(f"{server.address}/{name}")


def test_a_blob_goes_in_one_request(connect: Connect, taking: TakingRegistry) -> None:
    client, reference, source = connect().registry, named(taking), Source()
    assert isinstance(client, TakesImages)
    assert not client.has_blob(reference, BLOB)
    client.put_blob(reference, BLOB, source.open_at)
    assert client.has_blob(reference, BLOB)
    assert taking.blobs["made/x", BLOB.digest] == CONTENT
    assert source.opened == [0]
    assert not taking.requests("PATCH")
    (sent,) = taking.requests("PUT")
    assert sent.query == {"state": ["a/b"], "digest": [BLOB.digest]}
    assert sent.headers["Content-Length"] == str(BLOB.size)
    (begun,) = taking.requests("POST")
    assert (begun.query, begun.headers["Content-Length"]) == ({}, "0")
    assert not taking.requests("DELETE")


def test_the_registry_is_told_of_another_algorithm(connect: Connect, taking: TakingRegistry) -> None:
    blob = Descriptor("x", digest_of(CONTENT, "sha512"), len(CONTENT))
    connect().registry.put_blob(named(taking), blob, Source().open_at)
    (begun,) = taking.requests("POST")
    assert begun.query == {"digest-algorithm": ["sha512"]}


@pytest.mark.parametrize("answer", [204, 404, 500])
def test_an_upload_that_is_refused_is_cancelled(connect: Connect, taking: TakingRegistry, answer: int) -> None:
    taking.behaviour.refusals = [("PUT", "/uploads/", 400, {}), ("DELETE", "/uploads/", answer, {})]
    with pytest.raises(UnreachableError, match="the registry's own words"):
        connect().registry.put_blob(named(taking), BLOB, Source().open_at)
    (cancelled,), (sent,) = taking.requests("DELETE"), taking.requests("PUT")
    assert cancelled.path == sent.path
    assert cancelled.query == {"state": ["a/b"]}


def test_an_empty_blob(connect: Connect, taking: TakingRegistry) -> None:
    empty = Descriptor("x", digest_of(b""), 0)
    connect().registry.put_blob(named(taking), empty, Source(b"").open_at)
    assert taking.blobs["made/x", empty.digest] == b""


def test_what_broke_off_goes_on_where_it_was(connect: Connect, taking: TakingRegistry) -> None:
    taking.behaviour.cuts = [1_000_000, 500_000]
    source, connected = Source(), connect()
    connected.registry.put_blob(named(taking), BLOB, source.open_at)
    assert taking.blobs["made/x", BLOB.digest] == CONTENT
    assert source.opened == [0, 1_000_000, 1_500_000]
    ranges = [request.headers["Content-Range"] for request in taking.requests("PATCH")]
    assert ranges == [f"1000000-{BLOB.size - 1}", f"1500000-{BLOB.size - 1}"]
    assert len(connected.warnings) == 2


def test_what_gets_on_is_not_given_up(connect: Connect, taking: TakingRegistry) -> None:
    taking.behaviour.cuts = [200_000] * 12
    connect(retries=1).registry.put_blob(named(taking), BLOB, Source().open_at)
    assert taking.blobs["made/x", BLOB.digest] == CONTENT


def test_what_does_not_get_on_is_given_up(connect: Connect, taking: TakingRegistry) -> None:
    taking.behaviour.cuts = [0] * 50
    with pytest.raises(UnreachableError, match="cannot be reached"):
        connect(retries=2).registry.put_blob(named(taking), BLOB, Source().open_at)
    assert not taking.blobs


def test_where_nobody_knows_how_far_it_was_it_begins_again(connect: Connect, taking: TakingRegistry) -> None:
    taking.behaviour.cuts = [1_000_000]
    taking.behaviour.resumable = False
    source = Source()
    connect().registry.put_blob(named(taking), BLOB, source.open_at)
    assert taking.blobs["made/x", BLOB.digest] == CONTENT
    assert source.opened == [0, 0]


def test_a_lost_last_answer_is_not_a_lost_upload(connect: Connect, taking: TakingRegistry) -> None:
    """The blob is there, only nobody said so: it is not sent once more."""
    taking.behaviour.refusals = [("PUT", "/uploads/", 502, {})]
    taking.behaviour.resumable = False
    taking.blobs["made/x", BLOB.digest] = CONTENT
    source = Source()
    connect().registry.put_blob(named(taking), BLOB, source.open_at)
    assert len(source.opened) == 1


@pytest.mark.parametrize("least", [None, 2_000_000])
def test_too_large_for_one_request(
    connect: Connect, taking: TakingRegistry, monkeypatch: pytest.MonkeyPatch, least: int | None
) -> None:
    monkeypatch.setattr(uploads, "SMALLEST_CHUNK", 1000)
    taking.behaviour.largest = 2_000_000 if least else 700_000
    taking.behaviour.chunk_least = least
    connect().registry.put_blob(named(taking), BLOB, Source().open_at)
    assert taking.blobs["made/x", BLOB.digest] == CONTENT
    sizes = [request.body for request in taking.requests("PATCH") if request.body <= taking.behaviour.largest]
    assert max(sizes) <= taking.behaviour.largest
    if least:
        assert sizes == [2_000_000, BLOB.size - 2_000_000]


def test_too_large_even_in_the_smallest_chunk(connect: Connect, taking: TakingRegistry) -> None:
    taking.behaviour.largest = 10
    with pytest.raises(UnreachableError, match="answered 413"):
        connect().registry.put_blob(named(taking), BLOB, Source().open_at)


def test_a_registry_that_wants_another_part(connect: Connect, taking: TakingRegistry) -> None:
    taking.behaviour.cuts = [1_000_000]
    taking.behaviour.refusals = [("PATCH", "/uploads/", 416, {"Range": "0-5"})]
    connect().registry.put_blob(named(taking), BLOB, Source().open_at)
    assert taking.blobs["made/x", BLOB.digest] == CONTENT


@pytest.mark.parametrize("status", [429, 503])
def test_a_registry_that_asks_to_wait(connect: Connect, taking: TakingRegistry, status: int) -> None:
    taking.behaviour.refusals = [("POST", "", status, {"Retry-After": "0"}), ("PUT", "", status, {"Retry-After": "0"})]
    connect().registry.put_blob(named(taking), BLOB, Source().open_at)
    assert taking.blobs["made/x", BLOB.digest] == CONTENT


def test_a_login_that_ends_meanwhile(connect: Connect, taking: TakingRegistry, tmp_path: Path) -> None:
    """The registry asks who is there when all bytes have gone: they go once more, and nothing is begun anew."""
    file = write_auth_file(tmp_path / "auth.json", taking.address)
    taking.behaviour.refusals = [("PUT", "", 401, {"WWW-Authenticate": 'Basic realm="x"'})]
    source = Source()
    connect(auth_file=file).registry.put_blob(named(taking), BLOB, source.open_at)
    assert taking.blobs["made/x", BLOB.digest] == CONTENT
    assert source.opened == [0, 0]
    assert len(taking.requests("POST")) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(401, UnauthorizedError), (403, UnauthorizedError), (405, UnreachableError)]
)
def test_a_refusal_has_the_registrys_own_words(
    connect: Connect, taking: TakingRegistry, status: int, error: type[Exception]
) -> None:
    taking.behaviour.refusals = [("POST", "", status, {})] * 3
    with pytest.raises(error, match=r"the registry's own words"):
        connect().registry.put_blob(named(taking), BLOB, Source().open_at)


@pytest.mark.parametrize("kind", ["relative", "absolute", "https", "elsewhere"])
def test_where_a_location_leads(connect: Connect, taking: TakingRegistry, kind: str) -> None:
    places = {
        "relative": lambda path: path,
        "absolute": lambda path: f"http://{taking.address}{path}",
        "https": lambda path: f"https://{taking.address}{path}",  # behind a proxy that takes TLS off
        "elsewhere": lambda path: f"http://{taking.elsewhere}{path}",
    }
    taking.behaviour.place = places[kind]
    connect().registry.put_blob(named(taking), BLOB, Source().open_at)
    assert taking.blobs["made/x", BLOB.digest] == CONTENT


def test_no_credentials_go_where_a_location_leads(connect: Connect, taking: TakingRegistry, tmp_path: Path) -> None:
    file = write_auth_file(tmp_path / "auth.json", taking.address)
    taking.behaviour.refusals = [("POST", "", 401, {"WWW-Authenticate": 'Basic realm="x"'})]
    taking.behaviour.place = lambda path: f"http://{taking.elsewhere}{path}"
    connect(auth_file=file).registry.put_blob(named(taking), BLOB, Source().open_at)
    (sent,) = taking.requests("PUT")
    assert "Authorization" not in sent.headers
    assert "Authorization" in taking.requests("POST")[-1].headers


@pytest.mark.parametrize("place", ["http://169.254.169.254/latest/", "ftp://x/", "http://metadata.google.internal/"])
def test_where_nobody_may_be_sent(connect: Connect, taking: TakingRegistry, place: str) -> None:
    taking.behaviour.place = lambda path: place
    source = Source()
    with pytest.raises(UnreachableError):
        connect().registry.put_blob(named(taking), BLOB, source.open_at)
    assert not source.opened


def test_what_the_source_raises_ends_it_unfinished(connect: Connect, taking: TakingRegistry) -> None:
    @contextmanager
    def open_at(offset: int) -> Iterator[BlobStream]:
        def chunks() -> Iterator[bytes]:
            yield CONTENT[:1_000_000]
            raise IntegrityError("wrong bytes came")

        yield BlobStream(offset, chunks())

    with pytest.raises(IntegrityError, match="wrong bytes came"):
        connect().registry.put_blob(named(taking), BLOB, open_at)
    assert not taking.blobs
    assert not taking.uploads


def test_mounting(connect: Connect, taking: TakingRegistry) -> None:
    client, reference = connect().registry, named(taking)
    taking.blobs["other/y", BLOB.digest] = CONTENT
    assert not client.mount_blob(reference, BLOB, "not/here")
    assert not taking.uploads  # what was begun in its place is given up
    assert client.mount_blob(reference, BLOB, "other/y")
    assert client.has_blob(reference, BLOB)


def test_into_a_real_registry(connect: Connect, registry: DockerRegistry) -> None:
    client, reference = connect().registry, named(registry, "uploads/real:1")
    client.put_blob(reference, BLOB, Source().open_at)
    assert client.has_blob(reference, BLOB)
    other = named(registry, "uploads/other:1")
    assert client.mount_blob(other, BLOB, "uploads/real")
    assert client.has_blob(other, BLOB)


def test_in_chunks_into_a_real_registry(
    connect: Connect, registry: DockerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads._Upload, "_go_on", _in_chunks(uploads._Upload._go_on))
    client, reference = connect().registry, named(registry, "uploads/chunks:1")
    client.put_blob(reference, BLOB, Source().open_at)
    assert client.has_blob(reference, BLOB)


def _in_chunks(honest):  # type: ignore[no-untyped-def]
    def go_on(self):  # type: ignore[no-untyped-def]
        self._chunk = 1_000_000
        return honest(self)

    return go_on


def test_with_tokens_for_what_is_pushed_and_mounted(
    connect: Connect, token_registry: DockerRegistry, token_server: TokenServer, tmp_path: Path
) -> None:
    file = write_auth_file(tmp_path / "auth.json", token_registry.address, USERNAME, PASSWORD)
    client = connect(auth_file=file).registry
    first, second = named(token_registry, "uploads/a:1"), named(token_registry, "uploads/b:1")
    client.put_blob(first, BLOB, Source().open_at)
    before = len(token_server.requests)
    assert client.mount_blob(second, BLOB, "uploads/a")
    asked = [scope for request in token_server.requests[before:] for scope in request.fields["scope"]]
    assert set(asked) == {"repository:uploads/b:pull,push", "repository:uploads/a:pull"}
    assert client.has_blob(second, BLOB)


def test_without_the_right_to_push(connect: Connect, token_registry: DockerRegistry) -> None:
    with pytest.raises(UnauthorizedError, match="refuses the upload of blob"):
        connect().registry.put_blob(named(token_registry, "busybox:mine"), BLOB, Source().open_at)
