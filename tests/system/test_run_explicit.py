"""`run` where the kernel can have no private table: the emulator is started by name, for the one program."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.users import OrdinaryUser

pytestmark = [pytest.mark.system, pytest.mark.host]  # nothing may be registered meanwhile
OLD = ("setarch", "--uname-2.6")  # the kernel calls itself 2.6.x, which had no private tables


@dataclass
class Old:
    """polyarch on such a kernel."""

    polyarch: Polyarch
    user: OrdinaryUser | None
    root: Path

    def __call__(self, *words: str) -> Result:
        started = self.polyarch.start("--progress", "plain", *words, root=self.root, user=self.user, prefix=OLD)
        return self.polyarch.finish(started)


@pytest.fixture(params=["root", "ordinary user"])
def old(request: pytest.FixtureRequest, polyarch: Polyarch) -> Old:
    if request.param == "root":
        if os.geteuid() != 0:
            pytest.skip("these tests do not run as root")
        return Old(polyarch, None, polyarch.root)
    user: OrdinaryUser = request.getfixturevalue("unprivileged_user")
    return Old(polyarch, user, user.home / "explicit-root")


def test_the_one_program_is_emulated(old: Old, registry: DockerRegistry) -> None:
    image = f"{registry.address}/busybox:1.36"
    done = old("run", "--rm", "--platform", "linux/arm64", image, "uname", "-m")
    assert (done.code, done.stdout) == (0, "aarch64\n"), done.stderr
    assert "only the program itself is emulated" in done.stderr
    assert "as root: polyarch emulator install arm64" in done.stderr
    script = 'echo "$0 $A" && exit 7'
    done = old("run", "--rm", "--platform", "linux/arm64", "-e", "A=b", image, "sh", "-c", script, "me")
    assert (done.code, done.stdout) == (7, "me b\n"), done.stderr


def test_exec_is_emulated_likewise_and_the_emulator_is_no_change(old: Old, registry: DockerRegistry) -> None:
    image = f"{registry.address}/busybox:1.36"
    assert old("run", "-d", "--name", "c", "--platform", "linux/arm/v7", image, "sleep", "300").code == 0
    done = old("exec", "c", "uname", "-m")
    diff = old("diff", "c")
    assert old("rm", "-f", "c").code == 0
    assert (done.code, done.stdout) == (0, "armv7l\n"), done.stderr
    assert (diff.code, diff.stdout) == (0, ""), diff.stderr


def test_native_programs_are_not_concerned(old: Old, registry: DockerRegistry) -> None:
    done = old("run", "--rm", f"{registry.address}/busybox:1.36", "sh", "-c", "uname -m")
    assert (done.code, done.stdout) == (0, "x86_64\n"), done.stderr
    assert "emulated" not in done.stderr
