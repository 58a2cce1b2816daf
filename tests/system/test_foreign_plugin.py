"""A plugin of a separate package, installed by pip, adds a registry scheme and a storage; the core knows neither."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from polyarch.oci.digest import digest_of
from support.command import Polyarch
from support.docker_registry import DockerRegistry

PACKAGE = Path(__file__).parent / "attic_plugin"
CORE = Path(__file__).parents[2] / "orchestrator"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the plugin is installed."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(folder), str(PACKAGE)], check=True, cwd=folder)
    return {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def layout(registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attic") / "layout"
    source = f"docker://{registry.ref('busybox:1.36')}"
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--src-tls-verify=false", "--all", source, f"oci:{folder}:v1"], check=True
    )
    return folder


def test_the_plugin_is_small_and_the_core_does_not_know_it() -> None:
    assert len((PACKAGE / "attic" / "__init__.py").read_text().splitlines()) < 50
    core = [path for path in CORE.rglob("*.py") if path.name != "hooks.py" and "testing" not in path.parts]
    text = "".join(path.read_text() for path in core)
    assert "attic" not in text
    assert "shelf" not in text


def test_it_is_listed_with_its_distribution(polyarch: Polyarch, installed: dict[str, str]) -> None:
    lines = polyarch("plugin", "ls", "--format", "json", env=installed).ok().json_lines
    assert {(line["kind"], line["name"]) for line in lines if line["distribution"] == "polyarch-attic 1.0"} == {
        ("registries", "attic"),
        ("storages", "shelf"),
    }


def test_pull_from_its_registry(polyarch: Polyarch, installed: dict[str, str], layout: Path) -> None:
    [line] = (
        polyarch("pull", "--format", "json", "--platform", "linux/arm64", f"attic:{layout}", env=installed)
        .ok()
        .json_lines
    )
    assert (line["platform"], line["status"], line["storage"]) == ("linux/arm64", "downloaded", "oci")
    [stored] = polyarch("image", "ls", "--format", "json", env=installed).ok().json_lines
    assert stored["digest"] == line["digest"]


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/arm/v7", "linux/s390x"])
def test_pull_into_its_storage(
    polyarch: Polyarch, installed: dict[str, str], registry: DockerRegistry, tmp_path: Path, platform: str
) -> None:
    shelf, name = tmp_path / "shelf", registry.ref("busybox:1.36")
    shelf.mkdir()
    options = ("--format", "json", "--platform", platform, "--into", f"shelf:{shelf}")
    [line] = polyarch("pull", *options, name, env=installed).ok().json_lines
    assert line["storage"] == f"shelf:{shelf}"
    assert (shelf / "NAMES").read_text() == f"{name} {line['manifest']} {platform}\n"
    blobs = [path for path in shelf.iterdir() if path.name != "NAMES"]
    assert len(blobs) == len(line["layers"]) + 1
    assert all(digest_of(path.read_bytes()) == f"sha256:{path.name}" for path in blobs)


def test_from_its_registry_into_its_storage(
    polyarch: Polyarch, installed: dict[str, str], layout: Path, tmp_path: Path
) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    polyarch("pull", "-q", "--platform", "linux/386", "--into", f"shelf:{shelf}", f"attic:{layout}", env=installed).ok()
    assert "linux/386" in (shelf / "NAMES").read_text()


def test_without_the_plugin_its_words_are_unknown(polyarch: Polyarch, tmp_path: Path) -> None:
    assert polyarch("pull", "--into", f"shelf:{tmp_path}", "busybox").code == 2
