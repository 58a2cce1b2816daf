"""Results: what the contenders of a case took, and whether its target was met."""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.process import Run

Runs = Mapping[str, Sequence[Run]]
"""The runs of each contender, by its name; the first of one were beside the first of the others, and so on."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number against its target, which is an upper bound; `spread` is the least and the most of its pairs."""

    name: str
    value: float
    target: float
    unit: str = ""
    spread: tuple[float, float] | None = None

    @property
    def met(self) -> bool:
        """True where the target holds."""
        return self.value <= self.target

    def line(self) -> str:
        """One line of the report."""
        verdict = "met" if self.met else "MISSED"
        spread = f"{self.spread[0]:.2f} … {self.spread[1]:.2f}, " if self.spread else ""
        return (
            f"  {self.name}: {self.value:.2f}{self.unit} ({spread}target: at most {self.target:g}{self.unit}) {verdict}"
        )

    def document(self) -> dict[str, object]:
        """The same for programs."""
        found: dict[str, object] = {"name": self.name, "value": self.value, "unit": self.unit.strip()}
        return found | {"spread": self.spread, "target": self.target, "met": self.met}


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison: the runs of each contender, the first being what the others are held against."""

    title: str
    contenders: Runs
    figures: Sequence[Figure]
    notes: Sequence[str] = field(default_factory=tuple)


def seconds(run: Run) -> float:
    """By the clock."""
    return run.seconds


def cpu(run: Run) -> float:
    """Seconds of CPU."""
    return run.cpu_seconds


def median(runs: Sequence[Run], measure: Callable[[Run], float] = seconds) -> float:
    """The median of the seconds, or of what else is measured."""
    return statistics.median(map(measure, runs))


def against(
    contenders: Runs,
    own: str,
    peer: str,
    target: float,
    name: str = "",
    measure: Callable[[Run], float] = seconds,
) -> list[Figure]:
    """How many times as long (or whatever is measured) a contender takes as another: the median of the pairs.

    A list, empty where one of the two was left out.
    """
    if not contenders.get(own) or not contenders.get(peer):
        return []
    pairs = [measure(one) / measure(other) for one, other in zip(contenders[own], contenders[peer], strict=True)]
    return [Figure(name or f"{own} ÷ {peer}", statistics.median(pairs), target, "", (min(pairs), max(pairs)))]


def memory(contenders: Runs, own: str, target: float) -> list[Figure]:
    """The most memory of a contender, in MB; empty where it was left out."""
    return [Figure(f"memory of {own}", max_rss(runs) / 1e6, target, " MB") for runs in [contenders.get(own)] if runs]


def max_rss(runs: Sequence[Run]) -> int:
    """The most memory of any run, in bytes."""
    return max(run.max_rss for run in runs)


def machine() -> dict[str, object]:
    """What the figures were measured on, as far as it matters."""
    kernel = ".".join(os.uname().release.split("-")[0].split(".")[:2])
    python = ".".join(map(str, sys.version_info[:3]))
    return {"cores": len(os.sched_getaffinity(0)), "kernel": kernel, "python": python}


def heading() -> str:
    """The first line of a report for people."""
    told = machine()
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return (
        f"{told['cores']} cores, Linux {told['kernel']}, Python {told['python']};"
        f" memory of less than {own / 1e6:.1f} MB cannot be told"
    )


def block(case: Case) -> str:
    """One case as a text for people."""
    lines = ["", case.title]
    if case.contenders:
        lines.append(f"  {'':<28}{'median':>9}{'min … max':>18}{'ratio':>8}{'CPU':>9}{'memory':>10}")
        base = median(next(iter(case.contenders.values())))
    for name, runs in case.contenders.items():
        spread = f"{min(map(seconds, runs)):.3f} … {max(map(seconds, runs)):.3f}"
        lines.append(
            f"  {name:<28}{median(runs):>8.3f}s{spread:>18}{median(runs) / base:>8.2f}{median(runs, cpu):>8.3f}s"
            f"{max_rss(runs) / 1e6:>7.1f} MB"
        )
    return "\n".join([*lines, *(figure.line() for figure in case.figures), *(f"  {note}" for note in case.notes)])


def table(cases: Sequence[Case]) -> str:
    """All cases as a text for people."""
    return "\n".join([heading(), *map(block, cases)])


def document(case: Case, name: str = "") -> dict[str, object]:
    """A case with every single run, for programs."""
    return {
        "case": name,
        "title": case.title,
        "machine": machine(),
        "contenders": {
            title: {
                "median_seconds": median(runs),
                "seconds": [run.seconds for run in runs],
                "cpu_seconds": [run.cpu_seconds for run in runs],
                "instructions": [run.instructions for run in runs],
                "max_rss_bytes": max_rss(runs),
            }
            for title, runs in case.contenders.items()
        },
        "figures": [figure.document() for figure in case.figures],
        "notes": list(case.notes),
    }


def write_json(documents: Sequence[Mapping[str, object]], path: Path) -> None:
    """Cases, one a line (JSON Lines)."""
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in documents))


def read_json(path: Path) -> list[dict[str, Any]]:
    """What `write_json` wrote."""
    return [json.loads(line) for line in path.read_text().splitlines()]
