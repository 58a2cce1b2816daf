"""The index made of a scan answers as the one that walks the layer itself."""

from __future__ import annotations

from pathlib import Path

from polyarch.unpack.erofs.layer import scan_layer
from polyarch.unpack.layer_index import Content, LayerIndex
from polyarch.unpack.scanned_index import ScannedIndex
from polyarch.unpack.stream import LayerStream
from support.layers import diff_id, file, folder, hard_link, layer, opener, symlink

DATA = layer(
    folder("bin"),
    file("bin/first", "first"),
    file("bin/sh", "old"),
    file("bin/sh", b"\x7fELF" + bytes(3000) + b"end"),
    hard_link("bin/hard", "./bin/sh"),
    symlink("bin/soft", "sh"),
    file("usr/lib/deep", "implied directories"),
    file("etc/.wh.gone"),
    file("opt/.wh..wh..opq"),
    file("empty"),
    file("was-file", "x"),
    symlink("was-file", "elsewhere"),
)
PATHS = [
    "bin",
    "bin/first",
    "bin/sh",
    "bin/hard",
    "bin/soft",
    "usr",
    "usr/lib/deep",
    "etc/gone",
    "opt/x",
    "empty",
    "was-file",
    "none",
]


def read(content: Content | None) -> tuple[int, bytes] | None:
    if content is None:
        return None
    content.stream.seek(0)
    return content.size, content.stream.read()


def test_it_answers_as_the_other(tmp_path: Path) -> None:
    walked = LayerIndex(opener(DATA), "layer", [])
    with (tmp_path / "archive").open("w+b") as archive:
        scanned = scan_layer(LayerStream(opener(DATA)(), "layer", diff_id(DATA)), archive)
        archive.flush()
        index = ScannedIndex(scanned, archive.fileno())
        for path in (each.encode() for each in PATHS):
            assert (index.node(path), index.hides(path)) == (walked.node(path), walked.hides(path)), path
            assert read(index.content(path)) == read(walked.content(path)), path
        content = index.content(b"bin/hard")
        assert content is not None
        assert content.stream.seek(-3, 2) == 3004
        assert content.stream.read() == b"end"
