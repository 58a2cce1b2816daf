"""The proof of what an image starts while its blobs still come in, from a registry in memory into the storage `oci`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from polyarch.contract import BlobStream, Document, NotFoundError, Reference
from polyarch.errors import IntegrityError
from polyarch.oci.config import ImageConfig, parse_config
from polyarch.oci.digest import digest_of
from polyarch.reference import parse_reference
from polyarch.resolution.documents import Documents
from polyarch.selection.types import Candidate, Verdict
from polyarch.transfer.growing import GrowingBlobs
from polyarch.unpack.entrypoint import EntrypointElf, Mislabelled, entrypoint_elf
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


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when a search of layers has come to its end, whatever that is worth."""
    event = threading.Event()

    def search(*arguments: Any, **options: Any) -> EntrypointElf | None:
        try:
            return entrypoint_elf(*arguments, **options)
        finally:
            event.set()

    monkeypatch.setattr("polyarch.verbs.program.entrypoint_elf", search)
    return event


def _held_back(size: int, answered: threading.Event) -> Fault:
    """The last `size` bytes come when the search was answered."""

    def chunks(data: bytes, offset: int) -> Chunks:
        yield from chunks_of(data[offset:-size])
        assert answered.wait(TIMEOUT), "nobody looked at what was there"
        yield from chunks_of(data[-size:])

    return lambda data, offset: BlobStream(offset, chunks(data, offset))


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


def _pull(
    image: MadeImage, registry: MemoryRegistry, storage: OciStorage, documents: Documents | None = None
) -> PullResult:
    context = PullContext(
        documents=documents or Documents(registry, storage),
        storage=storage,
        storage_name="oci",
        verifiers=(),
        max_connections=4,
        retries=5,
        emit=lambda event: None,
    )
    candidate = Candidate(image.platform, image.manifest.descriptor, NAME, "manifest")
    return pull_variant(context, NAME, Verdict(candidate, "exact"), {image.manifest.digest: image.manifest}, 1)


def test_the_top_layer_is_read_while_the_one_below_still_comes(storage: OciStorage, answered: threading.Event) -> None:
    below = _blob(file("data", "x" * 5000))
    image = _image(below, _blob(APP))
    registry = _Registry([image])
    registry.fail(digest_of(below), _held_back(len(below), answered))
    assert _pull(image, registry, storage).status == "downloaded"
    assert [found.manifest.digest for found in storage.find(NAME)] == [image.manifest.digest]


def test_a_layer_is_read_while_it_comes(storage: OciStorage, answered: threading.Event) -> None:
    app = _blob(APP)
    image = _image(app)
    registry = _Registry([image])
    registry.fail(digest_of(app), _held_back(8, answered))  # gzip's trailer
    assert _pull(image, registry, storage).platform == "linux/arm64"


@pytest.mark.parametrize(("promised", "lie"), [(APP, LIE), (LIE, APP)], ids=["the right one counts", "a liar hides"])
def test_what_was_found_in_wrong_bytes_never_counts(
    storage: OciStorage, answered: threading.Event, promised: Item, lie: Item
) -> None:
    """A whole layer with another program comes first, and is searched; its digest is wrong."""
    right, wrong = (layer(replace(item, data=item.data.ljust(8192, b"x"))) + bytes(4096) for item in (promised, lie))
    assert len(right) == len(wrong)
    image = _image(right)
    registry = _Registry([image])
    registry.fail(digest_of(right), lambda data, offset: _held_back(1000, answered)(wrong, offset))
    if promised is APP:
        assert _pull(image, registry, storage).platform == "linux/arm64"
    else:
        with pytest.raises(Mislabelled, match="amd64"):
            _pull(image, registry, storage)
        assert storage.find(NAME) == ()
    assert answered.is_set()
    assert registry.requests.count((digest_of(right), 0)) == 2


