from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from polyarch.errors import HostError, IntegrityError
from polyarch.oci import compression
from polyarch.oci.compression import CHUNK, decompressed, decompressed_archive

TEXT = b"".join(b"line %d of a text that compresses\n" % number for number in range(40_000))


def zstd(data: bytes) -> bytes:
    if not shutil.which("zstd"):
        pytest.skip("the zstd program is not here")
    return subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout


def members(data: bytes) -> bytes:
    third = len(data) // 3
    return b"".join(gzip.compress(part) for part in (data[:third], b"", data[third : 2 * third], data[2 * third :]))


def everything(data: bytes) -> bytes:
    return b"".join(decompressed(io.BytesIO(data), "here"))


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "gzip of several members": members,
    "gzip padded with zeros": lambda data: gzip.compress(data) + bytes(1000),
    "gzip with a name": lambda data: (
        gzip.compress(data)[:3]
        + b"\x08"
        + gzip.compress(data)[4:10]
        + b"layer.tar\0"
        # the header's fixed ten bytes, with FNAME set, then the name
        + gzip.compress(data)[10:]
    ),
    "zstd": zstd,
    "zstd of two frames": lambda data: zstd(data[:1000]) + zstd(data[1000:]),
    "zstd behind a skippable frame": lambda data: b"\x53\x2a\x4d\x18\x04\0\0\0abcd" + zstd(data),
}


@pytest.fixture(params=["installed", "standard library"])
def modules(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with what is installed for speed, once with what is always there."""
    if request.param == "standard library":
        monkeypatch.setattr(compression, "_module", lambda *names: None)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("data", [b"", b"x", TEXT], ids=["empty", "one byte", "long"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_bytes(form: str, data: bytes) -> None:
    assert everything(FORMS[form](data)) == data


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("form", ["gzip", "gzip of several members", "zstd"])
def test_a_stream_cut_anywhere_is_an_error(form: str) -> None:
    whole = FORMS[form](TEXT[:5000])
    whole_members = {len(gzip.compress(TEXT[:1666])), len(gzip.compress(TEXT[:1666]) + gzip.compress(b""))}
    for length in range(8, len(whole), 7):
        if length in whole_members and form == "gzip of several members":
            continue
        with pytest.raises(IntegrityError, match=r"^here: "):
            everything(whole[:length])


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_garbage_behind_or_inside_is_an_error(form: str) -> None:
    whole = FORMS[form](TEXT)
    for broken in (whole + b"garbage", whole[:200] + bytes(50) + whole[250:]):
        with pytest.raises(IntegrityError):
            everything(broken)


@pytest.mark.parametrize(
    ("data", "name"), [(bz2.compress(TEXT), "bzip2"), (lzma.compress(TEXT), "xz"), (b"\x1f\x9d" + TEXT, "compress")]
)
def test_other_compressions_are_refused_by_name(data: bytes, name: str) -> None:
    with pytest.raises(IntegrityError, match=f"here: compressed by {name}"):
        everything(data)


ARCHIVES: dict[str, Callable[[bytes], bytes]] = {"bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_whole_archive_may_be_compressed_otherwise(name: str) -> None:
    packed = ARCHIVES[name](TEXT)

    def archive(data: bytes) -> bytes:
        return b"".join(decompressed_archive(io.BytesIO(data), "here"))

    assert archive(packed) == archive(gzip.compress(TEXT)) == archive(TEXT) == TEXT
    assert archive(packed + packed) == TEXT + TEXT
    for broken in (packed[:-20], packed[:50] + b"no" + packed[52:], packed + b"garbage"):
        with pytest.raises(IntegrityError, match=f"here: .*{name}"):
            archive(broken)
    sizes = [len(chunk) for chunk in decompressed_archive(io.BytesIO(ARCHIVES[name](bytes(20 << 20))), "here")]
    assert (sum(sizes), max(sizes) <= CHUNK) == (20 << 20, True)


def test_an_xz_archive_cannot_ask_for_all_memory() -> None:
    greedy = lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}])
    with pytest.raises(IntegrityError, match="here: not a sound xz stream"):
        list(decompressed_archive(io.BytesIO(greedy), "here"))


def test_zstd_without_any_means_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zstd(TEXT)
    monkeypatch.setattr(compression, "_module", lambda *names: None)
    monkeypatch.setattr(compression.shutil, "which", lambda name: None)
    with pytest.raises(HostError) as caught:
        everything(packed)
    assert "apt install zstd" in str(caught.value.hint)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_a_bomb_comes_out_in_small_chunks(form: str) -> None:
    sizes = [len(chunk) for chunk in decompressed(io.BytesIO(FORMS[form](bytes(50 << 20))), "here")]
    assert sum(sizes) == 50 << 20
    assert max(sizes) <= CHUNK


def test_the_zstd_program_is_ended_when_nobody_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zstd(bytes(50 << 20))
    monkeypatch.setattr(compression, "_module", lambda *names: None)
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*args: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(real(*args, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    chunks = decompressed(io.BytesIO(packed), "here")
    next(chunks)
    chunks.close()
    assert started[0].returncode is not None


def test_the_fast_modules_are_the_ones_that_are_used() -> None:
    pytest.importorskip("isal")
    everything(gzip.compress(TEXT))
    assert "isal.isal_zlib" in sys.modules
