"""Figures that tests found, shown at the end of a run: what was seen, and what was aimed at."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PROPERTY = "figure"


@dataclass(frozen=True)
class Figures:
    """`figures("image ls of 10,000 images: CPU", "0.6 s", "1 s")` keeps a line with the report of a test."""

    properties: list[tuple[str, object]]

    def __call__(self, name: str, seen: str, aim: str = "") -> None:
        self.properties.append((PROPERTY, [name, seen, aim]))


def figure_lines(stats: Mapping[str, Iterable[Any]]) -> Iterator[str]:
    """A line for each figure among the reports of a run (`terminalreporter.stats`), and first what the load is."""
    found = [
        value
        for reports in stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == PROPERTY and getattr(report, "when", "") == "call"
    ]
    if not found:
        return
    yield f"on {os.cpu_count()} processors, load {os.getloadavg()[1]:.1f} over the last five minutes"
    widths = [max(len(row[i]) for row in found) for i in range(2)]
    for name, seen, aim in found:
        yield f"{name:<{widths[0]}}  {seen:<{widths[1]}}  {f'aim: {aim}' if aim else ''}".rstrip()
