"""Plugins as installed packages: a module and its metadata in a folder that stands on PYTHONPATH."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

LONG_AGO = time.time() - 3600


def install(
    folder: Path,
    name: str,
    source: str,
    *,
    version: str = "1.0",
    group: str = "polyarch.v1",
    entry_point: str = "",
    files: Mapping[str, str] | None = None,
) -> Path:
    """Puts the distribution NAME into `folder`, as an installer leaves it; returns the module's file.

    Its module is NAME with `_` for `-`; `entry_point` is the plugin's name (NAME if not said), `files` are
    further files. All seem to have been there for an hour, so that nothing is too new to be remembered.
    """
    module = folder / f"{name.replace('-', '_')}.py"
    module.parent.mkdir(parents=True, exist_ok=True)
    module.write_text(source)
    for path, text in (files or {}).items():
        (folder / path).write_text(text)
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(exist_ok=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{entry_point or name} = {module.stem}\n")
    age(folder)
    return module


def age(folder: Path, moment: float = LONG_AGO) -> None:
    """Lets all in a folder, and itself, be as old as said."""
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (moment, moment))