def test_the_answer_does_not_wait_for_layers_that_do_not_matter(storage: OciStorage) -> None:
    image = _image(_blob(file("data")), _blob(APP), _blob(symlink("other", "app")))
    store(storage, image, "stored:1.0")

    def config_of() -> ImageConfig:
        return parse_config(image.blobs[image.manifest.config.digest])

    blobs = GrowingBlobs(storage, image.manifest.layers)
    with ProgramSearch(blobs, image.manifest, config_of) as search, blobs:
        search.start()
        for blob in (image.manifest.layers[1], image.manifest.config, image.manifest.layers[2]):
            blobs.arrived(blob)
        found = search.result()
    assert found is not None
    assert platform_of(found.elf).architecture == "arm64"


def test_a_search_that_waits_for_a_blob_can_be_ended(storage: OciStorage) -> None:
    image = _image(_blob(APP))

    def config_of() -> ImageConfig:
        raise AssertionError("the config has not arrived")

    blobs = GrowingBlobs(storage, image.manifest.layers)
    with ProgramSearch(blobs, image.manifest, config_of) as search, blobs:
        search.start()


@pytest.mark.parametrize("above", [[], [file("data", bytes(range(256)) * 30)]])
@pytest.mark.parametrize("faults", [(cut_after(100),), (end_after(50), cut_after(150)), (other_bytes,)])
def test_a_liar_is_refused_however_its_bytes_come(storage: OciStorage, above: list[Item], faults: tuple[Fault]) -> None:
    image = _image(_blob(LIE), _blob(*above))
    registry = _Registry([image])
    for layer_ in image.manifest.layers:
        registry.fail(layer_.digest, *faults)
    for _ in range(2):  # the second time all blobs are there before
        with pytest.raises(Mislabelled, match="amd64"):
            _pull(image, registry, storage)
        assert storage.find(NAME) == ()


def test_a_liar_is_refused_when_an_earlier_try_is_resumed(storage: OciStorage) -> None:
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
def test_what_is_begun_again_is_proven(storage: OciStorage, faults: tuple[Fault]) -> None:
    image = _image(_blob(APP))
    registry = _Registry([image])
    registry.fail(image.manifest.layers[0].digest, *faults)
    assert _pull(image, registry, storage).platform == "linux/arm64"


BROKEN = {"no archive": b"this is no archive", "cut short": _blob(file("data", bytes(range(256)) * 9))[:90]}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("place", ["above", "alone"])
def test_a_layer_that_is_no_archive_leaves_no_name(storage: OciStorage, broken: bytes, place: str) -> None:
    image = _image(_blob(APP), broken) if place == "above" else _image(broken)
    with pytest.raises(IntegrityError, match="layer"):
        _pull(image, _Registry([image]), storage)
    assert storage.find(NAME) == ()


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_layer_below_the_program_is_never_told(storage: OciStorage, broken: bytes) -> None:
    image = _image(broken, _blob(APP))
    assert _pull(image, _Registry([image]), storage).status == "downloaded"


def test_the_fault_of_the_transfer_is_the_one_that_is_told(storage: OciStorage) -> None:
    image = _image(_blob(LIE), b"this is no archive")
    registry = _Registry([image])
    registry.fail(image.manifest.layers[0].digest, refuse(NotFoundError("gone")))
    with pytest.raises(NotFoundError, match="gone"):
        _pull(image, registry, storage)
    assert storage.find(NAME) == ()


def test_a_config_that_was_read_before_is_not_fetched_again(storage: OciStorage) -> None:
    image = _image(_blob(APP))
    registry = _Registry([image])
    documents = Documents(registry, storage)
    documents.config(NAME, image.manifest)
    result = _pull(image, registry, storage, documents)
    assert [digest for digest, _ in registry.requests].count(image.manifest.config.digest) == 1
    assert result.downloaded_bytes == sum(blob.size for blob in image.manifest.blobs)
    assert storage.find(NAME)[0].config.platform == image.platform


def test_an_image_at_hand_is_not_searched_again(storage: OciStorage, answered: threading.Event) -> None:
    image = _image(_blob(APP))
    registry = _Registry([image])
    assert _pull(image, registry, storage).status == "downloaded"
    answered.clear()
    assert _pull(image, registry, storage).status == "up-to-date"
    assert not answered.is_set()
    storage.blob_path(image.manifest.layers[0].digest).unlink()
    assert _pull(image, registry, storage).status == "downloaded"
    assert answered.is_set()
