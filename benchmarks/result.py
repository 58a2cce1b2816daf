"""Results: what the contenders of a case took, and whether its target was met."""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.process import Run


@dataclass(frozen=True, slots=True)
class Figure:
    """One number against its target, which is an upper bound."""

    name: str
    value: float
    target: float
    unit: str = ""

    @property
    def met(self) -> bool:
        """True where the target holds."""
        return self.value <= self.target

    def line(self) -> str:
        """One line of the report."""
        verdict = "met" if self.met else "MISSED"
        return f"  {self.name}: {self.value:.2f}{self.unit} (target: at most {self.target:g}{self.unit}) {verdict}"


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: the runs of each contender, the first being what the others are held against."""

    title: str
    contenders: Mapping[str, Sequence[Run]]
    figures: Sequence[Figure]
    notes: Sequence[str] = field(default_factory=tuple)


def median(runs: Sequence[Run]) -> float:
    """The median of the seconds."""
    return statistics.median(run.seconds for run in runs)


def max_rss(runs: Sequence[Run]) -> int:
    """The most memory of any run, in bytes."""
    return max(run.max_rss for run in runs)


def machine() -> dict[str, object]:
    """What the figures were measured on, as far as it matters."""
    kernel = ".".join(os.uname().release.split("-")[0].split(".")[:2])
    python = ".".join(map(str, sys.version_info[:3]))
    return {"cores": len(os.sched_getaffinity(0)), "kernel": kernel, "python": python}


def table(cases: Sequence[Case]) -> str:
    """All cases as a text for people."""
    told = machine()
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    lines = [
        f"{told['cores']} cores, Linux {told['kernel']}, Python {told['python']};"
        f" memory of less than {own / 1e6:.1f} MB cannot be told"
    ]
    for case in cases:
        lines += ["", case.title, f"  {'':<24}{'median':>9}{'min … max':>18}{'ratio':>8}{'CPU':>9}{'memory':>10}"]
        base = median(next(iter(case.contenders.values())))
        for name, runs in case.contenders.items():
            seconds = [run.seconds for run in runs]
            spread = f"{min(seconds):.3f} … {max(seconds):.3f}"
            cpu = statistics.median(run.cpu_seconds for run in runs)
            lines.append(
                f"  {name:<24}{median(runs):>8.3f}s{spread:>18}{median(runs) / base:>8.2f}{cpu:>8.3f}s"
                f"{max_rss(runs) / 1e6:>7.1f} MB"
            )
        lines += [figure.line() for figure in case.figures]
        lines += [f"  {note}" for note in case.notes]
    return "\n".join(lines)


def write_json(cases: Sequence[Case], path: Path) -> None:
    """All cases with every single run."""
    document = {
        "machine": machine(),
        "cases": [
            {
                "title": case.title,
                "contenders": {
                    name: {
                        "median_seconds": median(runs),
                        "seconds": [run.seconds for run in runs],
                        "cpu_seconds": [run.cpu_seconds for run in runs],
                        "max_rss_bytes": max_rss(runs),
                    }
                    for name, runs in case.contenders.items()
                },
                "figures": [
                    {
                        "name": figure.name,
                        "value": figure.value,
                        "unit": figure.unit.strip(),
                        "target": figure.target,
                        "met": figure.met,
                    }
                    for figure in case.figures
                ],
                "notes": list(case.notes),
            }
            for case in cases
        ],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
