"""Importing the package is cheap, and knowing a platform reads no file that it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("httpx", "plumbum", "rich", "archspec", "hashlib", "subprocess", "asyncio", "difflib", "polyarch")


def _loaded(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["platform", "architecture", "compatibility", "device", "named", "facts"])
def test_what_a_module_loads(module: str) -> None:
    loaded = _loaded(f"import polyarch_platforms.{module}") - _loaded("pass")
    assert loaded.isdisjoint(HEAVY)
