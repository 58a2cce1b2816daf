"""What a second version of an image costs where the first one is: bytes that travel, time, CPU. zstd:chunked.

`python -m benchmarks.second_version FOLDER` makes the image layouts that it is measured with.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bench import Bench, Turn, alternating
from benchmarks.process import measured
from benchmarks.programs import program
from benchmarks.registry import Origin, origin
from benchmarks.result import Case, Figure, against, cpu, memory

SIZE = 300_000_000
"""Bytes of the layer's archive."""
SMALL = 64 << 10
"""Bytes of a file that counts as small, at most."""
LARGEST = 32 << 20
"""Bytes of a file that is taken."""
LARGE = 4 << 20
"""Bytes of a file that counts as large, more than that."""
ONE_IN = 50
"""Of the small files one in so many is changed in the second version: 2%."""
_VERSIONS = ("first", "small-files", "one-large-file")


def second_version(bench: Bench) -> Case:
    """A layer of 300 MB of which 2% of the files, all small, changed; and the same with one large file changed."""
    layouts, root = bench.kept / "second-version", bench.work / "second-version-root"
    if not layouts.exists():
        unfinished = bench.kept / "second-version.unfinished"
        subprocess.run([sys.executable, "-m", "benchmarks.second_version", str(unfinished)], check=True)
        unfinished.rename(layouts)
    filled = Turn(bench.work / "second-version")
    filled.folder.mkdir()
    with filled.ends:
        place = filled.ends.enter_context(origin(filled.folder / "storage", filled.folder / "registry.log"))
        for version in _VERSIONS:
            name = f"{place.address}/second:{version}"
            measured(bench.polyarch(root, "pull", f"oci:{layouts / version}:second:{version}"), bench.environment)
            told = subprocess.run(
                bench.polyarch(root, "image", "ls", "-q"), capture_output=True, text=True, check=True
            ).stdout.split()
            words = bench.polyarch(root, "push", told[0], name, "--compression", "zstd:chunked")
            measured(words, bench.environment)
            measured(bench.polyarch(root, "image", "rm", told[0]), bench.environment)
        return _measured(bench, place)


def _measured(bench: Bench, place: Origin) -> Case:
    def prepared(turn: Turn) -> str:
        measured(bench.polyarch(turn.folder, "pull", f"{place.address}/second:first"), bench.environment)
        return f"{place.address}/second:small-files"

    def by_polyarch(turn: Turn) -> Sequence[str]:
        return bench.polyarch(turn.folder, "pull", prepared(turn))

    def by_skopeo(turn: Turn) -> Sequence[str]:
        words = [program("skopeo"), "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]
        into = f"oci:{turn.folder / 'layout'}"
        measured([*words, f"docker://{place.address}/second:first", f"{into}:first"], bench.environment)
        return [*words, f"docker://{place.address}/second:small-files", f"{into}:second"]

    contenders = alternating(
        bench, {"skopeo copy, 2nd version": by_skopeo, "polyarch pull, 2nd version": by_polyarch}, bench.runs
    )
    figures, notes = [], []
    for version, target in (("small-files", 5.0), ("one-large-file", 20.0)):
        root = bench.work / f"second-version-{version}"
        measured(bench.polyarch(root, "pull", f"{place.address}/second:first"), bench.environment)
        before = len(place.blobs())
        measured(bench.polyarch(root, "pull", f"{place.address}/second:{version}"), bench.environment)
        came = place.blobs()[before:]
        layer = max(came, key=lambda blob: [each[0] for each in came].count(blob[0]))[0]
        travelled = sum(size for digest, size in came if digest == layer)
        whole = next(root.glob(f"oci/blobs/sha256/{layer.removeprefix('sha256:')}")).stat().st_size
        figures.append(Figure(f"bytes that travel, {version}", 100 * travelled / whole, target, " %"))
        parts = sum(digest == layer for digest, _ in came)
        notes.append(f"{version}: {travelled / 1e6:.2f} MB of {whole / 1e6:.1f} MB in {parts} requests")
        measured(bench.polyarch(root, "verify", f"{place.address}/second:{version}"), bench.environment)
    return Case(
        "a second version of a layer of 300 MB (zstd:chunked)",
        contenders,
        [
            *figures,
            *against(contenders, "polyarch pull, 2nd version", "skopeo copy, 2nd version", 5, "CPU ÷ skopeo copy", cpu),
            *memory(contenders, "polyarch pull, 2nd version", 120),
        ],
        [*notes, "on loopback bytes cost next to nothing: what is saved is the network's time"],
    )


def _write(directory: Path) -> None:
    from polyarch.testing.layout_writer import LayoutWriter, regular

    for version in _VERSIONS:
        writer = LayoutWriter(directory / version)
        layer = writer.open_layer("COPY . / # buildkit")
        for name, data, later in _files(version):
            info, _ = regular(name, data)
            info.mtime += later
            layer.add((info, io.BytesIO(data)))
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        writer.name(f"second:{version}", writer.image({"os": "linux", "architecture": machine}, [layer.close()]))
        writer.finish()


def _files(version: str) -> Iterator[tuple[str, bytes, int]]:
    """(name, content, seconds by which it is newer) of the files of packages below /usr, SIZE bytes of them."""
    total = small = 0
    large = True
    folders = [Path(path) for path, _, _ in os.walk("/usr") if not path.startswith("/usr/local")]
    # In an order that a hash decides: so the layer holds a mix of what is small and what is large.
    for folder in sorted(folders, key=lambda path: hashlib.sha256(os.fsencode(path)).digest()):
        for path in sorted(folder.iterdir()):
            if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
                continue
            data, later = path.read_bytes(), 0
            small += len(data) <= SMALL
            if version == "small-files" and len(data) <= SMALL and small % ONE_IN == 0:
                data, later = b"# changed\n" + data, 1000
            if version == "one-large-file" and large and len(data) > LARGE:
                large, later = False, 1000
                data = data[: len(data) // 2] + b"put in" + data[len(data) // 2 :]
            yield str(path)[1:], data, later
            total += len(data)
            if total >= SIZE:
                return


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
