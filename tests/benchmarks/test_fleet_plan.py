"""The benchmark of planning, with a small fleet."""

from __future__ import annotations

import pytest
from benchmarks.fleet_plan import main


def test_it_plans_writes_and_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    main(48, 2)
    told = capsys.readouterr().out
    assert "48 devices of 12 kinds, 2 images" in told
    assert "PlanSummary(devices=48, platforms={'linux/amd64': {'ready': 4, 'will-pull': 12, 'cannot': 0}" in told
    assert "planning: " in told
