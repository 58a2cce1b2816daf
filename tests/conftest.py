"""Fixtures that every test may use; what they do stands in tests/support."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_cache() -> Path:
    """A folder kept between runs: $POLYARCH_TEST_CACHE, else .cache/tests in the checkout."""
    folder = Path(os.environ.get("POLYARCH_TEST_CACHE") or CHECKOUT / ".cache" / "tests").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def foreign_busybox(test_cache: Path) -> Callable[[str], Path]:
    """Debian's name of an architecture -> the path of Debian's static busybox for it (fetched once)."""
    from polyarch.testing.debian_busybox import ARCHITECTURES, debian_busybox

    def path(architecture: str) -> Path:
        return debian_busybox(ARCHITECTURES, test_cache)[architecture]

    return path
