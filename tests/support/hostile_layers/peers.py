"""What umoci, docker, podman and skopeo do with each layer, run here: `python -m support.hostile_layers.peers` (root).

Words choose clients and cases (all, if none is named); of the others the answers are kept. Each client works on a small
disk of its own, which a bomb fills instead of the machine's. Answers are kept in peers.json, from which the table in
docs/trust.md is written; both are checked by a test.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from polyarch.unpack.tree import remove_tree
from support.docker_registry import DockerRegistry
from support.dockerd import Dockerd
from support.hostile_layers import CASES
from support.hostile_layers.case import Case, foreign_attributes
from support.hostile_layers.image import write_layout
from support.layers import listing
from support.layout_files import Layout
from support.podman_engine import PodmanEngine

KEPT = Path(__file__).with_name("peers.json")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "trust.md"
BEGIN, END = "<!-- layers: begin -->\n", "<!-- layers: end -->\n"
CLIENTS = ("umoci", "docker", "podman", "skopeo")
SECONDS = 60
SECONDS_OF_HEAVY = 180
DISK = 3 << 30
_INODES = 400_000


def _ended(case: Case, argv: Sequence[str], environ: dict[str, str] | None = None) -> str:
    """ "" where it ends well."""
    seconds = SECONDS_OF_HEAVY if case.heavy else SECONDS
    environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **(environ or {})}
    try:
        done = subprocess.run(argv, capture_output=True, env=environ, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"no end in {seconds} s"
    if done.returncode == 0:
        return ""
    full = case.heavy and b"no space left on device" in done.stderr  # ext4 says so of attributes, too
    return f"fills a disk of {DISK >> 30} GiB" if full else "refuses"


def _seen(case: Case, tree: Path) -> str:
    """What is to be said of a tree that somebody made."""
    said = ["opens"]
    try:
        if case.tree is not None and listing(tree, case.facts) != case.tree:
            said.append("another tree")
        attributes = {each.partition(" ")[0] for each in foreign_attributes(tree)}
    except OSError:
        return "opens, not to be listed"
    said += [f"takes `{name}`" for name in sorted(attributes) if not name.startswith("trusted.overlay.opaque")]
    return ", ".join(said)


def _each(client: str, cases: Sequence[Case], run: Callable[[Case], str]) -> dict[str, str]:
    found = {}
    for case in cases:
        found[case.name] = run(case)
        print(f"{client} {case.name}: {found[case.name]}", file=sys.stderr, flush=True)
    return found


def _umoci(folder: Path, registry: DockerRegistry, cases: Sequence[Case]) -> dict[str, str]:
    def run(case: Case) -> str:
        layout, tree = folder / "layout", folder / "tree"
        write_layout(case, layout, "1")
        try:
            ended = _ended(case, ["umoci", "raw", "unpack", "--image", f"{layout}:1", str(tree)])
            return ended or _seen(case, tree)
        finally:
            for each in (layout, tree):
                remove_tree(each)

    return _each("umoci", cases, run)


def _docker(folder: Path, registry: DockerRegistry, cases: Sequence[Case]) -> dict[str, str]:
    engine = Dockerd(folder)

    def run(case: Case) -> str:
        name = registry.ref(f"{case.name}:1")
        if ended := _ended(case, ["docker", "pull", name], {"HOME": str(folder), **engine.environ}):
            return ended
        try:
            driver = engine.inspect(name)["GraphDriver"]
            with _overlay(driver["Data"], folder / "mounted") as tree:
                return _seen(case, tree)
        except (KeyError, subprocess.CalledProcessError):
            return "opens, not to be mounted"
        finally:
            engine.clear()

    try:
        return _each("docker", cases, run)
    finally:
        engine.stop()


@contextlib.contextmanager
def _overlay(data: dict[str, str], target: Path) -> Iterator[Path]:
    """docker's layers of an image, mounted read-only."""
    empty = target.with_name("empty")
    for each in (target, empty):
        each.mkdir(exist_ok=True)
    chain = ":".join([data["UpperDir"], *filter(None, [data.get("LowerDir")]), str(empty)])
    subprocess.run(
        ["mount", "-t", "overlay", "-o", f"ro,lowerdir={chain}", "overlay", str(target)],
        check=True,
        capture_output=True,
    )
    try:
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True)


