"""The measuring itself: a wrong figure would be believed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.bench import Bench
from benchmarks.memory import chain, memory_of
from benchmarks.process import BenchmarkError, Run, measured
from benchmarks.registry import Origin
from benchmarks.result import Case, Figure, max_rss, median, table, write_json

from benchmarks import engines, running
from support.docker_registry import DockerRegistry

RUNS = [Run(3.0, 1.0, 10_000_000), Run(1.0, 2.0, 30_000_000), Run(2.0, 3.0, 20_000_000)]


def test_memory_is_that_of_the_child() -> None:
    run = measured([sys.executable, "-c", "x = b'x' * (200 << 20)"], os.environ)
    assert run.max_rss > 200 << 20


def test_cpu_seconds_are_that_of_the_child() -> None:
    code = "import time\nwhile time.process_time() < 0.3: pass"
    run = measured([sys.executable, "-c", code], os.environ)
    assert 0.3 <= run.cpu_seconds <= run.seconds * 2


def test_a_program_that_fails_is_no_figure() -> None:
    with pytest.raises(BenchmarkError, match="ended with 3: it was me"):
        measured([sys.executable, "-c", "print('it was me'); raise SystemExit(3)"], os.environ)


def test_figures() -> None:
    assert median(RUNS) == 2.0
    assert max_rss(RUNS) == 30_000_000
    assert Figure("a", 1.0, 1.0).met
    assert not Figure("a", 1.01, 1.0).met


def test_the_report(tmp_path: Path) -> None:
    case = Case(
        "some case", {"peer": RUNS, "polyarch": [Run(4.0, 1.0, 1_000_000)]}, [Figure("ratio", 2.0, 1.0)], ["so"]
    )
    text = table([case])
    assert "ratio: 2.00 (target: at most 1) MISSED" in text
    peer, polyarch = (
        next(line for line in text.splitlines() if line.startswith(f"  {name} ")) for name in case.contenders
    )
    assert peer.split() == ["peer", "2.000s", "1.000", "…", "3.000", "1.00", "2.000s", "30.0", "MB"]
    assert polyarch.split() == ["polyarch", "4.000s", "4.000", "…", "4.000", "2.00", "1.000s", "1.0", "MB"]
    write_json([case], tmp_path / "out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    assert set(document["machine"]) == {"cores", "kernel", "python"}
    assert document["cases"][0]["contenders"]["peer"]["seconds"] == [3.0, 1.0, 2.0]
    assert document["cases"][0]["figures"] == [{"name": "ratio", "value": 2.0, "unit": "", "target": 1.0, "met": False}]


def test_a_chain_of_processes() -> None:
    inner = "import sys; print('up', flush=True); sys.stdin.read()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        parent, own, last = chain(child.pid)
        assert (parent, own) == (os.getpid(), child.pid)
        assert inner.encode() in Path(f"/proc/{last}/cmdline").read_bytes()
        child.communicate()


def test_shared_memory_counts_in_parts(tmp_path: Path) -> None:
    """Two processes that map one file have it once between them; what is their own counts as a whole."""
    size = 64 << 20
    with (tmp_path / "file").open("wb") as stream:
        stream.truncate(size)
    code = (
        "import mmap, sys\n"
        "file = open(sys.argv[1], 'rb')\n"
        f"shared, own = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), bytearray(b'x' * {size})\n"
        "sum(shared[place] for place in range(0, len(shared), 4096))\n"
        "print('up', flush=True)\n"
        "sys.stdin.read()\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "file")]
    with contextlib.ExitStack() as stack:
        both = [
            stack.enter_context(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)) for _ in "ab"
        ]
        for child in both:
            assert child.stdout is not None
            assert child.stdout.readline() == b"up\n"
        first, second = (memory_of(child.pid) for child in both)
        for child in both:
            child.communicate()
    assert size <= first.pss_files + second.pss_files < size * 1.5
    assert first.files >= size
    assert first.pss >= size + size / 2


@pytest.mark.parametrize("hybrid", [True, False])
def test_crun_alone_gets_the_hosts_network(hybrid: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("crun") is None:
        pytest.skip("crun is not installed")
    monkeypatch.setattr(engines, "_UNIFIED", tmp_path if hybrid else tmp_path / "absent")
    words = engines.crun(tmp_path)
    assert words[-5:] == [shutil.which("crun"), "run", "--bundle", str(tmp_path), "polyarch-benchmark"]
    assert (str(tmp_path) in " ".join(words[:-5])) is hybrid
    spec = json.loads((tmp_path / "config.json").read_text())
    assert spec["process"]["args"] == ["true"]
    assert "network" not in {each["type"] for each in spec["linux"]["namespaces"]}


def test_without_a_dockerd_docker_is_no_contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with engines.docker(tmp_path, "127.0.0.1:1/nothing:1", {}) as peer:
        assert peer is None


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="containers are measured as root")
@pytest.mark.skipif(shutil.which("crun") is None, reason="crun is not installed")
def test_containers_are_measured_and_gone(
    tmp_path: Path, registry: DockerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def at_hand(bench: Bench) -> Iterator[str]:
        yield registry.ref("busybox:1.36")

    monkeypatch.setattr(running, "_samples", at_hand)
    monkeypatch.setattr(running, "COUNT", 2)
    case = running.containers(Bench(Origin("", tmp_path), tmp_path, tmp_path, 1))
    assert len(case.contenders["polyarch run -d"]) == 2
    assert [figure.met for figure in case.figures] == [True, True, True]
    assert list((tmp_path / "containers" / "containers").glob("*/")) == []
