"""Whoever reads a layer is told by the settings what it may come to: nobody leaves that to a default."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "orchestrator" / "polyarch"
READERS = {
    "Ahead": 5,
    "FleetImages": None,
    "LayerIndex": None,
    "LayerStream": 4,
    "Listings": 3,
    "ProgramSearch": None,
    "PullContext": None,
    "Snapshots": None,
    "entrypoint_elf": None,
    "list_layer": None,
    "make_erofs_layer": None,
    "merge": 2,
    "outline_layer": None,
    "prepare_layer": None,
    "recompress": None,
    "take": None,
    "unpack_image": None,
    "unpack_layer": None,
    "verify_image": None,
}
"""Each with how many words by place say it, where any do."""


def test_limits_are_handed_down() -> None:
    found, silent = set(), []
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        if "polyarch.unpack" not in path.read_text() and "unpack" not in path.parts:
            continue  # others have functions of these names, too
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            words = call.args[1:] if isinstance(call.func, ast.Name) and call.func.id == "partial" else call.args
            function = call.args[0] if words is not call.args else call.func
            if isinstance(function, ast.Name) and function.id in READERS:
                places = READERS[function.id]
                said = any(word.arg == "limits" for word in call.keywords) or (places and len(words) >= places)
                found.add(function.id)
                if not said:
                    silent.append(f"{path.relative_to(SOURCE)}:{call.lineno} {function.id}")
    assert silent == []
    assert found == set(READERS)
