"""Figures that tests found, shown at the end of a run: what was seen, and what was aimed at."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PROPERTY, ADDED = "figure", "added"


@dataclass(frozen=True)
class Figures:
    """`figures("image ls of 10,000 images: CPU", "0.6 s", "1 s")` keeps a line with the report of a test."""

    properties: list[tuple[str, object]]

    def add(self, name: str, number: int, aim: int = 0) -> None:
        """Adds to a figure that several tests of a run add to; `aim` is the least that it is to come to in all."""
        self.properties.append((ADDED, [name, number, aim]))

    def __call__(self, name: str, seen: str, aim: str = "") -> None:
        self.properties.append((PROPERTY, [name, seen, aim]))


def figure_lines(stats: Mapping[str, Iterable[Any]]) -> Iterator[str]:
    """A line for each figure among the reports of a run (`terminalreporter.stats`), and first what the load is."""
    found, sums, aims = [], Counter[str](), dict[str, int]()
    for report in (report for reports in stats.values() for report in reports if getattr(report, "when", "") == "call"):
        for name, value in report.user_properties:
            if name == PROPERTY:
                found.append(value)
            elif name == ADDED:
                sums[value[0]] += value[1]
                aims[value[0]] = value[2]
    found += [[name, f"{number:,}", f"{aims[name]:,}" if aims[name] else ""] for name, number in sums.items()]
    if not found:
        return
    yield f"on {os.cpu_count()} processors, load {os.getloadavg()[1]:.1f} over the last five minutes"
    widths = [max(len(row[i]) for row in found) for i in range(2)]
    for name, seen, aim in found:
        yield f"{name:<{widths[0]}}  {seen:<{widths[1]}}  {f'aim: {aim}' if aim else ''}".rstrip()
