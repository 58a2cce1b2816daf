"""The five plugins of docs/plugins.md: each is whole, under 50 lines, and works through the command line."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from polyarch.oci.digest import digest_of
from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.plugin_packages import install

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
BLOCKS = [text for text in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if "@hookimpl" in text]
HOOKS = {match[1]: text for text in BLOCKS for match in re.finditer(r"^def polyarch_(\w+)", text, re.MULTILINE)}
KINDS = ("registries", "storages", "tag_conventions", "emulators", "observers")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment with each plugin as a package of its own, side by side."""
    site = tmp_path_factory.mktemp("site")
    for kind, text in HOOKS.items():
        install(site, f"page-{kind.replace('_', '-')}", text)
    return {"PYTHONPATH": str(site)}


def test_there_is_one_of_each_kind() -> None:
    assert tuple(HOOKS) == KINDS
    assert len(BLOCKS) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_whole_and_short(kind: str) -> None:
    assert len(HOOKS[kind].splitlines()) < 50
    imported = {
        node.module for node in ast.walk(ast.parse(HOOKS[kind])) if isinstance(node, ast.ImportFrom) and node.module
    }
    assert {module for module in imported if module.startswith("polyarch")} == {"polyarch.contract"}


def test_they_keep_the_contract(polyarch: Polyarch, installed: dict[str, str]) -> None:
    reports = polyarch("plugin", "check", "--format", "json", env=installed).ok().json_lines
    page = [report for report in reports if report["distribution"].startswith("page-")]
    assert {report["registers"][0]["kind"] for report in page} == set(KINDS)
    assert [(report["verdict"], report["faults"], report["notes"]) for report in page] == [("ok", [], [])] * len(KINDS)


def copied(source: str, target: str, *words: str) -> None:
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", *words, source, target],
        check=True,
    )


@pytest.fixture(scope="module")
def layout(registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attic") / "layout"
    copied(f"docker://{registry.ref('busybox:1.36')}", f"oci:{folder}:v1", "--all")
    return folder


def test_the_registry(polyarch: Polyarch, installed: dict[str, str], layout: Path) -> None:
    assert polyarch("tags", "-q", f"attic:{layout}", env=installed).ok().stdout.split() == ["v1"]
    words = ("--format", "json", "--platform", "linux/arm64", f"attic:{layout}:v1")
    [line] = polyarch("pull", *words, env=installed).ok().json_lines
    assert (line["platform"], line["status"]) == ("linux/arm64", "downloaded")
    assert line["digest"] == json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    assert polyarch("pull", f"attic:{layout}:v2", env=installed).code == 3
    assert polyarch("pull", f"attic:{layout.parent}", env=installed).code == 3


def test_the_storage(polyarch: Polyarch, installed: dict[str, str], registry: DockerRegistry, tmp_path: Path) -> None:
    words = ("--format", "json", "--platform", "linux/s390x", "--into", f"shelf:{tmp_path}")
    [line] = polyarch("pull", *words, registry.ref("busybox:1.36"), env=installed).ok().json_lines
    assert (tmp_path / "NAMES").read_text() == f"{registry.ref('busybox:1.36')} {line['manifest']} linux/s390x\n"
    blobs = [path for path in tmp_path.iterdir() if re.fullmatch("[0-9a-f]{64}", path.name)]
    assert len(blobs) == len(line["layers"]) + 1
    assert all(digest_of(path.read_bytes()) == f"sha256:{path.name}" for path in blobs)
    several = polyarch("pull", "--all-platforms", "--into", f"shelf:{tmp_path}", registry.ref("busybox"), env=installed)
    assert several.code == 2


def test_the_tag_convention(polyarch: Polyarch, installed: dict[str, str], registry: DockerRegistry) -> None:
    name = registry.ref("page/app:1.0")
    copied(f"docker://{registry.ref('busybox:1.36')}", f"docker://{name}.for.arm64", "--override-arch", "arm64")
    words = ("--format", "json", "--platform", "linux/arm64", name)
    [line] = polyarch("resolve", *words, env=installed).ok().json_lines
    assert (line["chosen"]["source"], line["chosen"]["tag"]) == ("tag", "1.0.for.arm64")
    assert polyarch("resolve", *words).code == 3


def test_the_source_of_emulators(polyarch: Polyarch, installed: dict[str, str], tmp_path: Path) -> None:
    name = "qemu-x86_64-static" if os.uname().machine == "aarch64" else "qemu-aarch64-static"
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    (tmp_path / "qemu").mkdir()
    shutil.copy(program, tmp_path / "qemu")
    settings = tmp_path / "settings.toml"
    only_it = f'disabled_plugins = ["qemu_user", "qemu_image"]\n[options.opt-qemu]\nfolder = "{tmp_path}/qemu"\n'
    settings.write_text(only_it)
    [device] = polyarch("device", "--format", "json", "--config", settings, env=installed).ok().json_lines
    found = {each["emulator"] for each in device["emulated"] if str(tmp_path) in str(each["emulator"])}
    assert found == {f"{tmp_path}/qemu/{name}"}


def test_the_observer(polyarch: Polyarch, installed: dict[str, str], registry: DockerRegistry, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(f'[options.log]\nfile = "{tmp_path}/events"\n')
    words = ("-q", "--config", settings, "--platform", "linux/arm64", registry.ref("busybox:1.36"))
    polyarch("pull", *words, env=installed).ok()
    events = [ast.literal_eval(line)["event"] for line in (tmp_path / "events").read_text().splitlines()]
    assert (events[0], events[-1]) == ("PullStarted", "PullFinished")
    assert "BlobDone" in events
