"""doctor asks registries whether they answer: real ones, broken ones, silent ones."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.contract import RegistryPlugin
from polyarch.plugin_host.host import PluginHost
from polyarch.reference import Reference
from polyarch.settings import Settings, load_settings
from polyarch.verbs.doctor.check import Check
from polyarch.verbs.doctor.registries import credentials, registries
from support.docker_registry import DockerRegistry
from support.exchange import Answer, Request
from support.faults import Fault, status, unauthorized
from support.faulty_registry import FaultyRegistry
from support.processes import free_port
from support.registry_auth import basic_header, write_auth_file


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


class LimitedHosts(PluginHost):
    """Plugins by which a registry has the reference `limited`, as docker.io has one."""

    limited = ""

    def registry_for(self, reference: Reference) -> RegistryPlugin:
        return replace(super().registry_for(reference), limited=self.limited)


def limited(remaining: int, source: str) -> Fault:
    def fault(_: Request, answer: Answer) -> Answer:
        fields = {"RateLimit_Limit": "100;w=21600", "RateLimit_Remaining": f"{remaining};w=21600"}
        return answer.with_headers(**fields, Docker_RateLimit_Source=source)

    return fault


def ask_limited(folder: Path, server: FaultyRegistry) -> Check:
    """The check of a registry that limits pulls; docker.io, which is asked always, is left out."""
    settings = load_settings(folder, environ={"HOME": str(folder)}, read_timeout=2)
    plugins = LimitedHosts(settings)
    plugins.limited = server.ref("busybox:1.36")
    return list(registries(settings, plugins, [server.address]))[1]


@pytest.mark.parametrize(
    ("remaining", "source", "verdict", "mend"),
    [
        (92, "192.0.2.1", "ok", None),
        (5, "192.0.2.1", "warning", "polyarch login {}"),
        (0, "0e1b-4f", "warning", None),
    ],
)
def test_a_registry_that_limits_pulls(
    tmp_path: Path, faulty_registry: FaultyRegistry, remaining: int, source: str, verdict: str, mend: str | None
) -> None:
    faulty_registry.script("HEAD", "/manifests/", limited(remaining, source))
    name = faulty_registry.address
    check = ask_limited(tmp_path, faulty_registry)
    assert check.verdict == verdict
    assert check.fact.startswith(f"{name} answers; {remaining} of 100 pulls left in 6 h for {source}")
    assert ("; all are back at " in check.fact) == (verdict == "warning")
    assert (check.mend and check.mend.command) == (mend and mend.format(name))
    # A HEAD request is told, but not counted: nothing is pulled to know it.
    assert [(request.method, request.path) for request in faulty_registry.requests] == [
        ("GET", "/v2/"),
        ("HEAD", "/v2/busybox/manifests/1.36"),
    ]


def test_it_answers_even_if_it_tells_no_limit(tmp_path: Path, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("HEAD", "/manifests/", status(404))
    assert ask_limited(tmp_path, faulty_registry).fact == f"{faulty_registry.address} answers"


def test_the_limit_is_asked_for_in_the_name_of_those_who_pull(tmp_path: Path, faulty_registry: FaultyRegistry) -> None:
    write_auth_file(tmp_path / ".docker" / "config.json", faulty_registry.address)
    faulty_registry.script("HEAD", "/manifests/", unauthorized('Basic realm="x"'), limited(92, "ali"))
    assert ask_limited(tmp_path, faulty_registry).fact.endswith("92 of 100 pulls left in 6 h for ali")
    assert [request.headers["Authorization"] for request in faulty_registry.requests] == [None, None, basic_header()]


@pytest.mark.parametrize(
    ("script", "verdict", "fact", "names"),
    [
        (
            """echo '{"https://index.docker.io/v1/": "me", "a.example": "me"}'""",
            "ok",
            "2 logins, kept by docker-credential-odd",
            ["docker.io", "a.example"],
        ),
        ("echo kaputt; exit 1", "warning", "docker-credential-odd list failed: kaputt", []),
        ("exec sleep 1000", "warning", "docker-credential-odd list did not answer within 0.3 seconds", []),
    ],
)
def test_logins_that_a_helper_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, verdict: str, fact: str, names: list[str]
) -> None:
    monkeypatch.setattr("polyarch.verbs.doctor.registries.SECONDS", 3.0 if verdict == "ok" else 0.3)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program = tmp_path / "docker-credential-odd"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    file = tmp_path / ".docker" / "config.json"
    file.parent.mkdir()
    file.write_text('{"credsStore": "odd"}')
    checks, found = credentials(load_settings(tmp_path, environ={"HOME": str(tmp_path)}))
    assert [(check.verdict, check.fact) for check in checks] == [(verdict, f"{file}: {fact}")]
    assert found == names
