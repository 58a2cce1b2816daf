"""The measuring itself: a wrong figure would be believed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from benchmarks.process import BenchmarkError, Run, measured
from benchmarks.result import Case, Figure, max_rss, median, table, write_json

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
