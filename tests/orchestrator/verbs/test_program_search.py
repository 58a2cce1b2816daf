"""The proof of what an image starts while its blobs still come in, from a registry in memory into the storage `oci`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from polyarch.contract import BlobStream, Digest, Document, NotFoundError, Reference
from polyarch.errors import IntegrityError
from polyarch.oci.config import ImageConfig, parse_config
from polyarch.oci.digest import digest_of
from polyarch.reference import parse_reference
from polyarch.resolution.documents import Documents
from polyarch.selection.types import Candidate, Verdict
from polyarch.unpack.entrypoint import Mislabelled
from polyarch.verbs.program import ProgramSearch
from polyarch.verbs.pull import PullContext, pull_variant
from polyarch.verbs.results import PullResult
from polyarch_platforms.architecture import load
from polyarch_platforms.elf import platform_of
from polyarch_platforms.tiny import tiny_program
from polyarch_plugins.storages.oci.storage import OciStorage
from support.layers import Item, file, layer, packed, symlink
from support.memory_registry import (
    Chunks,
    Fault,
    MadeImage,
    MemoryRegistry,
    chunks_of,
    cut_after,
    end_after,
    ignore_offset,
    made_image,
    other_bytes,
    refuse,
)
from support.storages import store

NAME = parse_reference("app:1.0")
APP, LIE = (file("app", tiny_program(load()[name]) + bytes(3000), mode=0o755) for name in ("arm64", "amd64"))
TIMEOUT = 30


@dataclass
class _Registry(MemoryRegistry):
    def get(self, reference: Reference) -> Document:
        return self.images[0].manifest


class _Storage(OciStorage):
    """Tells which blob was opened for reading."""

    opened: dict[Digest, threading.Event]

    def open_blob(self, digest: Digest) -> BinaryIO:
        stream = super().open_blob(digest)
        if digest in self.opened:
            self.opened[digest].set()
        return stream


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[_Storage]:
    opened = _Storage(tmp_path / "storage", lock_timeout=5, sync=False)
    opened.opened = {}
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name.startswith(("program", "walk")):
            thread.join(TIMEOUT)
            assert not thread.is_alive(), thread


def _blob(*items: Item) -> bytes:
    return packed(layer(*items))


def _image(*layers: bytes) -> MadeImage:
    return made_image("linux/arm64", *layers, command=["/app"])


def _pull(image: MadeImage, registry: MemoryRegistry, storage: OciStorage) -> PullResult:
    context = PullContext(
        documents=Documents(registry, storage),
        storage=storage,
        storage_name="oci",
        verifiers=(),
        max_connections=4,
        retries=5,
        emit=lambda event: None,
    )
    candidate = Candidate(image.platform, image.manifest.descriptor, NAME, "manifest")
    return pull_variant(context, NAME, Verdict(candidate, "exact"), {image.manifest.digest: image.manifest}, 1)


def test_the_top_layer_is_read_while_the_one_below_still_comes(storage: _Storage) -> None:
    below, above = _blob(file("data", "x" * 5000)), _blob(APP)
    image = _image(below, above)
    read = storage.opened[digest_of(above)] = threading.Event()

    def waits(data: bytes, offset: int) -> BlobStream:
        def chunks() -> Chunks:
            assert read.wait(TIMEOUT), "nobody looked at the layer that was there"
            yield from chunks_of(data)

        return BlobStream(offset, chunks())

    registry = _Registry([image])
    registry.fail(digest_of(below), waits)
    assert _pull(image, registry, storage).status == "downloaded"
    assert [found.manifest.digest for found in storage.find(NAME)] == [image.manifest.digest]


def test_the_answer_does_not_wait_for_layers_that_do_not_matter(storage: _Storage) -> None:
    image = _image(_blob(file("data")), _blob(APP), _blob(symlink("other", "app")))
    store(storage, image, "stored:1.0")

    def config_of() -> ImageConfig:
        return parse_config(image.blobs[image.manifest.config.digest])

    with ProgramSearch(storage, image.manifest, config_of) as search:
        search.start()
        for blob in (image.manifest.layers[1], image.manifest.config, image.manifest.layers[2]):
            search.arrived(blob)
        found = search.result()
    assert found is not None
    assert platform_of(found.elf).architecture == "arm64"


def test_a_search_that_waits_for_a_blob_can_be_ended(storage: _Storage) -> None:
    image = _image(_blob(APP))

    def config_of() -> ImageConfig:
        raise AssertionError("the config has not arrived")

    with ProgramSearch(storage, image.manifest, config_of) as search:
        search.start()


@pytest.mark.parametrize("above", [[], [file("data", bytes(range(256)) * 30)]])
@pytest.mark.parametrize("faults", [(cut_after(100),), (end_after(50), cut_after(150)), (other_bytes,)])
def test_a_liar_is_refused_however_its_bytes_come(storage: _Storage, above: list[Item], faults: tuple[Fault]) -> None:
    image = _image(_blob(LIE), _blob(*above))
    registry = _Registry([image])
    for layer_ in image.manifest.layers:
        registry.fail(layer_.digest, *faults)
    for _ in range(2):  # the second time all blobs are there before
        with pytest.raises(Mislabelled, match="amd64"):
            _pull(image, registry, storage)
        assert storage.find(NAME) == ()


def test_a_liar_is_refused_when_an_earlier_try_is_resumed(storage: _Storage) -> None:
    lie = _blob(LIE)
    image = _image(lie)
    with storage.write_blob(image.manifest.layers[0]) as writer:
        assert writer is not None
        writer.write(lie[:70])
    registry = _Registry([image])
    with pytest.raises(Mislabelled, match="amd64"):
        _pull(image, registry, storage)
    assert (digest_of(lie), 70) in registry.requests


@pytest.mark.parametrize("faults", [(cut_after(100), ignore_offset), (other_bytes,)])
def test_what_is_begun_again_is_proven(storage: _Storage, faults: tuple[Fault]) -> None:
    image = _image(_blob(APP))
    registry = _Registry([image])
    registry.fail(image.manifest.layers[0].digest, *faults)
    assert _pull(image, registry, storage).platform == "linux/arm64"


BROKEN = {"no archive": b"this is no archive", "cut short": _blob(file("data", bytes(range(256)) * 9))[:90]}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("place", ["above", "alone"])
def test_a_layer_that_is_no_archive_leaves_no_name(storage: _Storage, broken: bytes, place: str) -> None:
    image = _image(_blob(APP), broken) if place == "above" else _image(broken)
    with pytest.raises(IntegrityError, match="layer"):
        _pull(image, _Registry([image]), storage)
    assert storage.find(NAME) == ()


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_layer_below_the_program_is_never_told(storage: _Storage, broken: bytes) -> None:
    image = _image(broken, _blob(APP))
    assert _pull(image, _Registry([image]), storage).status == "downloaded"


def test_the_fault_of_the_transfer_is_the_one_that_is_told(storage: _Storage) -> None:
    image = _image(_blob(LIE), b"this is no archive")
    registry = _Registry([image])
    registry.fail(image.manifest.layers[0].digest, refuse(NotFoundError("gone")))
    with pytest.raises(NotFoundError, match="gone"):
        _pull(image, registry, storage)
    assert storage.find(NAME) == ()


def test_an_image_at_hand_is_not_searched_again(storage: _Storage) -> None:
    image = _image(_blob(APP))
    registry = _Registry([image])
    assert _pull(image, registry, storage).status == "downloaded"
    read = storage.opened[image.manifest.layers[0].digest] = threading.Event()
    assert _pull(image, registry, storage).status == "up-to-date"
    assert not read.is_set()
    storage.blob_path(image.manifest.layers[0].digest).unlink()
    assert _pull(image, registry, storage).status == "downloaded"
    assert read.is_set()
