"""Layers put together from earlier ones: what travels, and that nothing wrong is ever kept."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from polyarch.contract import BlobStream, Reference, UnreachableError
from polyarch.errors import PolyarchError
from polyarch.events import Event, Warned
from polyarch.reference import parse_reference
from polyarch.transfer import reuse
from polyarch.transfer.fetch import BlobResult, fetch
from polyarch_plugins.storages.oci.storage import OciStorage
from support.chunked_layers import MadeLayer, RangeRegistry, estargz, honest_part, image_of, packed, zstd_chunked
from support.memory_registry import MemoryRegistry, chunks_of

NAME = parse_reference("registry.example.com/app:2")
_RANDOM = random.Random(7)
FILES = {f"srv/{number}": _RANDOM.randbytes(_RANDOM.randrange(100, 6000)) for number in range(200)}
FILES["srv/empty"] = b""
FILES["srv/large"] = _RANDOM.randbytes(700_000)
CHANGED = {name: b"new" + data if name in ("srv/7", "srv/90", "srv/151") else data for name, data in FILES.items()}
MAKERS = pytest.mark.parametrize("make", [zstd_chunked, estargz])
Maker = Callable[..., MadeLayer]


def _put(storage: OciStorage, layer: MadeLayer, name: str = "registry.example.com/app:1") -> None:
    """Bring an image of the layer in, whole."""
    image = image_of(layer)
    fetch(MemoryRegistry([image]), parse_reference(name), image.manifest, storage)
    storage.commit(image.stored_as(name))


def _pull(
    storage: OciStorage, layer: MadeLayer, registry: RangeRegistry | None = None, reference: Reference = NAME
) -> tuple[BlobResult, RangeRegistry, list[str]]:
    """Pull an image of the layer: how its layer came, whom it was asked of, and the warnings. It has to be right."""
    image = image_of(layer)
    registry = registry or RangeRegistry([image])
    registry.images = [image]
    events: list[Event] = []
    results = fetch(registry, reference, image.manifest, storage, emit=events.append, retries=1)
    assert storage.blob_path(layer.descriptor.digest).read_bytes() == layer.blob
    return results[1], registry, [event.message for event in events if isinstance(event, Warned)]


@MAKERS
def test_only_what_changed_travels(storage: OciStorage, make: Maker) -> None:
    _put(storage, make(FILES))
    new = make(CHANGED)
    result, registry, warnings = _pull(storage, new)
    assert (result.status, warnings) == ("downloaded", [])
    assert result.fetched == registry.travelled(new.descriptor.digest) < 0.05 * len(new.blob)
    assert result.reused == len(new.blob) - result.fetched
    assert not [digest for digest, _ in registry.requests if digest == new.descriptor.digest]


def test_of_a_large_file_only_what_changed_travels(storage: OciStorage) -> None:
    large = _RANDOM.randbytes(6_000_000)
    _put(storage, zstd_chunked({"large": large}))
    new = zstd_chunked({"large": large[:3_000_000] + b"put in" + large[3_000_000:]})
    result, _, _ = _pull(storage, new)
    assert result.fetched < len(new.blob) / 3


@MAKERS
def test_files_of_another_image_are_found_too(storage: OciStorage, make: Maker) -> None:
    _put(storage, make({"other": b"x" * 200_000, **FILES}), "elsewhere.example.com/other:1")
    result, _, _ = _pull(storage, make(FILES))
    assert result.reused > result.fetched


@MAKERS
def test_nothing_is_asked_for_where_nothing_is_here(storage: OciStorage, make: Maker) -> None:
    result, registry, warnings = _pull(storage, make(FILES))
    assert (result.fetched, result.reused, registry.parts, warnings) == (len(make(FILES).blob), 0, [], [])


@MAKERS
def test_a_registry_without_parts_gives_the_whole(storage: OciStorage, make: Maker) -> None:
    _put(storage, make(FILES))
    new = make(CHANGED)
    for registry in (RangeRegistry([], range_faults=[lambda *_: None]), RangeRegistry([])):
        registry.range_faults = registry.range_faults or [lambda data, offset, size: BlobStream(0, chunks_of(data))]
        result, _, warnings = _pull(storage, new, registry)
        assert (result.fetched, warnings, len(registry.parts)) == (len(new.blob), [], 1)
        storage.forget([new.descriptor.digest])


@MAKERS
@pytest.mark.parametrize("where", [0.2, 0.9])
def test_a_damaged_earlier_layer_is_found_out(storage: OciStorage, make: Maker, where: float) -> None:
    old = make(FILES)
    _put(storage, old)
    damaged = bytearray(old.blob)
    damaged[int(len(damaged) * where)] ^= 1
    storage.blob_path(old.descriptor.digest).write_bytes(damaged)
    new = make(CHANGED)
    result, _, warnings = _pull(storage, new)
    assert result.fetched >= len(new.blob)
    assert warnings == [
        f"registry.example.com/app:2: layer {new.descriptor.digest[7:19]} is fetched as a whole:"
        " what was put together of layers at hand is not this one"
    ]


@MAKERS
def test_an_earlier_layer_that_is_cut_short_is_found_out(storage: OciStorage, make: Maker) -> None:
    old, new = make(FILES), make(CHANGED)
    _put(storage, old)
    tail = len(old.blob) - 40_000
    storage.blob_path(old.descriptor.digest).write_bytes(old.blob[:tail])
    result, _, _ = _pull(storage, new)
    assert result.fetched >= len(new.blob)


def test_headers_that_the_table_does_not_tell_of_are_found_out(storage: OciStorage) -> None:
    """Two archives whose tables of contents are the same: only an owner's name differs, which no table has."""
    tar = zstd_chunked(FILES).tar
    place = tar.index(b"srv/77\0")

    def owned(name: bytes) -> MadeLayer:
        header = bytearray(tar[place : place + 512])
        header[265 : 265 + len(name)] = name
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        return packed(tar[:place] + bytes(header) + tar[place + 512 :])

    old, new = owned(b"rota"), owned(b"rosa")
    assert old.descriptor.annotations == new.descriptor.annotations
    _put(storage, old)
    result, registry, warnings = _pull(storage, new)
    assert warnings == []  # the second plan takes nothing for granted but digests, and is right
    assert 0 < result.reused < len(new.blob)
    assert len(registry.parts) > 50


