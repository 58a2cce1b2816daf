"""doctor asks registries whether they answer: real ones, broken ones, silent ones."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from polyarch.plugin_host import PluginHost
from polyarch.settings import Settings, load_settings
from polyarch.verbs.doctor.check import Check
from polyarch.verbs.doctor.registries import registries
from support.docker_registry import DockerRegistry
from support.faults import status
from support.faulty_registry import FaultyRegistry
from support.processes import free_port


def ask(folder: Path, *names: str, read_timeout: float = 2) -> dict[str, Check]:
    """The checks of these registries, by the name that their facts begin with."""
    settings: Settings = load_settings(folder, environ={"HOME": str(folder)}, read_timeout=read_timeout)
    checks = list(registries(settings, PluginHost(settings), names))
    assert checks[0].fact.startswith("docker.io")  # the default is always asked; a test cannot know whether it answers
    return dict(zip(names, checks[1:], strict=True))


def test_those_that_answer(tmp_path: Path, registry: DockerRegistry, authed_registry: DockerRegistry) -> None:
    names = (registry.address, authed_registry.address)
    found = ask(tmp_path, *names)
    assert {name: (check.verdict, check.fact) for name, check in found.items()} == {
        name: ("ok", f"{name} answers") for name in names
    }
    assert authed_registry.access_log()[-1].status == 401  # asked without credentials, and once


def test_one_that_is_not_there(tmp_path: Path) -> None:
    name = f"127.0.0.1:{free_port()}"
    check = ask(tmp_path, name)[name]
    assert (check.verdict, check.fact, check.mend) == ("warning", f"{name}: connection refused", None)
    assert not check.essential


def test_one_that_fails(tmp_path: Path, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", "/v2/", status(503), forever=True)
    name = faulty_registry.address
    check = ask(tmp_path, name)[name]
    assert check.verdict == "warning"
    assert "503" in check.fact


def test_silence_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyarch.verbs.doctor.registries.SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name = f"127.0.0.1:{silent.getsockname()[1]}"
        check = ask(tmp_path, name, read_timeout=60)[name]
    assert check.verdict == "warning"
    assert "within" in check.fact
