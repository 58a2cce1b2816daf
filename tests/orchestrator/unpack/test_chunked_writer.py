"""zstd:chunked as it is written: the same archive comes out, and each frame is where the table says."""

from __future__ import annotations

import base64
import io
import json
import random
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import HostError, IntegrityError
from polyarch.oci import compression
from polyarch.oci.chunked import annotated
from polyarch.oci.compression import decompressed
from polyarch.oci.digest import digest_of
from polyarch.unpack.chunked import CUT_FROM, LARGEST, SMALLEST, NotChunked, chunks_of_file, pack_chunked
from polyarch.unpack.recompress import COMPRESSIONS, OCI_LAYER_ZSTD, Compression, is_so, recompress
from polyarch.unpack.stream import LayerStream
from support.chunked_layers import MadeLayer, archive, packed


def _plain(data: bytes) -> bytes:
    return b"".join(decompressed(io.BytesIO(data)))


def _table(layer: MadeLayer) -> list[dict[str, Any]]:
    place = annotated(layer.descriptor)
    assert place is not None
    table = json.loads(_plain(layer.blob[place.offset : place.offset + place.size]))
    assert table["version"] == 1
    return list(table["entries"])


def _contents(layer: MadeLayer) -> dict[str, bytes]:
    """What the table alone leads to, each chunk and each file held against its digest."""
    found: dict[str, bytes] = {}
    for entry in _table(layer):
        if entry["type"] == "reg":
            data = _plain(layer.blob[entry["offset"] : entry["endOffset"]]) if entry.get("size") else b""
            assert len(data) == entry.get("size", 0)
            assert not data or digest_of(data) == entry["digest"]
            found[entry["name"]] = data
        if "chunkDigest" in entry:
            start = entry.get("chunkOffset", 0)
            chunk = found[entry["name"]][start : start + entry["chunkSize"]]
            assert digest_of(chunk) == entry["chunkDigest"]
            assert _plain(layer.blob[entry["offset"] :])[: len(chunk)] == chunk
    return found


def _entries(draw: Any) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    for number in range(draw(st.integers(0, 6))):
        info = tarfile.TarInfo(f"{draw(st.sampled_from(['a', 'dir/ü', 'x' * 200]))}{number}")
        info.mtime = draw(st.sampled_from([0, 1, 1.5, 1_704_067_200]))
        info.mode, info.uid = draw(st.integers(0, 0o7777)), draw(st.sampled_from([0, 1000, 3_000_000]))
        info.type = draw(st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE]))
        data = draw(st.binary(max_size=1500)) if info.isreg() else b""
        info.size, info.linkname = len(data), "target" if info.issym() else ""
        if draw(st.booleans()):
            info.pax_headers = {"SCHILY.xattr.user.some": "välue"}
        yield info, data


