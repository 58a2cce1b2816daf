"""Tables of contents of layers: what is read of honest ones, and that a hostile one never says more than it may."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.contract import Descriptor
from polyarch.errors import IntegrityError
from polyarch.limits import MAX_TOC_ENTRIES, MAX_TOC_SIZE
from polyarch.oci.chunked import (
    STARGZ_DIGEST,
    ZSTD_CHECKSUM,
    ZSTD_POSITION,
    ZSTD_PREFIXES,
    Annotated,
    Span,
    annotated,
    read_spans,
    stargz_tail,
    zstd_annotations,
)
from polyarch.oci.compression import FrameCompressor
from polyarch.oci.digest import digest_of
from support.chunked_layers import MadeLayer, archive, estargz, zstd_chunked

FILES = {"a": b"alpha" * 100, "none": b"", "b": b"beta" * 1000, "c": random.Random(1).randbytes(700_000)}
MAKERS = pytest.mark.parametrize("make", [zstd_chunked, estargz])
D = digest_of(b"content")
SIZE = 10_000


def _spans(layer: MadeLayer) -> tuple[Span, ...]:
    place = annotated(layer.descriptor)
    assert place is not None
    start = place.tail if place.tail is not None else stargz_tail(layer.blob[-51:], len(layer.blob))
    return read_spans(place, layer.blob[start:], start)


def _check_whole(spans: tuple[Span, ...], end: int) -> None:
    position = 0
    for span in spans:
        assert (span.start, span.size > 0) == (position, True)
        position += span.size
    assert position == end


@MAKERS
def test_spans_are_the_whole_blob_up_to_the_table(make: Callable[..., MadeLayer]) -> None:
    layer = make(FILES)
    spans = _spans(layer)
    _check_whole(spans, sum(span.size for span in spans))
    assert len({span.key for span in spans}) == len(spans) > 3


@MAKERS
def test_the_same_keys_are_the_same_bytes(make: Callable[..., MadeLayer]) -> None:
    """Of two layers that have some files in common; what a file's neighbours are does not matter for its content."""
    one = make(FILES)
    other = make({"b": FILES["b"], "new": b"new", "a": FILES["a"], "none": b"", "c": FILES["c"] + b"more"})
    known = {span.key: one.blob[span.start : span.start + span.size] for span in _spans(one)}
    same = [span for span in _spans(other) if span.key in known]
    assert len(same) >= (2 if make is zstd_chunked else 1)
    for span in same:
        assert other.blob[span.start : span.start + span.size] == known[span.key]


@MAKERS
def test_another_time_is_another_header(make: Callable[..., MadeLayer]) -> None:
    one, other = _spans(make(FILES)), _spans(make(FILES, {"b": 1}))
    lost = {span.key for span in one} - {span.key for span in other}
    assert 1 <= len(lost) <= 2
    assert not any(span.sure for span in one if span.key in lost)


def _described(**annotations: str) -> Descriptor:
    return Descriptor("application/vnd.oci.image.layer.v1.tar+zstd", D, SIZE, annotations=annotations)


@pytest.mark.parametrize("prefix", ZSTD_PREFIXES)
@pytest.mark.parametrize(
    ("checksum", "position"),
    [
        ("sha256:00", "9000:100:1000:1"),
        (D, ""),
        (D, "9000:100:1000"),
        (D, "9000:100:1000:2"),
        (D, "-9000:100:1000:1"),
        (D, "9000:-100:1000:1"),
        (D, "9000:1001:1000:1"),
        (D, "10001:0:1000:1"),
        (D, "7:100:1000:1"),
        (D, "9000:0:1000:1"),
        (D, f"9000:100:{MAX_TOC_SIZE + 1}:1"),
        (D, "9" * 19 + ":100:1000:1"),
        (D, "９000:100:1000:1"),
        (D, "9000:100:1000:1\n"),
    ],
)
def test_annotations_that_cannot_be_are_none(prefix: str, checksum: str, position: str) -> None:
    assert annotated(_described(**{prefix + ZSTD_CHECKSUM: checksum, prefix + ZSTD_POSITION: position})) is None


def test_a_layer_with_too_long_an_end_has_no_table_that_is_read() -> None:
    layer = _described(**zstd_annotations(D, 100, 100, 1000))
    assert annotated(layer) is not None
    assert annotated(replace(layer, size=MAX_TOC_SIZE + 101)) is None


@pytest.mark.parametrize("digest", ["", "sha256:0", "md5:" + "0" * 32])
def test_a_stargz_annotation_that_is_no_digest_is_none(digest: str) -> None:
    assert annotated(_described(**{STARGZ_DIGEST: digest})) is None


@pytest.mark.parametrize("offset", [0, SIZE - 51, SIZE, 1 << 63])
def test_a_footer_that_leads_elsewhere_is_refused(offset: int) -> None:
    footer = estargz(FILES).blob[-51:]
    wrong = footer[:16] + b"%016x" % offset + footer[32:]
    with pytest.raises(IntegrityError):
        stargz_tail(wrong, SIZE if offset else MAX_TOC_SIZE + 1)
    with pytest.raises(IntegrityError):
        stargz_tail(b"\0" + wrong[1:], SIZE)


def _layer(toc: bytes, start: int = 1000, plain: int | None = None) -> tuple[Annotated, bytes]:
    """A zstd:chunked layer of which only the table is there."""
    packed = FrameCompressor().frame(toc)
    size = start + 8 + len(packed)
    told = zstd_annotations(digest_of(packed), start + 8, len(packed), len(toc) if plain is None else plain)
    blob = replace(_described(**told), size=size)
    layer = annotated(blob)
    assert layer is not None
    return layer, bytes(8) + packed


