"""The files in `data`: what is known of architectures, processors, boards and devices.

Read beside the package and not by importlib.resources, which takes longer to import than all of them to read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_DATA = Path(__file__).with_name("data")


def text(name: str) -> str:
    """The text of a file in `data`."""
    return (_DATA / name).read_text("utf-8")


def table(name: str) -> dict[str, Any]:
    """A TOML file in `data`, read."""
    import tomllib

    return tomllib.loads(text(name))


def names(folder: str) -> list[str]:
    """The TOML files in a folder of `data`, as `table` takes them."""
    return sorted(f"{folder}/{path.name}" for path in (_DATA / folder).glob("*.toml"))
