"""The rules of the house that import-linter does not hold."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import polyarch.contract
from polyarch.contract.hooks import PolyarchSpec
from polyarch.plugin_host.host import KINDS

ROOT = Path(__file__).parents[2]
PACKAGES = ("orchestrator/polyarch", "platforms/polyarch_platforms", "plugins/polyarch_plugins")
PRODUCT = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ALL = PRODUCT + sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "benchmarks").rglob("*.py"))
HOOKS = [name for name in vars(PolyarchSpec) if name.startswith("polyarch_")]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_rules_look_at_something() -> None:
    assert len(PRODUCT) > 50
    assert len(HOOKS) == len(KINDS) == 8


@pytest.mark.parametrize("path", ALL, ids=_name)
def test_no_file_is_longer_than_500_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


@pytest.mark.parametrize("hook", HOOKS)
def test_each_hook_has_an_example(hook: str) -> None:
    text = inspect.getdoc(getattr(PolyarchSpec, hook)) or ""
    assert "::" in text
    assert "@hookimpl" in text
    assert f"def {hook}" in text


def test_each_kind_of_plugin_has_its_hook() -> None:
    assert {f"polyarch_{kind}" for kind in KINDS} == set(HOOKS)


def test_the_contract_promises_what_is_listed() -> None:
    listed = (Path(__file__).parent / "contract_names.txt").read_text().split()
    assert sorted(polyarch.contract.__all__) == listed
    assert all(hasattr(polyarch.contract, name) for name in listed)


def _calls_and_names(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.lineno, f"{node.value.id}.{node.attr}"


def test_settings_alone_reads_the_environment() -> None:
    readers = {
        _name(path)
        for path in PRODUCT
        for _, name in _calls_and_names(path)
        if name in ("os.environ", "os.getenv") and "/testing/" not in str(path)
    }
    assert readers == {"orchestrator/polyarch/settings.py"}


def test_tarfile_never_extracts() -> None:
    for path in PRODUCT:
        for line, name in _calls_and_names(path):
            assert not name.endswith((".extract", ".extractall")), f"{_name(path)}:{line}"


def test_no_shell_runs_a_text() -> None:
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                pytest.fail(f"{_name(path)}:{node.value.lineno}: shell=")


def test_no_stub_is_left() -> None:
    for path in PRODUCT:
        if path.name == "hooks.py":
            continue  # a hook specification has no body of its own
        text = path.read_text()
        for word in ("NotImplementedError", "TODO", "FIXME", "XXX"):
            assert word not in text, f"{_name(path)}: {word}"


HEAVY = ("httpx", "plumbum", "rich", "pluggy", "starlette", "polyarch_plugins")


@pytest.mark.parametrize(
    ("argv", "forbidden"),
    [
        (["--help"], (*HEAVY, "polyarch.session", "importlib.metadata")),
        (["--version"], (*HEAVY, "polyarch.session")),
        (["pull", "--help"], (*HEAVY, "polyarch.session")),
        (["image", "--help"], (*HEAVY, "polyarch.session")),
        (["image", "ls"], ("httpx", "plumbum", "rich", "starlette")),
    ],
    ids=" ".join,
)
def test_the_import_budget(argv: list[str], forbidden: tuple[str, ...], tmp_path: Path) -> None:
    loaded = _loaded(tmp_path, argv)
    assert [name for name in loaded for bad in forbidden if name == bad or name.startswith(bad + ".")] == []


def test_plugins_are_looked_for_once(tmp_path: Path) -> None:
    """The second command looks through no distribution, and imports no plugin but the one that it uses."""
    _loaded(tmp_path, ["image", "ls"])
    assert list((tmp_path / "cache").iterdir())
    loaded = _loaded(tmp_path, ["image", "ls"])
    assert "importlib.metadata" not in loaded
    plugins = [name for name in loaded if name.startswith("polyarch_plugins.") and name.endswith(".plugin")]
    assert plugins == ["polyarch_plugins.storages.oci.plugin"]


def _loaded(root: Path, argv: list[str]) -> list[str]:
    """The modules that a command has loaded at its end."""
    code = (
        "import sys, polyarch.cli\n"
        "try:\n    polyarch.cli.main()\n"
        "except SystemExit:\n    pass\n"
        "print('loaded:', *sys.modules, file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, "--root", str(root), *argv]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    loaded = run.stderr.rpartition("loaded:")[2].split()
    assert "polyarch.cli" in loaded
    return loaded
