"""A real sshd on loopback as the devices of a fleet: it lets in who runs the tests, by a key of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.processes import Server, free_port


class Sshd:
    """A running sshd; `ssh_config` is the client's side of it, with these hosts:

    good       all is well
    forbids    forwards no port
    changed    has another host key than the one that is known
    unknown    has a host key that nobody knows
    stranger   knows nobody's key
    locked     would take a key that is locked by a passphrase
    refuses    nothing listens there
    nameless   has no address
    by-jump    is reached through `good`
    """

    def __init__(self, folder: Path) -> None:
        program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            pytest.skip("the program sshd is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its place for privilege separation
        self._folder, self._ports = folder, (free_port(), free_port())
        for name in ("host", "other-host", "user", "other-user", "locked-user"):
            passphrase = "secret" if name == "locked-user" else ""
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(folder / name)]
            subprocess.run(argv, check=True)
        (folder / "sshd_config").write_text(self._sshd_config())
        self.ssh_config = folder / "ssh_config"
        self.ssh_config.write_text(self._ssh_config())
        self._server = Server([program, "-D", "-e", "-f", str(folder / "sshd_config")], folder / "log", self._answers)

    def variables(self, host: str) -> Mapping[str, object]:
        """What Ansible has to know to reach one of these hosts."""
        return {"ansible_host": host, "ansible_ssh_common_args": f"-F {self.ssh_config}"}

    def stop(self) -> None:
        self._server.stop()

    def _answers(self) -> bool:
        for port in self._ports:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                    if connection.recv(4) != b"SSH-":
                        return False
            except OSError:
                return False
        return True

    def _sshd_config(self) -> str:
        good, forbids = self._ports
        folder = self._folder
        (folder / "home").mkdir()  # what this machine's user has in .bashrc is not part of the tests
        return f"""\
ListenAddress 127.0.0.1
Port {good}
Port {forbids}
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/user.pub {folder}/locked-user.pub
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
SetEnv HOME={folder}/home
Match LocalPort {forbids}
    AllowTcpForwarding no
"""

    def _ssh_config(self) -> str:
        good, forbids = self._ports
        folder = self._folder
        key, other = ((folder / name).read_text() for name in ("host.pub", "other-host.pub"))
        (folder / "known").write_text(f"known {key}changed {other}")
        return f"""\
Host forbids
    Port {forbids}
Host changed
    HostKeyAlias changed
Host unknown
    HostKeyAlias unknown
Host stranger
    IdentityFile {folder}/other-user
Host refuses
    Port 1
Host nameless
    HostName nameless.invalid
Host by-jump
    ProxyCommand ssh -F {folder}/ssh_config -W %h:%p good
Host locked
    IdentityFile {folder}/locked-user
Host * !stranger !locked
    IdentityFile {folder}/user
Host *
    HostName 127.0.0.1
    Port {good}
    User {getpass.getuser()}
    HostKeyAlias known
    UserKnownHostsFile {folder}/known
    GlobalKnownHostsFile /dev/null
    IdentitiesOnly yes
    IdentityAgent none
"""