def _podman(folder: Path, registry: DockerRegistry, cases: Sequence[Case]) -> dict[str, str]:
    engine = PodmanEngine(data=folder / "data")

    def run(case: Case) -> str:
        name = registry.ref(f"{case.name}:1")
        if ended := _ended(case, [*engine.command, "pull", "--tls-verify=false", name]):
            return ended
        try:
            mounted = engine.try_podman("image", "mount", name)
            if mounted.returncode != 0:
                return "opens, not to be mounted"
            said = _seen(case, Path(mounted.stdout.strip()))
            engine.try_podman("image", "unmount", name)
            return said
        finally:
            engine.try_podman("image", "rm", "--force", name)

    try:
        return _each("podman", cases, run)
    finally:
        engine.stop()


def _skopeo(folder: Path, registry: DockerRegistry, cases: Sequence[Case]) -> dict[str, str]:
    def run(case: Case) -> str:
        target = folder / "copy"
        name = registry.ref(f"{case.name}:1")
        try:
            return (
                _ended(case, ["skopeo", "copy", "--src-tls-verify=false", f"docker://{name}", f"oci:{target}:1"])
                or "copies"
            )
        finally:
            remove_tree(target)

    return _each("skopeo", cases, run)


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[Path]:
    """A new ext4 of `DISK` bytes, mounted at a folder that is made."""
    image = folder.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(DISK)
    subprocess.run(["mkfs.ext4", "-q", "-N", str(_INODES), image], check=True)
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", image, folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        image.unlink()
        folder.rmdir()


def _fill(registry: DockerRegistry, folder: Path, cases: Sequence[Case]) -> None:
    for case in cases:
        layout = folder / case.name
        write_layout(case, layout, f"{case.name}:1")
        Layout(layout).push(f"{case.name}:1", registry.address)
        remove_tree(layout)


def versions() -> dict[str, str]:
    """What ran."""
    asked = {name: [name, "--version"] for name in ("umoci", "dockerd", "podman", "skopeo")}
    told = {name: subprocess.run(argv, capture_output=True, text=True).stdout for name, argv in asked.items()}
    return {name.removesuffix("d"): text.split(",")[0].split()[-1] for name, text in told.items()} | {
        "podman": told["podman"].split()[-1]
    }


def table(kept: dict[str, dict[str, str]]) -> str:
    """The section of docs/trust.md."""
    names = ", ".join(f"{name} {kept['versions'][name]}" for name in CLIENTS)
    lines = [
        f"Run with {names}.",
        "",
        "| the layer… | polyarch | umoci | docker | podman | skopeo |",
        "|---|---|---|---|---|---|",
    ]
    for case in CASES.values():
        cells = [kept[client].get(case.name, "–") for client in CLIENTS]
        ours = "opens" if case.opens else "refuses (7)"
        lines.append(f"| {case.does.replace('|', '/')} (`{case.name}`) | {ours} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_page(kept: dict[str, dict[str, str]], page: Path = PAGE) -> None:
    """Put the table between the marks of the page."""
    before, mark, rest = page.read_text().partition(BEGIN)
    assert mark, f"{page} has no marks"
    page.write_text(before + BEGIN + table(kept) + END + rest.partition(END)[2])


def main(wanted: Sequence[str]) -> None:
    """The clients that are wanted, at once."""
    runs = {"umoci": _umoci, "docker": _docker, "podman": _podman, "skopeo": _skopeo}
    if unknown := {*wanted} - {*runs, *CASES}:
        sys.exit(f"neither clients nor cases: {', '.join(sorted(unknown))}")
    clients = [client for client in runs if client in wanted] or list(runs)
    cases = [CASES[name] for name in CASES if name in wanted] or list(CASES.values())
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hostile-layers-")))
        registry = DockerRegistry(folder / "registry")
        stack.callback(registry.stop)
        _fill(registry, folder, cases)
        cheap, heavy = [case for case in cases if not case.heavy], [[case] for case in cases if case.heavy]

        def run(client: str) -> dict[str, str]:
            found = {}
            for group in filter(None, [cheap, *heavy]):  # what one left on the disk is not to fill the next one's
                with _disk(folder / client) as place:
                    found |= runs[client](place, registry, group)
            return found

        pool = stack.enter_context(ThreadPoolExecutor())
        running = {client: pool.submit(run, client) for client in clients}
        for client, future in running.items():
            known = {**kept.get(client, {}), **future.result()}
            kept[client] = {name: known[name] for name in CASES if name in known}
    kept["versions"] = versions()
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    write_page(kept)


if __name__ == "__main__":
    main(sys.argv[1:])
