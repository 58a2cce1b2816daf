"""Each test of the kit was seen to fail: with something that is broken on purpose for it; and never without."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from polyarch.testing.conformance import (
    LoaderConformance,
    PushConformance,
    RegistryConformance,
    StorageConformance,
    TagConventionConformance,
)
from support.mutants import GOOD, Mutants, outcomes, promises

MODULES = sorted((Path(__file__).parent / "mutants").glob("*.py"))


def _mutants(path: Path) -> Mutants:
    spec = importlib.util.spec_from_file_location(f"mutants_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    found = loaded.MUTANTS
    assert isinstance(found, Mutants)
    return found


MUTANTS = {path.stem: _mutants(path) for path in MODULES}


@pytest.mark.parametrize(
    ("kit", "least"),
    [
        pytest.param(kit, least, id=kit.__name__)
        for kit, least in {
            RegistryConformance: 20,
            PushConformance: 13,
            StorageConformance: 20,
            LoaderConformance: 20,
            TagConventionConformance: 20,
        }.items()
    ],
)
def test_each_promise_is_broken_by_something(kit: type, least: int) -> None:
    broken = {test for mutants in MUTANTS.values() if issubclass(kit, mutants.kit) for _, test in mutants.expected()}
    assert promises(kit) == broken
    assert len(broken) >= least


def test_what_is_broken_is_noticed_and_what_is_whole_passes(tmp_path: Path) -> None:
    found = outcomes(MODULES, tmp_path / "report.xml")
    wanted = {(module, *each) for module, mutants in MUTANTS.items() for each in mutants.expected()}
    whole = {(module, GOOD, test) for module, mutants in MUTANTS.items() for test in promises(mutants.kit)}
    assert set(found) == wanted | whole
    assert {each: kinds for each, kinds in found.items() if each in whole and kinds != {"passed"}} == {}
    assert {each: kinds for each, kinds in found.items() if each in wanted and "failure" not in kinds} == {}
    assert {each: kinds for each, kinds in found.items() if "error" in kinds} == {}
