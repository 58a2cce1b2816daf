"""Layers of 20 GB that are nearly all hole, or zeros: neither memory nor disk pays for what is not there."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.testing.layout_writer import Layer, LayoutWriter, regular
from support import layers
from support.command import Polyarch
from support.disk import allocated
from support.figures import Figures
from support.measured import Measured
from support.sparse_files import sparse_file

pytestmark = [
    pytest.mark.system,
    pytest.mark.soak,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root has EROFS layers"),
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
]
SIZE = 20 << 30
MOST_MEMORY = 128 << 20
MOST_DISK = 4 << 20
MIDDLE = SIZE // 2
PIECES = ((0, b"begin".ljust(512, b".")), (MIDDLE, b"middle".ljust(512, b".")), (SIZE - 512, b"end".ljust(512, b".")))
LOOK = f"busybox stat -c %s /holes/big; busybox dd if=/holes/big bs=512 skip={MIDDLE // 512} count=1 2>/dev/null"


def image_with(folder: Path, busybox: Path, blob: bytes, diff_id: str) -> str:
    """An image with busybox, and above it a layer of these bytes."""
    writer = LayoutWriter(folder)
    base = writer.layer([regular("bin/busybox", busybox.read_bytes(), 0o755)], "busybox")
    made = writer.blob(blob, "application/vnd.oci.image.layer.v1.tar+gzip")
    layer = Layer(made["digest"], made["size"], "gzip", diff_id, "big")
    writer.name("big", writer.image({"os": "linux", "architecture": "amd64"}, [base, layer]))
    writer.finish()
    return f"oci:{folder}:big"


@pytest.fixture(params=["auto", "unpack"])
def measured(request: pytest.FixtureRequest, polyarch: Polyarch) -> Measured:
    """Commands that make layers ready in this form."""
    (polyarch.root.parent / "config.toml").write_text(f'layers = "{request.param}"\n')
    return Measured(polyarch, "--config", str(polyarch.root.parent / "config.toml"))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the image is of amd64")
@pytest.mark.parametrize("form", [pytest.param("0.1", marks=pytest.mark.costly), "1.0"])
def test_a_file_of_20_gb_that_is_a_hole(
    form: str,
    foreign_busybox: Callable[[str], Path],
    measured: Measured,
    polyarch: Polyarch,
    tmp_path: Path,
    figures: Figures,
) -> None:
    tar = layers.layer(layers.folder("holes"), sparse_file("holes/big", SIZE, PIECES, form))
    busybox = foreign_busybox("amd64")
    reference = image_with(tmp_path / "layout", busybox, gzip.compress(tar, mtime=0), layers.diff_id(tar))
    pulled = measured("pull", "--prepare", reference)
    (image,) = measured("image", "ls", "-q").lines
    ran = measured("run", "--rm", image, "busybox", "sh", "-c", LOOK)
    assert ran.lines == [str(SIZE), PIECES[1][1].decode()]
    disk = allocated(polyarch.root)
    unpacked = measured("image", "unpack", image, str(tmp_path / "unpacked"))
    big = tmp_path / "unpacked" / "holes" / "big"
    with big.open("rb") as stream:
        for at, data in PIECES:
            stream.seek(at)
            assert stream.read(len(data)) == data
    assert big.stat().st_size == SIZE
    for took in (pulled, ran, unpacked):
        assert took.memory <= MOST_MEMORY
    program = 2 * busybox.stat().st_size  # packed and unpacked
    assert disk <= program + MOST_DISK
    assert allocated(tmp_path / "unpacked") <= program + MOST_DISK
    figures(f"a 20 GiB hole in a layer ({form}): pull --prepare", str(pulled), "128 MiB")
    figures(f"a 20 GiB hole in a layer ({form}): image unpack", str(unpacked), "128 MiB")
    figures(f"a 20 GiB hole in a layer ({form}): disk beyond the program", f"{(disk - program) / 1e3:.0f} kB", "4 MiB")


@pytest.mark.costly  # a GiB is unpacked
def test_20_gb_of_zeros_are_a_bomb(
    foreign_busybox: Callable[[str], Path],
    measured: Measured,
    polyarch: Polyarch,
    tmp_path: Path,
    figures: Figures,
) -> None:
    """Refused by the ratio when a GiB of them has come, whatever is asked of it; and what was written is gone."""
    header = layers.file("zeros", size=SIZE).encoded()
    zeros = gzip.compress(bytes(64 << 20), mtime=0)
    blob = gzip.compress(header, mtime=0) + zeros * (SIZE // (64 << 20)) + gzip.compress(bytes(1024), mtime=0)
    reference = image_with(tmp_path / "layout", foreign_busybox("amd64"), blob, layers.diff_id(b"never reached"))
    for words in (("pull", reference), ("pull", "--prepare", reference), ("run", reference)):
        took = measured(*words, code=125 if words[0] == "run" else 7)
        assert any("grows more than 500-fold when it is decompressed" in line for line in took.lines)
        assert took.memory <= MOST_MEMORY
        assert measured("image", "ls", "-q").lines == []
        assert allocated(polyarch.root) <= 3 * len(blob)
        figures(f"20 GiB of zeros in a layer: {' '.join(words[:-1])}", f"refused (7), {took}", "128 MiB")
