"""Images for fleets: made to measure, and pushed to an origin. A program, so that who measures stays small:

python -m benchmarks.fleet_images BUSYBOX FOLDER ADDRESS NAME LAYER…

LAYER is TEXT:BYTES: its bytes come from the text alone and are about so many when compressed. The image has the program
in a layer of its own before them. Prints a line `DIGEST BYTES` for each layer.
"""

from __future__ import annotations

import platform
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.programs import program
from benchmarks.registry import Origin

_FILE = 48 << 10
"""Bytes of a file, of which half does not become smaller."""
_LARGE = 64 << 20
"""Bytes of a layer from which on its files are larger and do not become smaller: for memory, not for file systems."""
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


def push(origin: Origin, folder: Path, name: str, layers: Mapping[str, int]) -> dict[str, int]:
    """Puts an image into the origin under a name (`fleet/app:1`): digest -> bytes of its layers."""
    words = [f"{text}:{size}" for text, size in layers.items()]
    own = Path(__file__).resolve().parent.parent / ".cache" / "tests"
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.fleet_images", str(own), str(folder), origin.address, name, *words],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parent.parent,
    )
    return {digest: int(size) for digest, size in map(str.split, said.stdout.splitlines())}


def main(cache: Path, folder: Path, address: str, name: str, layers: Sequence[str]) -> None:
    """Writes it, pushes it, and tells of it."""
    from polyarch.testing.debian_busybox import debian_busybox
    from polyarch.testing.layout_writer import LayoutWriter, TarEntry, link, regular
    from polyarch.testing.layout_writer import folder as directory

    machine = _MACHINES.get(platform.machine(), platform.machine())
    busybox = debian_busybox([machine], cache)[machine]
    layout = LayoutWriter(folder / "layout")

    def files(text: str, size: int) -> Iterator[TarEntry]:
        yield directory("srv")
        yield directory(f"srv/{text}")
        numbers, large = random.Random(text), size >= _LARGE
        half = 4 << 20 if large else _FILE // 2
        for number in range(max(1, size // half)):
            data = numbers.randbytes(half)
            yield regular(f"srv/{text}/{number}", data if large else data + b"the same again\n" * (half // 15))

    programs = [directory("bin"), regular("bin/busybox", busybox.read_bytes(), 0o755), link("bin/sh", "busybox")]
    made = [layout.layer(programs, "ADD programs /")]
    for each in layers:
        text, _, size = each.rpartition(":")
        made.append(layout.layer(files(text, int(size)), f"ADD {text} /srv"))
    labels = {"os": "linux", "architecture": machine}
    layout.name(name, layout.index([{**layout.image(labels, made), "platform": labels}]))
    layout.finish()
    copy = ["--insecure-policy", "copy", "--all", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
    subprocess.run(
        [program("skopeo"), *copy, f"oci:{layout.directory}:{name}", f"docker://{address}/{name}"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    shutil.rmtree(layout.directory)
    for layer in made:
        print(layer.digest, layer.size)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:])