@st.composite
def archives(draw: Any) -> tuple[bytes, dict[str, tarfile.TarInfo], dict[str, bytes]]:
    made, infos, contents = io.BytesIO(), {}, {}
    with tarfile.TarFile(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in _entries(draw):
            tar.addfile(info, io.BytesIO(data))
            infos[info.name] = info
            if info.isreg():
                contents[info.name] = data
    return made.getvalue() + bytes(draw(st.sampled_from([0, 512, 700]))), infos, contents


@given(archives())
def test_any_archive_comes_out_as_it_went_in(made: tuple[bytes, dict[str, tarfile.TarInfo], dict[str, bytes]]) -> None:
    tar, infos, contents = made
    layer = packed(tar)
    assert _plain(layer.blob) == tar
    assert _contents(layer) == contents
    for entry in _table(layer):
        info = infos[entry["name"].rstrip("/")]
        assert (entry.get("mode", 0), entry.get("uid", 0)) == (info.mode, info.uid)
        assert entry.get("linkName", "") == info.linkname
        xattrs = {name: base64.b64decode(value).decode() for name, value in entry.get("xattrs", {}).items()}
        assert xattrs == ({"user.some": "välue"} if info.pax_headers.get("SCHILY.xattr.user.some") else {})
        assert entry["modtime"].startswith({0: "1970-01-01T00:00:0", 1: "1970-01-01T00:00:01"}.get(int(info.mtime), ""))


def test_a_large_file_is_cut_into_chunks() -> None:
    data = random.Random(1).randbytes(3 * LARGEST) + bytes(2 * LARGEST)
    layer = packed(archive({"small": b"x" * (CUT_FROM - 1), "large": data, "after": b"y"}))
    assert _contents(layer)["large"] == data
    chunks = [entry for entry in _table(layer) if entry["name"] == "large"]
    assert len(chunks) > 5
    assert all(SMALLEST <= chunk["chunkSize"] <= LARGEST for chunk in chunks[:-1])
    assert [entry["type"] for entry in _table(layer)] == ["reg", "reg", *["chunk"] * (len(chunks) - 1), "reg"]


def test_chunks_stay_behind_what_is_put_in() -> None:
    data = random.Random(2).randbytes(6 * LARGEST)
    one = set(chunks_of_file(iter([data])))
    other = set(chunks_of_file(data[at : at + 9999] for at in range(0, len(data), 9999)))
    assert one == other  # however it comes
    changed = set(chunks_of_file(iter([data[:100_000] + b"put in" + data[100_000:]])))
    assert len(changed - one) <= 3 < len(one)


def test_a_file_gives_the_same_frame_in_any_layer() -> None:
    data = random.Random(3).randbytes(5000).hex().encode()
    alone = packed(archive({"f": data}))
    among = packed(archive({"before": b"b" * 70_000, "f": data, "after": b"a"}))

    def frame(layer: MadeLayer) -> bytes:
        (entry,) = (entry for entry in _table(layer) if entry["name"] == "f")
        return layer.blob[entry["offset"] : entry["endOffset"]]

    assert frame(alone) == frame(among)


def _odd(name: str = "f", mtime: int = 1, **fields: Any) -> bytes:
    made = io.BytesIO()
    with tarfile.TarFile(fileobj=made, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        info = tarfile.TarInfo(name)
        info.mtime = mtime
        for field, value in fields.items():
            setattr(info, field, value)
        tar.addfile(info)
    return made.getvalue()


@pytest.mark.parametrize(
    "tar",
    [
        _odd("\udcff"),
        _odd(type=tarfile.SYMTYPE, linkname="\udcff"),
        _odd(mtime=-1),
        _odd(mtime=1 << 39),
    ],
    ids=["name", "target", "before 1970", "after 9999"],
)
def test_what_no_table_can_say_is_refused(tar: bytes) -> None:
    with pytest.raises(NotChunked):
        packed(tar)


def test_a_layer_of_another_diff_id_is_refused() -> None:
    tar = archive({"f": b"data"})
    with pytest.raises(IntegrityError, match="diff ID"):
        pack_chunked(LayerStream(io.BytesIO(tar), "layer", digest_of(b"another")), io.BytesIO())


@pytest.mark.parametrize("way", COMPRESSIONS)
def test_a_layer_is_compressed_in_each_way(way: Compression) -> None:
    tar = archive({"f": b"data" * 1000})
    for source in (tar, packed(tar).blob):
        out = io.BytesIO()
        made = recompress(io.BytesIO(source), "layer", digest_of(tar), way, out)
        assert (digest_of(out.getvalue()), len(out.getvalue())) == (made.digest, made.size)
        assert _plain(out.getvalue()) == tar
        assert is_so(made, way)
        assert [each for each in COMPRESSIONS if is_so(made, each)] == (
            ["zstd", "zstd:chunked"] if way == "zstd:chunked" else [way]
        )
    with pytest.raises(IntegrityError):
        recompress(io.BytesIO(tar), "layer", digest_of(b"another"), way, io.BytesIO())


def test_without_a_zstd_module_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    tar = archive({"f": b"data"})
    monkeypatch.setattr(compression, "_module", lambda *names: None)
    for way in (way for way in COMPRESSIONS if way != "gzip"):
        with pytest.raises(HostError, match="nothing here compresses by zstd") as told:
            recompress(io.BytesIO(tar), "layer", digest_of(tar), way, io.BytesIO())
        assert "backports.zstd" in (told.value.hint or "")
    assert OCI_LAYER_ZSTD.endswith("tar+zstd")
