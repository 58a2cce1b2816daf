"""The kit in a stranger's project: with pytest and polyarch alone, and without a trace where it is not used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[1] / "support"

ALONE = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("hypothesis", "xdist", "support", "starlette", "isal", "backports"):
            raise ModuleNotFoundError(f"a stranger has no {name}", name=name)

sys.meta_path.insert(0, Nothing())
"""

STRANGER = """
import pytest

from plain_convention import PlainConvention
from plain_loader import PlainLoader
from plain_registry import PlainRegistry
from plain_storage import PlainStorage
from polyarch.contract import Reference
from polyarch.testing.conformance import (
    LoaderConformance, RegistryConformance, Source, StorageConformance, TagConventionConformance,
)

class TestStorage(StorageConformance):
    @pytest.fixture
    def open_storage(self, polyarch_storage_services, tmp_path):
        services = polyarch_storage_services(str(tmp_path / "shelf"))
        return lambda: PlainStorage(services.root / services.location)

class TestLoader(LoaderConformance):
    @pytest.fixture
    def open_loader(self, tmp_path):
        return lambda: PlainLoader(tmp_path / "crate")

class TestRegistry(RegistryConformance):
    @pytest.fixture
    def source(self, polyarch_content, polyarch_registry_services):
        folder = str(polyarch_content.layout)
        names = {name: Reference("", folder, name, scheme="plain") for name in polyarch_content.names}
        return Source(PlainRegistry(), names)

class TestConvention(TagConventionConformance):
    @pytest.fixture
    def convention(self):
        return PlainConvention()
"""

FORGETFUL = """
from polyarch.testing.conformance import (
    LoaderConformance, RegistryConformance, StorageConformance, TagConventionConformance,
)

class TestStorage(StorageConformance): ...
class TestLoader(LoaderConformance): ...
class TestRegistry(RegistryConformance): ...
class TestConvention(TagConventionConformance): ...
"""


def _pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Runs pytest in a stranger's folder; what polyarch's own tests need beside it is not there."""
    argv = [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest", "-p", "no:xdist", "-p", "no:anyio", *options]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=300)


def test_pytest_and_polyarch_are_enough(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(ALONE)
    for name in ("plain_convention", "plain_loader", "plain_registry", "plain_storage"):
        text = (SUPPORT / f"{name}.py").read_text()
        (tmp_path / f"{name}.py").write_text(text.replace("from support.plain_storage", "from plain_storage"))
    (tmp_path / "test_mine.py").write_text(STRANGER)
    run = _pytest(tmp_path, "-q", "-W", "error", "--strict-markers", "--strict-config")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "skipped" not in run.stdout


def test_a_forgotten_fixture_is_told(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(FORGETFUL)
    run = _pytest(tmp_path, "-q", "--tb=line")
    for name in ("open_storage", "open_loader", "source", "convention"):
        assert f"has to give, within it, a fixture `{name}`" in run.stdout


@pytest.mark.parametrize(
    ("kit", "fixture", "other"), [("Storage", "open_storage", "Loader"), ("Loader", "open_loader", "Storage")]
)
def test_the_wrong_kit_is_told(kit: str, fixture: str, other: str, tmp_path: Path) -> None:
    lower = other.lower()
    for name in ("plain_loader", "plain_storage"):
        text = (SUPPORT / f"{name}.py").read_text()
        (tmp_path / f"{name}.py").write_text(text.replace("from support.plain_storage", "from plain_storage"))
    (tmp_path / "test_mine.py").write_text(
        f"import pytest\nfrom plain_{lower} import Plain{other}\n"
        f"from polyarch.testing.conformance import {kit}Conformance\n"
        f"class TestMine({kit}Conformance):\n"
        f"    @pytest.fixture\n    def {fixture}(self, tmp_path):\n        return lambda: Plain{other}(tmp_path)\n"
    )
    run = _pytest(tmp_path, "-q", "-x", "--tb=line")
    assert run.returncode == 1
    assert f"subclass {other}Conformance" in run.stdout


def test_assertions_of_the_kit_are_explained(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "from plain_convention import PlainConvention\n"
        "from polyarch.testing.conformance import TagConventionConformance\n"
        "import pytest\n"
        "class TestMine(TagConventionConformance):\n"
        "    @pytest.fixture\n    def convention(self):\n"
        "        class Mine(PlainConvention):\n            certainty = 'certain'\n"
        "        return Mine()\n"
    )
    (tmp_path / "plain_convention.py").write_text((SUPPORT / "plain_convention.py").read_text())
    run = _pytest(tmp_path, "-q", "-k", "certainty")
    assert "assert 'certain' in ('sure', 'likely', 'guess')" in run.stdout


def test_it_is_not_felt_where_it_is_not_used(tmp_path: Path) -> None:
    """Of polyarch only the plugin's own module is imported into a stranger's tests, and nothing that it would bring."""
    (tmp_path / "test_mine.py").write_text(
        "import sys\n"
        "def test_modules():\n"
        "    print('loaded:', *[name for name in sys.modules if name.startswith('polyarch')], 'end')\n"
        "    assert not {'httpx', 'plumbum', 'rich', 'click'} & set(sys.modules)\n"
    )
    run = _pytest(tmp_path, "-q", "-s")
    assert run.returncode == 0, run.stdout
    loaded = run.stdout.partition("loaded:")[2].partition(" end")[0].split()
    assert sorted(loaded) == ["polyarch", "polyarch.testing", "polyarch.testing.pytest_plugin", "polyarch.version"]
