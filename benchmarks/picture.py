"""Draws what was measured, as SVG: a bar a contender, polyarch's in colour; readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

SHOWN = ("pull", "ready", "ready-user", "second-version", "run", "many", "resolve", "start")
"""Which cases, in which order."""
_WIDTH, _LEFT, _RIGHT, _ROW, _BAR = 760, 236, 150, 22, 14
_STYLE = """
  text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .quiet { fill: #59636e; font-size: 12px }
  .peer { fill: #8c959f }
  .own { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc }
    .quiet { fill: #9198a1 }
    .peer { fill: #656c76 }
    .own { fill: #4493f8 }
  }
"""


def picture(documents: Iterable[Mapping[str, Any]]) -> str:
    """An SVG of the cases of `result.document` that are worth a picture; bars of a case share a scale from zero."""
    by_name = {each["case"]: each for each in documents if each["contenders"]}
    shown = [by_name[name] for name in SHOWN if name in by_name]
    lines: list[str] = []
    height = 8
    for case in shown:
        part, height = _case(case, height)
        lines += part
    if shown:
        told = shown[0]["machine"]
        runs = min(len(one["seconds"]) for case in shown for one in case["contenders"].values())
        said = f"Medians of at least {runs} runs, and times the first. {told['cores']} cores, Linux {told['kernel']}."
        lines.append(_text(8, height + 14, said, "quiet"))
        height += 24
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    title = "<title>What polyarch and its peers take</title>"
    return "\n".join([head, title, f"<style>{_STYLE}</style>", *lines, "</svg>", ""])


def _case(case: Mapping[str, Any], top: int) -> tuple[list[str], int]:
    """The lines of a case, and where the next one begins."""
    contenders: Mapping[str, Mapping[str, Any]] = case["contenders"]
    lines = [_text(8, top + 16, _upper(case["title"]), "title")]
    top += 24
    medians = {name: float(one["median_seconds"]) for name, one in contenders.items()}
    first, most = next(iter(medians.values())), max(medians.values())
    for name, value in medians.items():
        length = max(1, round(value / most * (_WIDTH - _LEFT - _RIGHT)))
        kind = "own" if _own(name) else "peer"
        lines += [
            _text(_LEFT - 8, top + _BAR - 2, name, "", "end"),
            f'<rect class="{kind}" x="{_LEFT}" y="{top}" width="{length}" height="{_BAR}" rx="2"/>',
            _text(_LEFT + length + 6, top + _BAR - 2, f"{_seconds(value)} s  ×{value / first:.2f}", "quiet"),
        ]
        top += _ROW
    return lines, top + 10


def _own(name: str) -> bool:
    return "polyarch" in name or name.startswith("the transfer")


def _seconds(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _text(x: int, y: int, text: str, kind: str, anchor: str = "start") -> str:
    words: Sequence[str] = [f'x="{x}"', f'y="{y}"', *([f'class="{kind}"'] if kind else [])]
    end = ' text-anchor="end"' if anchor == "end" else ""
    return f"<text {' '.join(words)}{end}>{escape(text)}</text>"
