"""The measuring itself: a wrong figure would be believed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks.bench import Bench, Turn, alternating
from benchmarks.cases import CASES
from benchmarks.counter import SOFTWARE_TASK_CLOCK, counted, opened
from benchmarks.guard import Limit, judged, limits
from benchmarks.memory import chain, cpu_seconds, memory_of, memory_of_tree
from benchmarks.picture import picture
from benchmarks.process import BenchmarkError, Run, measured
from benchmarks.programs import program
from benchmarks.registry import Origin
from benchmarks.result import Case, Figure, against, document, max_rss, median, read_json, table, write_json

from benchmarks import engines, guard, many
from support.docker_registry import DockerRegistry

ROOT = Path(__file__).resolve().parents[2]
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
    write_json([document(case, "some"), document(case, "other")], tmp_path / "out.json")
    assert len((tmp_path / "out.json").read_text().splitlines()) == 2
    written = read_json(tmp_path / "out.json")[0]
    assert (written["case"], set(written["machine"])) == ("some", {"cores", "kernel", "python"})
    assert written["contenders"]["peer"]["seconds"] == [3.0, 1.0, 2.0]
    figure = {"name": "ratio", "value": 2.0, "unit": "", "spread": None, "target": 1.0, "met": False}
    assert written["figures"] == [figure]


def test_a_ratio_is_that_of_the_pairs() -> None:
    """A machine that was slow in one turn was slow for both."""
    contenders = {"peer": RUNS, "own": [Run(run.seconds * 2, 0, 0) for run in RUNS[:2]] + [Run(9.0, 0, 0)]}
    (figure,) = against(contenders, "own", "peer", 1.0)
    assert (figure.value, figure.spread) == (2.0, (2.0, 4.5))
    assert against(contenders, "own", "not here", 1.0) == []


def test_contenders_take_turns_and_one_that_lacks_a_program_is_left_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bench, seen, ended = Bench(Origin("", tmp_path), tmp_path, tmp_path, 1), list[str](), list[str]()

    def contender(name: str) -> Callable[[Turn], list[str]]:
        def command(turn: Turn) -> list[str]:
            assert list(turn.folder.iterdir()) == []
            seen.append(name)
            turn.ends.callback(ended.append, name)
            return ["true"]

        return command

    absent = {"absent": lambda turn: [program("no-such-program")]}
    results = alternating(bench, {"a": contender("a"), **absent, "b": contender("b")}, 2)
    assert seen == ended == ["a", "b"] * 3  # the first turn does not count
    assert {name: len(runs) for name, runs in results.items()} == {"a": 2, "b": 2}
    assert "absent: left out, no-such-program is not installed" in capfd.readouterr().err


def test_what_a_daemon_works_counts() -> None:
    code = (
        "import sys, time\nfor line in sys.stdin:\n  while time.process_time() < 0.3: pass\n  print('done', flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdin is not None
        assert daemon.stdout is not None
        before = cpu_seconds(daemon.pid)
        daemon.stdin.write(b"go\n")
        daemon.stdin.flush()
        daemon.stdout.readline()
        assert cpu_seconds(daemon.pid) - before > 0.1
        assert memory_of_tree(daemon.pid) > 1 << 20
        assert measured(["true"], os.environ, [daemon.pid]).instructions is None
        daemon.stdin.close()


def test_events_of_children_are_counted() -> None:
    descriptor = opened(SOFTWARE_TASK_CLOCK)
    if descriptor is None:
        pytest.skip("this machine counts no events for this user")
    before = counted(descriptor)
    code = "import time\nwhile time.process_time() < 0.2: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert counted(descriptor) - before >= 150_000_000  # nanoseconds; the kernel's part is not in it
    os.close(descriptor)


def test_a_limit_is_passed(capsys: pytest.CaptureFixture[str]) -> None:
    own = [Run(1.0, 3.0 * run.cpu_seconds, 0, 1_000) for run in RUNS]
    peer = [Run(1.0, run.cpu_seconds, 0, 500) for run in RUNS]
    told = [document(Case("", {"peer": peer, "own": own}, []), "case")]
    not_counted = [document(Case("", {"peer": RUNS, "own": own}, []), "case")]
    limit = Limit("case", "own", "peer", 2.5)
    (by_instructions,), (by_seconds,) = judged(told, [limit]), judged(not_counted, [limit])
    assert (by_instructions.value, by_instructions.passed) == (2.0, False)
    assert (by_seconds.value, by_seconds.passed) == (3.0, True)
    assert by_seconds.line() == "error: limit passed: CPU seconds of case: own ÷ peer: 3.00, more than 2.5"
    assert judged(told, [Limit("other", "own", "peer", 1), Limit("case", "own", "absent", 1)]) == []


def test_limits_are_of_what_is_measured() -> None:
    for limit in limits(guard.LIMITS):
        assert limit.case in CASES
        assert limit.most > 0


def test_the_picture() -> None:
    case = Case("a <title>", {"peer & friend": RUNS, "polyarch": [Run(4.0, 1.0, 0)] * 3}, [])
    drawn = ElementTree.fromstring(picture([document(case, "pull"), document(case, "not shown")]))
    bars = [element for element in drawn.iter() if element.tag.endswith("rect")]
    assert [(bar.get("class"), bar.get("width")) for bar in bars] == [("peer", "187"), ("own", "374")]
    words = [element.text for element in drawn.iter() if element.tag.endswith("text")]
    assert {"A <title>", "peer & friend", "2.00 s  ×1.00", "4.00 s  ×2.00"} <= set(words)


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() != 0, reason="root alone mounts")
def test_a_run_has_a_file_system_of_its_own_that_nobody_else_sees(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom benchmarks.fresh import new_disk\n"
        "place = Path(sys.argv[1])\n"
        "with new_disk(place) as folder:\n"
        "    print(folder.stat().st_dev != place.parent.stat().st_dev, list(folder.iterdir()), flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    place = tmp_path / "place"
    place.mkdir()
    words = [sys.executable, "-c", code, str(place)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
        assert child.stdout is not None
        said = child.stdout.readline()
        mounted = str(place) in Path("/proc/self/mountinfo").read_text()
        child.communicate("\n")
    assert (said.strip() in ("True []", "False []"), mounted) == (True, False)
    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    assert list(place.iterdir()) == []


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

    monkeypatch.setattr(many, "samples", at_hand)
    monkeypatch.setattr(many, "COUNT", 2)
    case = many.containers(Bench(Origin("", tmp_path), tmp_path, tmp_path, 1))
    assert len(case.contenders["polyarch run -d"]) == 2
    layers, disk, copies = case.figures
    assert (layers.met, disk.met) == (True, True), [(f.name, f.value) for f in case.figures]
    assert 0 < copies.value < 2.2  # at most one of each container's own, and what both read at once
    assert list((tmp_path / "containers" / "containers").glob("*/")) == []
