"""A machine without QEMU: exit code 8 (125 from run), and the command that mends it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.docker_registry import DockerRegistry

pytestmark = [pytest.mark.system, pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide the host's QEMU")]

# In a mount namespace of its own, every emulator is covered by something that cannot be executed.
HIDDEN = """
for program in /usr/bin/qemu-* /usr/local/bin/qemu-*; do
    [ -e "$program" ] && mount --bind /dev/null "$program"
done
[ -d /usr/libexec/qemu-binfmt ] && mount -t tmpfs none /usr/libexec/qemu-binfmt
exec "$@"
"""

VERBS = [("resolve", 8), ("pull", 8), ("run", 125)]


@pytest.mark.host
@pytest.mark.parametrize(("verb", "code"), VERBS)
def test_a_foreign_image_lacks_its_emulator(registry: DockerRegistry, tmp_path: Path, verb: str, code: int) -> None:
    command = [sys.executable, "-m", "polyarch", "--root", str(tmp_path), "--format", "json", verb]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", HIDDEN, "sh", *command, registry.ref("arm64-only:1.0")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    [line] = [json.loads(line) for line in done.stdout.splitlines()]
    assert line["error"]["code"] == "host"
    assert "no emulator here for linux/arm64" in line["error"]["message"]
    assert "apt install qemu-user-static" in line["error"]["hint"]
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.host
def test_it_is_no_matter_of_emulators_where_they_are_not_allowed(registry: DockerRegistry, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "polyarch", "--root", str(tmp_path), "resolve", "--emulation", "never"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", HIDDEN, "sh", *command, registry.ref("arm64-only:1.0")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
