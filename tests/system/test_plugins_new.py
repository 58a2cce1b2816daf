"""Packages made by `plugin new` for two plugins, installed side by side: they pass the kit and work by the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.command import Polyarch
from support.docker_registry import DockerRegistry

OTHER_KINDS = ("tag-convention", "emulator", "observer")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages `attic` (a registry and a storage) and `crate` (all else), and `site`, where they are
    installed."""
    base = tmp_path_factory.mktemp("made")
    (base / "polyarch").mkdir()
    polyarch = Polyarch(base / "polyarch")
    polyarch("plugin", "new", "attic", cwd=base).ok()
    kinds = [word for kind in OTHER_KINDS for word in ("--kind", kind)]
    polyarch("plugin", "new", *kinds, "paper-crate", base / "crate").ok()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run(
        [*install, "--target", "site", "./polyarch-attic", "./crate"], cwd=base, check=True, stdin=subprocess.DEVNULL
    )
    return base


@pytest.fixture(scope="module")
def env(made: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(made / "site")}


def test_both_pass_the_kit(made: Path, env: dict[str, str]) -> None:
    """In a process of its own, with nothing of this checkout's settings."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(made / "tmp"), "-rs"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")} | env
    run = subprocess.run(
        [*command, "polyarch-attic", "crate"], cwd=made, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    skipped = [line for line in run.stdout.splitlines() if line.startswith("SKIPPED")]
    assert all("has not the ability" in line for line in skipped), skipped
    passed = run.stdout.splitlines()[-1].split()
    assert int(passed[0]) >= 100, run.stdout


def test_both_keep_the_contract(polyarch: Polyarch, env: dict[str, str]) -> None:
    for name, kinds in (
        ("attic", ["registries", "storages"]),
        ("paper-crate", ["emulators", "observers", "tag_conventions"]),
    ):
        [report] = polyarch("plugin", "check", name, "--format", "json", env=env).ok().json_lines
        assert (report["verdict"], report["faults"], report["notes"]) == ("ok", [], [])
        assert sorted(each["kind"] for each in report["registers"]) == kinds
        assert [each["untried"] for each in report["registers"]] == [None] * len(kinds)


def test_into_its_storage_and_out_of_its_registry(
    polyarch: Polyarch, env: dict[str, str], registry: DockerRegistry, tmp_path: Path
) -> None:
    place, name = tmp_path / "place", registry.ref("busybox:1.36")
    platforms = ("--format", "json", "--platform", "linux/arm64,linux/arm/v7")
    first = polyarch("pull", *platforms, "--into", f"attic:{place}", name, env=env).ok().json_lines
    assert [line["status"] for line in first] == ["downloaded"] * 2
    again = polyarch("pull", *platforms, "--into", f"attic:{place}", name, env=env).ok().json_lines
    assert [line["status"] for line in again] == ["up-to-date"] * 2
    listed = subprocess.run(["skopeo", "inspect", "--raw", f"oci:{place}"], check=True, capture_output=True).stdout
    assert len(json.loads(listed)["manifests"]) == 2
    [tag] = polyarch("tags", "-q", f"attic:{place}", env=env).ok().stdout.split()
    [out] = (
        polyarch("pull", "--format", "json", "--platform", "linux/arm/v7", f"attic:{place}", env=env).ok().json_lines
    )
    assert out["manifest"] in {line["manifest"] for line in first}
    assert tag


def test_the_other_kinds_work(
    polyarch: Polyarch, env: dict[str, str], registry: DockerRegistry, tmp_path: Path
) -> None:
    name, events = registry.ref("made/app:1.0"), tmp_path / "events"
    copy = [
        "skopeo",
        "copy",
        "--quiet",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--override-arch",
        "arm64",
    ]
    subprocess.run([*copy, f"docker://{registry.ref('busybox:1.36')}", f"docker://{name}.for.arm64"], check=True)
    settings = tmp_path / "settings.toml"
    settings.write_text(f'[options.paper-crate]\nfile = "{events}"\nfolder = "{tmp_path}"\n')
    words = ("--config", settings, "--format", "json", "--platform", "linux/arm64", name)
    [line] = polyarch("pull", *words, env=env).ok().json_lines
    assert (line["source"], line["tag"]) == ("tag", "1.0.for.arm64")
    told = [json.loads(text)["event"] for text in events.read_text().splitlines()]
    assert (told[0], told[-1]) == ("PullStarted", "PullFinished")


# what is asked for, what is told
REFUSED = [
    (("Attic",), "'Attic' is no name for a plugin"),
    (("at_tic",), "'at_tic' is no name for a plugin"),
    (("a--b",), "'a--b' is no name for a plugin"),
    (("x" * 41,), "is no name for a plugin"),
    (("localhost",), "localhost is no scheme that a plugin may claim"),
    (("oci",), "there is a storage oci already, of oci (polyarch"),
    (("docker-daemon", "--kind", "registry"), "there is a registry docker-daemon already"),
    (("suffix", "--kind", "tag-convention"), "there is a tag convention suffix already"),
    (("attic", "full"), "full is there already"),
    (("attic", "file"), "file is there already"),
    (("attic", "--kind", "dance"), "'dance' is not one of"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=[" ".join(row[0])[:30] for row in REFUSED])
def test_what_is_refused(polyarch: Polyarch, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    (tmp_path / "file").touch()
    result = polyarch("plugin", "new", *words, cwd=tmp_path)
    assert result.code == 2
    assert said in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "polyarch") == ["file", "full"]


@pytest.mark.parametrize("kind", ["registry", "storage", *OTHER_KINDS])
def test_each_kind_alone(polyarch: Polyarch, tmp_path: Path, kind: str) -> None:
    (tmp_path / "new").mkdir()
    [line] = polyarch("plugin", "new", "--format", "json", "--kind", kind, "oak", tmp_path / "new").ok().json_lines
    files = [tmp_path / "new" / name for name in line["files"]]
    assert sorted(path for path in (tmp_path / "new").rglob("*") if path.is_file()) == sorted(files)
    for path in files:
        text = path.read_text()
        assert "$" not in text or path.name == "README.md", f"{path}: not filled in"
        assert "TODO" not in text
        if path.suffix == ".py":
            compile(text, path, "exec")
    project = tomllib.loads((tmp_path / "new" / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["polyarch.v1"] == {"oak": "polyarch_oak.plugin"}
