"""Ansible's configuration: asked for where there can be one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from polyarch_plugins.fleet_engines.ansible import programs
from polyarch_plugins.fleet_engines.ansible.programs import AnsiblePrograms

CONFIGURED = "[ssh_connection]\nssh_executable = /opt/ssh\n"


@pytest.mark.parametrize(
    "place", ["", "here/ansible.cfg", "home/.ansible.cfg", "etc/ansible.cfg", "ANSIBLE_SSH_EXECUTABLE"]
)
def test_where_nothing_can_be_configured_nothing_is_asked(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "home", "etc"):
        (tmp_path / name).mkdir()
    environ = {"HOME": str(tmp_path / "home")}
    if place.isupper():
        environ[place] = "/opt/ssh"
    elif place:
        (tmp_path / place).write_text(CONFIGURED)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(programs, "_OF_THE_MACHINE", tmp_path / "etc/ansible.cfg")
    asked = []
    monkeypatch.setattr(AnsiblePrograms, "run", lambda self, argv: asked.append(argv) or (0, b"[]", ""))
    assert AnsiblePrograms(environ).setting("ssh_executable", "ssh") is None
    assert len(asked) == bool(place)


@pytest.mark.skipif(not (Path(sys.executable).parent / "ansible-config").exists(), reason="ansible-core is not here")
def test_what_is_configured_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ansible.cfg").write_text(CONFIGURED)
    monkeypatch.chdir(tmp_path)
    assert (
        AnsiblePrograms({"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}).setting("ssh_executable", "ssh") == "/opt/ssh"
    )
