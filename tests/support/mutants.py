"""How the conformance kit's tests are held against things that are broken on purpose."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

import pytest

T = TypeVar("T", bound=type)
GOOD = "TestGood"
SECONDS = 300


class Mutants:
    """The broken things for one class of the kit. `@breaks("test_…")` says which tests are to notice."""

    def __init__(self, kit: type, fixture: Callable[[type], Any], unbroken: type) -> None:
        """`fixture` makes, of a (broken) type, the attributes of the test class that tries it."""
        self.kit, self._fixture = kit, fixture
        self.found: dict[str, tuple[type, tuple[str, ...]]] = {GOOD: (unbroken, ())}

    def breaks(self, *tests: str) -> Callable[[T], T]:
        """Registers a broken type under the names of the tests that are to fail with it."""

        def register(mutant: T) -> T:
            name = f"Test{mutant.__name__}"
            assert name not in self.found, name
            assert all(hasattr(self.kit, test) for test in tests), tests
            self.found[name] = (mutant, tests)
            return mutant

        return register

    def classes(self) -> dict[str, type]:
        """A subclass of the kit for each; of a broken one's tests only those that are to fail are there."""
        made = {}
        for name, (mutant, tests) in self.found.items():
            others = {test: None for test in promises(self.kit) if tests and test not in tests}
            made[name] = type(name, (self.kit,), {**others, **self._fixture(mutant), "__module__": "mutants"})
        return made

    def expected(self) -> set[tuple[str, str]]:
        """(class, test) of each failure that is wanted."""
        return {(name, test) for name, (_, tests) in self.found.items() for test in tests}


def promises(kit: type) -> set[str]:
    """The names of a kit's tests."""
    return {name for name in dir(kit) if name.startswith("test_")}


def outcomes(modules: Sequence[Path], report: Path) -> Mapping[tuple[str, str, str], set[str]]:
    """Runs the tests of modules of mutants: (module, class, test) -> the outcomes, of all parameters."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--junitxml={report}"]
    argv += [f"--basetemp={report.with_suffix('.tmp')}", *map(str, modules)]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS)
    assert run.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), run.stdout[-3000:] + run.stderr[-3000:]
    found: dict[tuple[str, str, str], set[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        place, _, owner = case.get("classname", "").rpartition(".")
        kinds = {child.tag for child in case if child.tag in ("failure", "error", "skipped")}
        key = (place.rpartition(".")[2], owner, case.get("name", "").partition("[")[0])
        found.setdefault(key, set()).update(kinds or {"passed"})
    return found
