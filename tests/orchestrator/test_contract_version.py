"""Versions of the contract, and how a name leaves it."""

from __future__ import annotations

import sys
import warnings
from types import ModuleType

import pytest

import polyarch.contract
from polyarch.contract.deprecation import Deprecated, deprecated_names
from polyarch.contract.version import CONTRACT_VERSION, ENTRY_POINT_GROUP, version_of


def test_the_version_is_written_as_plugins_write_it() -> None:
    assert version_of(polyarch.contract.CONTRACT_VERSION) == version_of(CONTRACT_VERSION)
    assert f"polyarch.v{version_of(CONTRACT_VERSION)[0]}" == ENTRY_POINT_GROUP


@pytest.mark.parametrize(
    "text", ["1", "1.", ".1", "1.0.0", "v1.0", " 1.0", "1.0\n", "1.x", "١.٠", "", 1.0, None, (1, 0)]
)
def test_what_is_no_version(text: object) -> None:
    with pytest.raises(ValueError, match=r"MAJOR\.MINOR"):
        version_of(text)


GOING = {"Old": Deprecated(value="the old thing", since="1.2", instead="New")}


def contract_of(version: str) -> ModuleType:
    module = ModuleType("artificial_contract")
    module.__getattr__ = deprecated_names("artificial_contract", GOING, version)  # type: ignore[method-assign]
    return module


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_deprecated_name_works_for_two_minor_versions_and_warns(version: str) -> None:
    with pytest.warns(DeprecationWarning, match="artificial_contract") as caught:
        assert contract_of(version).Old == "the old thing"
    [warning] = caught
    assert str(warning.message) == "artificial_contract.Old is deprecated since contract 1.2 and goes with 1.4: use New"
    assert warning.filename == __file__, "it points at who uses the name"


@pytest.mark.parametrize("version", ["1.4", "1.5", "2.0"])
def test_then_it_is_gone_and_says_so(version: str) -> None:
    with pytest.raises(AttributeError, match=r"artificial_contract\.Old went with contract 1\.4: use New"):
        _ = contract_of(version).Old


def test_it_is_imported_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "artificial_contract", contract_of("1.3"))
    with pytest.warns(DeprecationWarning, match="use New"):
        from artificial_contract import Old  # type: ignore[import-not-found]
    assert Old == "the old thing"


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Other'"):
        _ = contract_of("1.3").Other
    with pytest.raises(ImportError):
        from polyarch.contract import WhatNobodyHas  # type: ignore[attr-defined]  # noqa: F401


def test_no_name_of_the_contract_stays_beyond_its_time() -> None:
    """Whoever raises the version takes those away whose time is over."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for name in polyarch.contract._DEPRECATED:
            getattr(polyarch.contract, name)
