"""What docker, podman and skopeo do where polyarch promises something of its state: `python -m support.state_peers`.

As root, in `tests`. Words choose clients and cases (all, if none is named); of the others the answers are kept. Each
client works on a small disk of its own. Answers are kept in state_peers.json, from which the table in docs/trust.md is
written; both are checked by a test.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import create_server

from polyarch.testing.debian_busybox import ARCHITECTURES, debian_busybox
from polyarch.testing.layout_writer import Layer, LayoutWriter, folder, link, regular
from support.docker_registry import DockerRegistry
from support.joined_networks import Relay
from support.layout_files import Layout
from support.registry_faults.peers import versions
from support.small_disk import SmallDisk
from support.state_bench import LAYER, Bench, Content
from support.state_cases import CASES
from support.state_clients import CLIENTS, LAYER_FILE, Client

KEPT = Path(__file__).with_suffix(".json")
CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "docs" / "trust.md"
BEGIN, END = "<!-- state: begin -->\n", "<!-- state: end -->\n"
DISK = 400 << 20


def write_images(directory: Path, busybox: Path) -> dict[str, Content]:
    """The layout with the images: `app`, whose large layer is random, and `other`, which is small."""
    writer, chance = LayoutWriter(directory), random.Random(9)
    found = {}
    for name, size in (("app", LAYER), ("other", 100_000)):
        data = chance.randbytes(size)
        program = regular("bin/busybox", busybox.read_bytes() + bytes(len(found)), 0o755)  # they share no layer
        programs = [folder("bin"), program, link("bin/sha256sum", "busybox")]
        layers = [writer.layer(programs, "programs"), writer.layer([regular(LAYER_FILE, data)], name)]
        image = writer.image({"os": "linux", "architecture": "amd64"}, layers)
        writer.name(f"state/{name}:1", image)
        found[name] = _content(directory, image["digest"], layers, data)
    writer.finish()
    return found


def _content(directory: Path, manifest: str, layers: Sequence[Layer], data: bytes) -> Content:
    document = json.loads((directory / "blobs" / manifest.replace(":", "/")).read_bytes())
    ids = [layer.diff_id for layer in layers]
    return Content(manifest, document["config"]["digest"], layers[-1].digest, ids, hashlib.sha256(data).hexdigest())


class Place:
    """Where the cases of one client are run, one after the other."""

    def __init__(self, name: str, folder: Path, storage: Path, images: Mapping[str, Content]) -> None:
        self._make, self._folder, self._images = CLIENTS[name], folder, images
        self.registry = DockerRegistry(folder / "registry", storage=storage)
        self._clean = 0

    def run(self, case: str) -> str | None:
        if not self._clean:
            with self._bench() as bench:
                bench.must(bench.client.pull("app"))
                self._clean = bench.disk.used
        with self._bench() as bench:
            return CASES[case][1](bench)

    @contextlib.contextmanager
    def _bench(self) -> Iterator[Bench]:
        with contextlib.ExitStack() as stack:
            aside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="state-", ignore_cleanup_errors=True)))
            disk = SmallDisk(aside, aside / "disk", DISK)
            disk.begin()
            stack.callback(disk.unmount)
            relay = Relay(create_server(("127.0.0.1", 0)), self.registry.address)
            stack.callback(relay.stop)
            empty = DockerRegistry(aside / "empty")
            stack.callback(empty.stop)

            def make(umask: int) -> Client:
                (aside / f"home-{umask}").mkdir()
                return self._make(aside / "disk" / "data", aside / f"home-{umask}", relay, umask)

            bench = Bench(disk, make, self.registry, empty, self._images, self._clean)
            stack.callback(lambda: bench.client.stop())
            yield bench


def table(kept: dict[str, dict[str, str]]) -> str:
    """The section of docs/trust.md."""
    names = ", ".join(f"{name} {version}" for name, version in kept["versions"].items())
    lines = [f"Run with {names}.", "", f"| | {' | '.join(CLIENTS)} |", f"|---|{'---|' * len(CLIENTS)}"]
    for case, (what, _) in CASES.items():
        cells = [kept[client].get(case, "–") for client in CLIENTS]
        lines.append(f"| {what} (`{case}`) | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_page(kept: dict[str, dict[str, str]], page: Path = PAGE) -> None:
    """Put the table between the marks of the page."""
    before, mark, rest = page.read_text().partition(BEGIN)
    assert mark, f"{page} has no marks"
    page.write_text(before + BEGIN + table(kept) + END + rest.partition(END)[2])


def _ran(name: str, folder: Path, storage: Path, images: Mapping[str, Content], cases: Sequence[str]) -> dict[str, str]:
    folder.mkdir()
    place, found = Place(name, folder, storage, images), {}
    try:
        for case in cases:
            try:
                answer = place.run(case)
            except Exception:
                print(f"{name} {case}: not answered: {traceback.format_exc()}", flush=True)
                continue
            print(f"{name} {case}: {answer}", flush=True)
            if answer is not None:
                found[case] = answer
    finally:
        place.registry.stop()
    return found


def main(wanted: Sequence[str]) -> None:
    """The clients that are wanted, at once."""
    if unknown := {*wanted} - {*CLIENTS, *CASES}:
        sys.exit(f"neither clients nor cases: {', '.join(sorted(unknown))}")
    clients = [client for client in CLIENTS if client in wanted] or list(CLIENTS)
    cases = [name for name in CASES if name in wanted] or list(CASES)
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    cache = Path(os.environ.get("POLYARCH_TEST_CACHE") or CHECKOUT / ".cache" / "tests")
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="state-peers-")))
        images = write_images(place / "layout", debian_busybox(ARCHITECTURES, cache)["amd64"])
        registry = DockerRegistry(place / "registry")
        registry.fill(Layout(place / "layout"))
        registry.stop()
        pool = stack.enter_context(ThreadPoolExecutor())
        running = {
            client: pool.submit(_ran, client, place / client, registry.storage, images, cases) for client in clients
        }
        for client, future in running.items():
            known = {**kept.get(client, {}), **future.result()}
            kept[client] = {name: known[name] for name in CASES if name in known}
    kept["versions"] = versions()
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    write_page(kept)


if __name__ == "__main__":
    main(sys.argv[1:])