def _file(offset: int, end: int, **more: object) -> dict[str, object]:
    return {"type": "reg", "name": "f", "size": 100, "digest": D, "offset": offset, "endOffset": end, **more}


def _chunk(offset: int, **more: object) -> dict[str, object]:
    return {"type": "chunk", "name": "f", "offset": offset, "chunkOffset": 50, "chunkDigest": D, **more}


HOSTILE: dict[str, Any] = {
    "no entries": {"version": 1, "entries": "many"},
    "another version": {"version": 2, "entries": []},
    "overlap": {"version": 1, "entries": [_file(10, 60), _file(50, 90)]},
    "backwards": {"version": 1, "entries": [_file(50, 60), _file(10, 20)]},
    "twice the same place": {"version": 1, "entries": [_file(10, 60), _file(10, 60)]},
    "an end before its start": {"version": 1, "entries": [_file(50, 40)]},
    "an end at its start": {"version": 1, "entries": [_file(50, 50)]},
    "beyond the files": {"version": 1, "entries": [_file(10, 1001)]},
    "far beyond": {"version": 1, "entries": [_file(1 << 61, 1 << 62)]},
    "into the table": {"version": 1, "entries": [_file(1001, 1002)]},
    "negative offset": {"version": 1, "entries": [_file(-5, 5)]},
    "negative size": {"version": 1, "entries": [_file(10, 60, size=-1)]},
    "a huge number": {"version": 1, "entries": [_file(10, 60, size=1 << 80)]},
    "a fraction": {"version": 1, "entries": [_file(10, 60, size=1.5)]},
    "a truth": {"version": 1, "entries": [_file(10, 60, size=True)]},
    "a digest that is no text": {"version": 1, "entries": [_file(10, 60, digest=[1])]},
    "a chunk without a file": {"version": 1, "entries": [_chunk(10)]},
    "a chunk of an empty file": {"version": 1, "entries": [{"type": "reg", "name": "f"}, _chunk(10)]},
    "a chunk beyond its file": {"version": 1, "entries": [_file(10, 60, chunkSize=50), _chunk(70)]},
    "an entry that is none": {"version": 1, "entries": [{}]},
    "an entry that is a number": {"version": 1, "entries": [7]},
    "an entry in place of the table": {"version": 1, "entries": [], "type": "reg", "name": "f"},
}


@pytest.mark.parametrize("table", HOSTILE.values(), ids=HOSTILE)
def test_hostile_tables_are_refused(table: object) -> None:
    layer, tail = _layer(json.dumps(table).encode())
    with pytest.raises(IntegrityError):
        read_spans(layer, tail, 1000)


def test_tables_that_are_too_much_are_refused() -> None:
    entries = b",".join([b'{"type":"dir","name":"d"}'] * (MAX_TOC_ENTRIES + 1))
    deep = b"[" * 100 + b"]" * 100
    for toc in (b'{"version":1,"entries":[' + entries + b"]}", b'{"version":1,"entries":' + deep + b"}", b"", b"\xff"):
        layer, tail = _layer(toc)
        with pytest.raises(IntegrityError):
            read_spans(layer, tail, 1000)
    layer, tail = _layer(bytes(3000), plain=2999)
    with pytest.raises(IntegrityError, match="larger"):
        read_spans(layer, tail, 1000)


def test_a_table_that_the_manifest_does_not_name_is_refused() -> None:
    layer, tail = _layer(b'{"version":1,"entries":[]}')
    assert read_spans(layer, tail, 1000)
    with pytest.raises(IntegrityError, match="manifest names"):
        read_spans(layer, tail[:-1] + bytes([tail[-1] ^ 1]), 1000)
    made = estargz(FILES)
    place = annotated(replace(made.descriptor, annotations={STARGZ_DIGEST: D}))
    assert place is not None
    start = stargz_tail(made.blob[-51:], len(made.blob))
    with pytest.raises(IntegrityError, match="manifest names"):
        read_spans(place, made.blob[start:], start)


_NUMBERS = st.one_of(st.integers(0, 1100), st.sampled_from([-1, 1 << 62, 1 << 70, 1.5, None, "7", True]))
_FIELDS = ("offset", "endOffset", "size", "chunkSize", "chunkOffset")
_ENTRIES = st.fixed_dictionaries(
    {"type": st.sampled_from(["reg", "chunk", "dir", "link", 7]), "name": st.text(max_size=3)},
    optional={
        **dict.fromkeys(_FIELDS, _NUMBERS),
        "digest": st.sampled_from([D, "", 7]),
        "chunkDigest": st.sampled_from([D, ""]),
    },
)


@given(st.lists(_ENTRIES, max_size=6), st.sampled_from(["zstd:chunked", "estargz"]))
def test_any_table_gives_whole_spans_or_none(entries: list[object], form: Any) -> None:
    layer, tail = _layer(json.dumps({"version": 1, "entries": entries}).encode())
    if form == "estargz":
        toc = json.dumps({"version": 1, "entries": entries}).encode()
        table = gzip.compress(archive({"stargz.index.json": toc}), 1)
        layer, tail = replace(layer, form=form, digest=digest_of(toc)), table + bytes(51)
    try:
        spans = read_spans(layer, tail, 1000)
    except IntegrityError:
        return
    _check_whole(spans, 1000)
