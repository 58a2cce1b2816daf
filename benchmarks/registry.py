"""Where images come from: Debian's docker-registry on loopback, with a big image of real files or a small one."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from benchmarks.process import BenchmarkError
from benchmarks.programs import program

NAME = "big:1.0"
SAMPLE = "busybox:1.36"
"""A small image for several platforms, each with Debian's static busybox."""
# Apache's combined format: host - user [time] "METHOD PATH PROTOCOL" status bytes …
_REQUEST = re.compile(r'^\S+ \S+ \S+ \[[^]]*] "(\S+) (\S+) [^"]*" \d+ (\d+)', re.MULTILINE)
_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Origin:
    """A running registry: its address and its log."""

    address: str
    log: Path

    @property
    def reference(self) -> str:
        """The image that is pulled."""
        return f"{self.address}/{NAME}"

    def requests(self) -> list[tuple[str, str]]:
        """(method, path) of all requests for images so far, in the order in which they ended."""
        return [(method, path) for method, path, _ in self._logged()]

    def blobs(self) -> list[tuple[str, int]]:
        """(digest, bytes) of all answers with a blob or a part of one so far."""
        return [
            (path.rpartition("/")[2], size)
            for method, path, size in self._logged()
            if method == "GET" and "/blobs/" in path
        ]

    def answers(self) -> bool:
        """Whether it speaks."""
        return _ask(self.address, "/v2/?start")

    def _logged(self) -> list[tuple[str, str, int]]:
        mark = f"/v2/?mark={time.monotonic_ns()}"
        _ask(self.address, mark)
        await_true(lambda: mark in self.log.read_text(), "the registry's log is not written")
        found = _REQUEST.findall(self.log.read_text())
        return [(method, path, int(size)) for method, path, size in found if not path.startswith("/v2/?")]


VARIANTS = "variants:1.0"
"""An image for five platforms, of two layers each that cannot be compressed."""

_VARIANTS = """
import random
from polyarch.testing.layout_writer import LayoutWriter, regular
layout = LayoutWriter(pathlib.Path(sys.argv[1]))
entries = []
for number, architecture in enumerate(("amd64", "arm64", "386", "ppc64le", "s390x")):
    layers = [
        layout.layer([regular("data", random.Random(2 * number + part).randbytes(42_000_000))], "COPY data /")
        for part in range(2)
    ]
    platform = {"os": "linux", "architecture": architecture}
    entries.append({**layout.image(platform, layers), "platform": platform})
layout.name("variants:1.0", layout.index(entries))
layout.finish()
"""
_BIG = "from polyarch.testing.big_image import big_image; big_image(pathlib.Path(sys.argv[1]))"
_SAMPLES = (
    "from polyarch.testing.debian_busybox import ARCHITECTURES, debian_busybox\n"
    "from polyarch.testing.sample_images import write_layout\n"
    "write_layout(pathlib.Path(sys.argv[1]), debian_busybox(ARCHITECTURES, pathlib.Path(sys.argv[2])))"
)


def prepare(directory: Path) -> Path:
    """A folder with the big image as docker-registry keeps it, made once and kept in `directory`."""
    return _prepared(directory, "big", _BIG, NAME)


def prepare_samples(directory: Path) -> Path:
    """The same with the small image."""
    return _prepared(directory, "samples", _SAMPLES, SAMPLE)


def prepare_variants(directory: Path) -> Path:
    """The same with the image for five platforms."""
    return _prepared(directory, "variants", _VARIANTS, VARIANTS)


def _prepared(directory: Path, folder: str, code: str, name: str) -> Path:
    storage = directory / folder
    if storage.exists():
        return storage
    layout, unfinished = directory / "layout", directory / f"{folder}.unfinished"
    for old in (layout, unfinished):
        shutil.rmtree(old, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    # In processes of their own: this one has to stay small, see `Run`.
    subprocess.run([sys.executable, "-c", f"import sys, pathlib\n{code}", str(layout), str(directory)], check=True)
    with origin(unfinished, directory / "fill.log") as filled:
        copy = ["--insecure-policy", "copy", "--all", "--quiet", "--preserve-digests", "--dest-tls-verify=false"]
        target = f"docker://{filled.address}/{name}"
        subprocess.run([program("skopeo"), *copy, f"oci:{layout}:{name}", target], check=True)
    shutil.rmtree(layout)
    return unfinished.rename(storage)


@contextmanager
def origin(storage: Path, log: Path) -> Iterator[Origin]:
    """A registry that offers `storage` while the body runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    configuration = log.with_suffix(".yml")
    configuration.write_text(served(storage, address))
    with log.open("wb") as output:
        server = subprocess.Popen(
            [program("docker-registry"), "serve", str(configuration)], stdout=output, stderr=output
        )
    try:
        started = Origin(address, log)
        await_true(started.answers, f"docker-registry does not start; see {log}")
        yield started
    finally:
        server.terminate()
        server.wait()


def served(storage: Path, address: str) -> str:
    """docker-registry's configuration, to offer a folder at an address."""
    return json.dumps(  # YAML contains JSON
        {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(storage)}},
            "http": {"addr": address},
        }
    )


def _ask(address: str, path: str) -> bool:
    connection = HTTPConnection(address, timeout=_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def await_true(condition: Callable[[], bool], trouble: str) -> None:
    """Return once `condition` holds. Raises BenchmarkError with `trouble` where it does not for too long."""
    end = time.monotonic() + _SECONDS
    while not condition():
        if time.monotonic() > end:
            raise BenchmarkError(trouble)
        time.sleep(0.01)