@MAKERS
def test_a_pull_that_breaks_goes_on_where_it_was(storage: OciStorage, make: Maker) -> None:
    _put(storage, make(FILES))
    new = make(CHANGED)
    digest = new.descriptor.digest
    image = image_of(new)

    def refused(*_: object) -> BlobStream:
        raise UnreachableError("the line is down")

    faults = [honest_part, honest_part, honest_part, refused]
    registry = RangeRegistry([image], range_faults=faults)
    registry.fail(digest, *[lambda data, offset: refused()] * 9)
    with pytest.raises(PolyarchError, match="the line is down"):
        fetch(registry, NAME, image.manifest, storage, max_connections=1, retries=0)
    with storage.write_blob(new.descriptor) as writer:
        assert writer is not None
        kept = writer.offset
        assert 0 < kept < len(new.blob)
        assert b"".join(writer.kept()) == new.blob[:kept]
    result, again, _ = _pull(storage, new)
    assert all(offset >= kept or offset > 0.9 * len(new.blob) for _, offset, _ in again.parts)
    assert result.fetched < 0.05 * len(new.blob)


def test_a_part_that_breaks_off_is_asked_for_again_from_there(storage: OciStorage) -> None:
    _put(storage, zstd_chunked(FILES))
    new = zstd_chunked(CHANGED)

    def half(data: bytes, offset: int, size: int) -> BlobStream:
        return BlobStream(offset, chunks_of(data[offset : offset + (size + 1) // 2]))

    result, _, warnings = _pull(storage, new, RangeRegistry([], range_faults=[half, half, honest_part]))
    assert (warnings, result.fetched < 0.05 * len(new.blob)) == ([], True)


WRONG_PARTS: dict[str, Callable[[bytes, int, int], BlobStream]] = {
    "other bytes": lambda data, offset, size: BlobStream(offset, chunks_of(bytes(size))),
    "too many bytes": lambda data, offset, size: BlobStream(offset, chunks_of(data[offset : offset + size + 9])),
    "none": lambda data, offset, size: BlobStream(offset, chunks_of(b"")),
    "another place": lambda data, offset, size: BlobStream(offset, chunks_of(data[:size])),
}


@MAKERS
@pytest.mark.parametrize("wrong", WRONG_PARTS.values(), ids=WRONG_PARTS)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_wrong_parts_lead_to_the_whole(
    storage: OciStorage, make: Maker, wrong: Callable[[bytes, int, int], BlobStream], after: int
) -> None:
    _put(storage, make(FILES))
    new = make(CHANGED)
    result, _, warnings = _pull(storage, new, RangeRegistry([], range_faults=[honest_part] * after + [wrong]))
    assert result.fetched >= len(new.blob) or result.status == "resumed"
    assert ["is fetched as a whole" in warning for warning in warnings] == [True]


@MAKERS
def test_what_need_not_travel_is_told_before(storage: OciStorage, make: Maker) -> None:
    _put(storage, make(FILES))
    new = make(CHANGED)
    registry = RangeRegistry([image_of(new)])
    told = reuse.expected(registry, NAME, new.descriptor, storage, 1)
    assert len(registry.parts) == 1
    result, _, _ = _pull(storage, new)
    assert told == result.reused > 0.95 * len(new.blob)
