"""Ansible's programs: found, and run to their end."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from polyarch.contract import HostError, UsageError, is_there
from polyarch_plugins.fleet_engines.ansible.inventory import LISTING_ENVIRON, MAX_LISTING, messages
from polyarch_plugins.fleet_engines.supervised import Supervised

_PATIENCE = 600.0
"""Seconds for a listing: an inventory may ask a cloud."""

_CHUNK = 1 << 16

# Messages are read, so they are English. Nothing is asked: neither at a terminal nor by a window.
_ENVIRON: Mapping[str, str] = {
    **LISTING_ENVIRON,
    "LC_ALL": "C.UTF-8",
    "LANGUAGE": "C",
    "ANSIBLE_ASK_PASS": "false",
    "ANSIBLE_BECOME_ASK_PASS": "false",
    "ANSIBLE_ASK_VAULT_PASS": "false",
    "SSH_ASKPASS_REQUIRE": "never",
}


_OF_THE_MACHINE = Path("/etc/ansible/ansible.cfg")


class AnsiblePrograms:
    """The programs of the Ansible that is beside this Python, else of the one on the PATH of `environ`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = {**environ, **_ENVIRON}
        self._variables = any(name.startswith("ANSIBLE_") for name in environ)

    def find(self, name: str) -> str:
        """The path of a program. Raises HostError where there is none."""
        beside = Path(sys.executable).parent / name
        found = str(beside) if beside.exists() else shutil.which(name, path=self.environ.get("PATH"))
        if found is None:
            raise HostError(f"there is no program {name} here", "pip install 'polyarch[fleet]'")
        return found

    def run(self, argv: Sequence[str]) -> tuple[int, bytes, str]:
        """Run a program to its end: its exit code, its output, and the end of its errors.

        Raises HostError where it is missing, cannot be started, or takes too long.
        """
        command = [self.find(argv[0]), *argv[1:]]
        folder = private_folder(self.environ)
        with tempfile.TemporaryFile() as errors:
            # Else it has temporary files at home, and they stay there when it is killed.
            environ = {**self.environ, "ANSIBLE_LOCAL_TEMP": str(folder)}
            try:
                process = Supervised(command, environ, folder=folder, stderr=errors)
                try:
                    output = _read(process, _PATIENCE, argv[0])
                    code = process.wait()
                finally:
                    process.close()
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - (64 << 10)))
            return code, output, errors.read().decode(errors="replace")

    def setting(self, name: str, plugin: str = "") -> object:
        """What the user's configuration of Ansible says of `name`, of a connection plugin where one is named.

        None where it says nothing (of a plugin), or there is no such setting. Raises UsageError where the configuration
        cannot be read.
        """
        if plugin and not self._configured():
            return None
        kind = ["--only-changed", "--type=connection"] if plugin else ["--type=base"]
        code, output, errors = self.run(["ansible-config", "dump", *kind, "--format=json"])
        try:
            document: object = json.loads(output)
        except (ValueError, RecursionError):
            document = None
        if code != 0 or not isinstance(document, list):
            why = next(iter(messages(errors)), f"ansible-config ended with {code}")
            raise UsageError(f"Ansible's configuration cannot be read: {why}", "look at it with: ansible-config dump")
        return _named(document, name, plugin)

    def _configured(self) -> bool:
        """Whether the user can have changed a setting: by a variable, or by one of the files that Ansible looks for
        (ansible-core, config/manager.py: find_ini_config_file). Asking it takes as long as listing an inventory.
        """
        files = (Path("ansible.cfg"), Path(self.environ.get("HOME") or Path.home()) / ".ansible.cfg", _OF_THE_MACHINE)
        return self._variables or any(map(is_there, files))


def private_folder(environ: Mapping[str, str], name: str = "") -> Path:
    """A new folder of this user alone, where programs can be started. Raises HostError where there is no place."""
    name = name or secrets.token_hex(8)
    home = environ.get("HOME")
    places = [environ.get("TMPDIR"), tempfile.gettempdir(), environ.get("XDG_RUNTIME_DIR"), home and f"{home}/.cache"]
    why = "there is no folder for temporary files"
    for place in filter(None, places):
        try:
            if not os.statvfs(place).f_flag & os.ST_NOEXEC:
                folder = Path(place) / f"polyarch-fleet-{name}"
                folder.mkdir(mode=0o700)
                return folder
        except OSError as error:
            why = f"{place}: {error.strerror}"
    raise HostError(
        f"no program can be put anywhere for Ansible to start: {why}", "set TMPDIR to a folder that allows it"
    )


def _named(document: list[object], name: str, kind: str) -> object:
    """The value of a setting in what `ansible-config dump` prints: a list of settings, or of plugins with settings."""
    for entry in document:
        if isinstance(entry, dict) and entry.get("name") == name:
            return entry.get("value")
        inner = entry.get(kind) if isinstance(entry, dict) else None
        if isinstance(inner, list):
            return _named(inner, name, "")
    return None


def _read(process: Supervised, seconds: float, program: str) -> bytes:
    late = threading.Event()

    def end() -> None:
        late.set()
        process.end()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    output = bytearray()
    try:
        while len(output) <= MAX_LISTING and (data := process.stdout.read(_CHUNK)):
            output += data
    finally:
        timer.cancel()
    if late.is_set():
        raise HostError(f"{program} did not end within {seconds:g} seconds", "try it by hand")
    return bytes(output)
