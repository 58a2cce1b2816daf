"""What the controller takes of memory: for images of many sizes, and while many devices come at once."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fleet_images import push
from benchmarks.fleet_site import CHECKOUT, FleetSite, fleet_site
from benchmarks.process import BenchmarkError, Run
from benchmarks.programs import program
from benchmarks.result import Case, Figure
from benchmarks.watch import highest

SIZES = (10, 100, 1000)
"""Megabytes of the one layer that counts."""
GROWTH = 1.15
WAYS = {"tunnel": "podman", "stream": "no-forwarding"}
"""Transport -> the kind of device that is reached so."""

CLIENTS = 100
BLOB = 64 << 20
MOST_GROWTH = 32
"""Megabytes for a hundred downloads, which together have sixty-four times a hundred."""


def controller(sizes: Sequence[int] = SIZES) -> Case:
    """The most that the process of `fleet pull` itself has at any moment; its image is not here before."""
    runs: dict[str, list[Run]] = {}
    with fleet_site(tuple(WAYS.values())) as site:
        for size in sizes:
            name = f"fleet/size:{size}"
            push(site.origin, site.folder, name, {"whole": size * 1_000_000})
            for way, device in WAYS.items():
                print(f"  {size} MB by {way} …", file=sys.stderr)
                runs[f"{size} MB by {way}"] = [_pull(site, f"{site.origin.address}/{name}", way, device)]
    figures = []
    for way in WAYS:
        small, large = (runs[f"{size} MB by {way}"][0].max_rss for size in (sizes[0], sizes[-1]))
        figures.append(Figure(f"memory for {sizes[-1]} MB ÷ for {sizes[0]} MB, {way}", large / small, GROWTH))
    return Case("memory of the controller", runs, figures, ["memory in the table is polyarch's own, without Ansible's"])


def _pull(site: FleetSite, image: str, way: str, device: str) -> Run:
    root, began, before = site.folder / "root", time.perf_counter(), os.times()
    words = ("pull", "--limit", device, "--transport", way, "--progress", "none", image)
    most = highest(site.polyarch(root, *words), site.environment)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    run = Run(time.perf_counter() - began, cpu, most)
    site.lab.device(device).ok([program("podman"), "system", "reset", "--force"])
    shutil.rmtree(root)
    return run


def downloads(clients: int = CLIENTS, size: int = BLOB) -> Case:
    """So many at once from the server that tunnels lead to: all have begun before one ends."""
    words = [sys.executable, "-m", "benchmarks.fleet_offer", str(size)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as server:
        assert server.stdout is not None
        port, path, digest = server.stdout.readline().split()
        at_first, begun = _most(server.pid), threading.Barrier(clients + 1, timeout=60)
        came: list[bool] = []
        address = f"http://127.0.0.1:{port}/v2/{path}/blobs/{digest}"
        threads = [
            threading.Thread(target=_download, args=(address, size, number == 0, begun, came))
            for number in range(clients)
        ]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        begun.wait()
        for thread in threads:
            thread.join()
        run = Run(time.perf_counter() - began, _cpu(server.pid), _most(server.pid))
        server.communicate()
    if len(came) != clients or not all(came):
        raise BenchmarkError(f"of {clients} downloads {sum(came)} were whole")
    return Case(
        f"{clients} downloads of {size / 1e6:.0f} MB at once from the server of a rollout",
        {"all of them": [run]},
        [Figure("what they add to its memory", (run.max_rss - at_first) / 1e6, MOST_GROWTH, " MB")],
        [f"{clients * size / 1e6 / run.seconds:.0f} MB a second, who downloads on the same machine"],
    )


def _download(address: str, size: int, check: bool, begun: threading.Barrier, came: list[bool]) -> None:
    """One of them; with `check` the digest is taken, too. All would be what is measured then."""
    with urllib.request.urlopen(address, timeout=120) as answer:
        first, buffer, digest = answer.read(1), memoryview(bytearray(1 << 16)), hashlib.sha256()
        begun.wait()
        digest.update(first)
        count = len(first)
        while got := answer.readinto(buffer):
            count += got
            if check:
                digest.update(buffer[:got])
    came.append(count == size and (not check or address.endswith(digest.hexdigest())))


def _most(pid: int) -> int:
    """Bytes that were resident at most (proc_pid_status(5))."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024


def _cpu(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
