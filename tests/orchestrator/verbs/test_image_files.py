"""Images as directories of files for polyarch's own use."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from polyarch.contract import Image
from polyarch.errors import IntegrityError
from polyarch.oci.digest import digest_of, hex_of
from polyarch.unpack.limits import USUAL
from polyarch.verbs.image_files import at_hand, unpacked
from support.layers import file, folder, layer
from support.small_images import SmallStorage


class Storage(SmallStorage):
    """Hands its blobs out, and counts how often."""

    opened = 0

    def open_blob(self, digest: str) -> BinaryIO:
        self.opened += 1
        return io.BytesIO(self.path(digest).read_bytes())


@pytest.fixture
def made(tmp_path: Path) -> Callable[[bytes], tuple[Storage, Image, Path]]:
    def make(data: bytes) -> tuple[Storage, Image, Path]:
        (tmp_path / "blobs").mkdir(exist_ok=True)
        storage = Storage(tmp_path / "blobs")
        return storage, storage.manifest("linux/amd64", [data]), tmp_path / "root" / "files"

    return make


ROOT = layer(folder("usr"), folder("usr/bin"), file("usr/bin/qemu-arm", b"program", mode=0o4755))


def test_it_is_unpacked_once_and_then_at_hand(made: Callable[[bytes], tuple[Storage, Image, Path]]) -> None:
    storage, image, directory = made(ROOT)
    assert at_hand([image], directory) is None
    place = unpacked(image, storage, directory, limits=USUAL)
    assert place.name == hex_of(image.manifest.digest)
    program = place / "usr" / "bin" / "qemu-arm"
    assert program.read_bytes() == b"program"
    assert program.stat().st_mode & 0o7777 == 0o755, "nobody's rights come out of an image"
    assert unpacked(image, storage, directory, limits=USUAL) == place
    assert storage.opened == 1
    assert at_hand([image], directory) == place
    assert at_hand([], directory) is None


def test_what_was_not_finished_is_never_at_hand(made: Callable[[bytes], tuple[Storage, Image, Path]]) -> None:
    storage, image, directory = made(ROOT)
    broken = replace(image, config=replace(image.config, diff_ids=(digest_of(b"other"),)))
    with pytest.raises(IntegrityError):
        unpacked(broken, storage, directory, limits=USUAL)
    assert at_hand([image], directory) is None
    killed = directory / f".{hex_of(image.manifest.digest)}.0123456789ab.new"
    (killed / "usr").mkdir(parents=True)
    place = unpacked(image, storage, directory, limits=USUAL)
    assert {path.name for path in directory.iterdir()} == {"lock", place.name}
