"""Reading through mirrors: what is passed over, what is told of it, who is asked for what and shown which secrets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from polyarch.contract import (
    Descriptor,
    Index,
    IntegrityError,
    Manifest,
    NotFoundError,
    Reference,
    UnreachableError,
    UsageError,
)
from polyarch.events import ServedElsewhere, ignore
from polyarch.reference import parse_reference
from polyarch.registry.mirrored import MirroredRegistry
from polyarch.resolution.documents import Documents
from polyarch.transfer.blob import bring_blob
from support import faults
from support.faulty_registry import FaultyRegistry
from support.layout_files import Layout
from support.processes import free_port
from support.registry_auth import basic_header
from support.registry_client import Connect, Connected

NAME = "busybox:1.36"


@pytest.fixture
def mirror(sample_layout: Path) -> Iterator[FaultyRegistry]:
    """A second registry with the same content."""
    server = FaultyRegistry(Layout(sample_layout))
    yield server
    server.stop()


@dataclass(frozen=True, slots=True)
class Pair:
    """A registry, its mirror, and a client that knows of both."""

    mirror: FaultyRegistry
    registry: FaultyRegistry
    connected: Connected

    @property
    def client(self) -> MirroredRegistry:
        assert isinstance(self.connected.registry, MirroredRegistry)
        return self.connected.registry

    @property
    def name(self) -> Reference:
        return parse_reference(self.registry.ref(NAME))

    @property
    def warnings(self) -> list[str]:
        """What was told, with names for the addresses."""
        said = self.connected.warnings
        return [text.replace(self.mirror.address, "MIRROR").replace(self.registry.address, "REGISTRY") for text in said]

    def documents(self) -> Documents:
        return Documents(self.client)

    def image(self) -> Manifest:
        documents = self.documents()
        index = documents.root(self.name)
        assert isinstance(index, Index)
        return documents.manifest(self.name, index.manifests[0])

    def read(self, blob: Descriptor, offset: int = 0) -> bytes:
        with self.client.open_blob(self.name, blob, offset) as stream:
            assert stream.offset == offset
            return b"".join(stream.chunks)


@pytest.fixture
def pair(
    mirror: FaultyRegistry, faulty_registry: FaultyRegistry, connect: Connect, tmp_path: Path
) -> Callable[..., Pair]:
    """`pair(more="pull-from-mirror = …")` -> a registry and its mirror, by a registries.conf."""

    def make(more: str = "", **settings: object) -> Pair:
        conf = tmp_path / "registries.conf"
        conf.write_text(
            f'[[registry]]\nlocation = "{faulty_registry.address}"\n'
            f'[[registry.mirror]]\nlocation = "{mirror.address}"\n{more}'
        )
        return Pair(mirror, faulty_registry, connect(registries_conf=str(conf), **settings))

    return make


def test_all_comes_from_the_mirror(pair: Callable[..., Pair]) -> None:
    both = pair()
    manifest = both.image()
    layer = manifest.layers[0]
    assert both.client.head(both.name) is not None
    assert len(both.read(layer)) == layer.size
    assert both.registry.requests == []
    assert both.client.served_by(manifest.digest) == both.mirror.address
    assert both.client.served_by(layer.digest) == both.mirror.address
    assert both.client.served_by("sha256:" + "0" * 64) is None
    assert both.warnings == []
    told = [event for event in both.connected.events if isinstance(event, ServedElsewhere)]
    assert told == [ServedElsewhere(str(both.name), both.mirror.address)]  # once for all documents


def test_lists_are_the_registrys_own(pair: Callable[..., Pair]) -> None:
    both = pair()
    assert "1.36" in list(both.client.tags(both.name))
    both.client.ping(both.name)
    assert both.mirror.requests == []


# what the mirror does with the manifest; why it is passed over; whether it is asked for anything else after
PASSED_OVER = {
    "lacks it": (faults.status(404), "MIRROR has no tag 1.36 in busybox", False),
    "knows no such name": (
        faults.status(404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}'),
        "MIRROR has no repository busybox",
        False,
    ),
    "wants a login": (faults.unauthorized("Basic realm=x"), "MIRROR refuses the manifest", False),
    "forbids it": (faults.status(403), "MIRROR refuses the manifest", False),
    "is out of order": (faults.status(503), "MIRROR answered 503 for the manifest", True),
    "has a limit": (faults.too_many_requests("1"), "MIRROR answered 429 for the manifest", True),
    "breaks off": (faults.cut_after(10), "cannot be reached", True),
    "has a wrong digest": (faults.wrong_bytes, "MIRROR sent a manifest with digest", False),
    "is a web page": (
        faults.status(200, b"<html>", Content_Type="text/html"),
        "MIRROR answered with a web page",
        False,
    ),
    "sends no end": (faults.huge(64 << 20), "an answer of more than", False),
}


@pytest.mark.parametrize(("fault", "because", "for_all"), PASSED_OVER.values(), ids=PASSED_OVER)
def test_a_mirror_is_passed_over(
    pair: Callable[..., Pair], fault: faults.Fault, because: str, *, for_all: bool
) -> None:
    both = pair()
    both.mirror.script("GET", "/manifests/1.36", fault)  # once: asked again it would serve
    manifest = both.image()
    assert both.client.served_by(manifest.digest) == both.registry.address
    for blob in manifest.blobs:
        both.read(blob)
    assert len(both.mirror.requests) == 1
    [said] = both.warnings
    assert said.startswith("mirror MIRROR did not serve REGISTRY/busybox:1.36: ")
    assert because.removeprefix("MIRROR ") in said
    assert said.endswith("; asking REGISTRY")
    # Another image is another matter, unless the fault is the mirror's as a whole.
    other = parse_reference(both.registry.ref("library/busybox:1.36"))
    both.client.get(other)
    assert len(both.mirror.requests) == (1 if for_all else 2)


def test_a_dead_mirror_is_asked_once(faulty_registry: FaultyRegistry, connect: Connect, tmp_path: Path) -> None:
    dead = f"127.0.0.1:{free_port()}"
    conf = tmp_path / "registries.conf"
    conf.write_text(f'[[registry]]\nlocation="{faulty_registry.address}"\n[[registry.mirror]]\nlocation="{dead}"')
    connected = connect(registries_conf=str(conf), retries=3)
    reference = parse_reference(faulty_registry.ref(NAME))
    connected.registry.head(reference)
    connected.registry.get(reference)
    because = "cannot be reached: connection refused"
    assert connected.warnings == [
        f"mirror {dead} did not serve {reference}: {because}; asking {faulty_registry.address}"
    ]


def test_where_nobody_has_it_the_registrys_word_is_last(pair: Callable[..., Pair]) -> None:
    both = pair()
    both.mirror.script("GET", "/manifests/", faults.status(403), forever=True)
    missing = parse_reference(both.registry.ref("busybox:none"))
    with pytest.raises(NotFoundError, match=f"{both.registry.address} has no tag none") as caught:
        both.client.get(missing)
    [reason] = caught.value.details["mirrors"]  # type: ignore[misc]
    assert reason["mirror"] == both.mirror.address
    assert reason["reason"].startswith("refuses the manifest")
    assert both.warnings == []  # of what nobody has nothing is told: names are tried that need not exist


def test_wrong_bytes_of_a_layer_are_asked_of_the_next(pair: Callable[..., Pair]) -> None:
    both = pair()
    manifest = both.image()
    layer = manifest.layers[0]
    both.mirror.script("GET", f"/blobs/{layer.digest}", faults.wrong_bytes, forever=True)
    both.registry.script("GET", f"/blobs/{layer.digest}", faults.wrong_bytes)  # a second try is still left for it
    kept = Kept()
    cancelled = threading.Event()
    bring_blob(both.client, both.name, layer, kept, retries=0, emit=ignore, cancelled=cancelled)
    assert kept.finished
    assert len(kept.data) == layer.size
    assert [len(each.asked("GET", "/blobs/")) for each in (both.mirror, both.registry)] == [1, 2]
    assert both.client.served_by(layer.digest) == both.registry.address
    [said] = both.warnings
    assert said.startswith("mirror MIRROR did not serve REGISTRY/busybox:1.36: it served something else than blob")


def test_wrong_bytes_of_a_config_are_asked_of_the_next(pair: Callable[..., Pair]) -> None:
    both = pair()
    manifest = both.image()
    both.mirror.script("GET", f"/blobs/{manifest.config.digest}", faults.fewer_bytes(1), forever=True)
    assert both.documents().config(both.name, manifest).platform.architecture == "amd64"
    both.registry.script("GET", f"/blobs/{manifest.config.digest}", faults.wrong_bytes, forever=True)
    with pytest.raises(IntegrityError, match="was promised"):
        both.documents().config(both.name, manifest)


def test_a_stream_that_breaks_goes_on_elsewhere(pair: Callable[..., Pair]) -> None:
    both = pair()
    manifest = both.image()
    layer = manifest.layers[0]
    half = layer.size // 2
    both.mirror.script("GET", f"/blobs/{layer.digest}", faults.cut_after(half), forever=True)
    kept = Kept()
    fetched = bring_blob(both.client, both.name, layer, kept, retries=0, emit=ignore, cancelled=threading.Event())
    assert (fetched, kept.finished) == (layer.size, True)
    [rest] = both.registry.asked("GET", "/blobs/")
    assert rest.byte_range == (half, None)
    assert len(both.mirror.asked("GET", "/blobs/")) == 1


def test_a_mirror_that_lacks_one_layer_serves_the_others(pair: Callable[..., Pair]) -> None:
    both = pair()
    manifest = both.image()
    first, second = manifest.layers[:2]
    both.mirror.script("GET", f"/blobs/{first.digest}", faults.status(404))
    both.read(first)
    both.read(second)
    both.read(first)
    assert both.client.served_by(first.digest) == both.registry.address
    assert both.client.served_by(second.digest) == both.mirror.address
    assert len(both.mirror.asked("GET", first.digest)) == 1
    assert len(both.warnings) == 1


@pytest.mark.parametrize(
    ("setting", "served"),
    [("digest-only", ("registry", "registry", "mirror")), ("tag-only", ("mirror", "mirror", "registry"))],
)
def test_pull_from_mirror(pair: Callable[..., Pair], setting: str, served: tuple[str, str, str]) -> None:
    both = pair(f'pull-from-mirror = "{setting}"')
    names = {both.mirror.address: "mirror", both.registry.address: "registry"}
    index = both.client.get(both.name)
    assert isinstance(index, Index)
    by_tag = names[str(both.client.served_by(index.digest))]
    within = index.manifests[0]
    both.client.get(both.name.with_digest(within.digest))
    within_tag = names[str(both.client.served_by(within.digest))]
    both.client.get(parse_reference(f"{both.name.name}@{within.digest}"))
    assert (by_tag, within_tag, names[str(both.client.served_by(within.digest))]) == served


def test_secrets_stay_with_their_host(pair: Callable[..., Pair], tmp_path: Path) -> None:
    both = pair()
    secrets = {
        both.mirror.address: basic_header("mirror", "of the mirror"),
        both.registry.address: basic_header("registry", "of the registry"),
    }
    auth = tmp_path / "auth.json"
    entries = {address: {"auth": secret.removeprefix("Basic ")} for address, secret in secrets.items()}
    auth.write_text(json.dumps({"auths": entries}))
    both.mirror.script("GET", "/blobs/", faults.status(404), forever=True)
    for server in (both.mirror, both.registry):
        server.script("GET", "/", faults.unauthorized("Basic realm=x"), faults.honest, forever=True)
    both = pair(auth_file=auth)
    both.read(both.image().layers[0])
    for server in (both.mirror, both.registry):
        shown = {request.headers.get("Authorization") for request in server.requests}
        assert shown == {None, secrets[server.address]}


def test_a_mirror_without_credentials_is_shown_none(pair: Callable[..., Pair], tmp_path: Path) -> None:
    auth = tmp_path / "auth.json"
    both = pair(auth_file=auth)
    secret = basic_header().removeprefix("Basic ")
    auth.write_text(json.dumps({"auths": {both.registry.address: {"auth": secret}}}))
    both = pair(auth_file=auth)
    both.mirror.script("GET", "/manifests/", faults.unauthorized("Basic realm=x"), forever=True)
    both.client.get(both.name)
    assert [request.headers.get("Authorization") for request in both.mirror.requests] == [None]


def test_a_rewritten_name_is_told_as_it_was_asked(
    faulty_registry: FaultyRegistry, connect: Connect, tmp_path: Path
) -> None:
    conf = tmp_path / "registries.conf"
    conf.write_text(f'[[registry]]\nprefix = "a.example/x"\nlocation = "{faulty_registry.address}"')
    connected = connect(registries_conf=str(conf))
    client = connected.registry
    client.get(parse_reference("a.example/x/busybox:1.36"))
    assert connected.events == [ServedElsewhere("a.example/x/busybox:1.36", faulty_registry.address)]
    assert "1.36" in list(client.tags(parse_reference("a.example/x/busybox")))
    with pytest.raises(NotFoundError) as caught:
        client.get(parse_reference("a.example/x/busybox:none"))
    assert caught.value.message.startswith(f"a.example/x/busybox:none: {faulty_registry.address} has no tag none")
    assert caught.value.details["reference"] == "a.example/x/busybox:none"


def test_a_broken_file_fails_what_it_is_read_for(connect: Connect, tmp_path: Path) -> None:
    conf = tmp_path / "registries.conf"
    conf.write_text("[[registry]\n")
    with pytest.raises(UsageError, match=f"{conf}.*line 1"):
        connect(registries_conf=str(conf)).registry.get(parse_reference("a.example/x"))


def test_what_closes_here_is_no_fault_of_the_mirrors(pair: Callable[..., Pair]) -> None:
    both = pair()
    both.connected.http.close()
    with pytest.raises(UnreachableError, match="closed here"):
        both.client.get(both.name)
    assert both.warnings == []


class Kept:
    """The contract's `BlobWriter`, in memory."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.finished = False

    @property
    def offset(self) -> int:
        return len(self.data)

    def kept(self) -> Iterator[bytes]:
        yield bytes(self.data)

    def write(self, chunk: memoryview) -> None:
        self.data += chunk

    def restart(self) -> None:
        self.data.clear()

    def finish(self) -> None:
        self.finished = True
