"""Containers where the kernel mounts no overlay: below a root folder that lies on an overlay itself.

Each command runs in a mount namespace that root makes: the overlay is mounted there, and /dev/fuse has the rights that
udev gives it elsewhere. Neither is seen outside.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import Result
from support.docker_registry import DockerRegistry
from support.processes import await_true
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount the overlay that these tests run on"),
    pytest.mark.skipif(not shutil.which("crun"), reason="crun is not installed"),
    pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="/dev/fuse is not on this machine"),
    pytest.mark.skipif(not shutil.which("fuse-overlayfs"), reason="fuse-overlayfs is not installed"),
]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class OnOverlay:
    """`here("run", …)` runs polyarch as the user, or as root, with its root folder on an overlay."""

    def __init__(self, folder: Path, user: OrdinaryUser | None, fuse_mode: str = "666") -> None:
        self.folder = folder
        self.user = user
        self.fuse_mode = fuse_mode
        self.root = folder / "merged" / "root"
        for name in ("lower", "upper", "work", "merged", "node", "home"):
            (folder / name).mkdir(exist_ok=True)
            if user:
                os.chown(folder / name, user.uid, user.gid)

    def __call__(self, *words: str, path: str = _PATH) -> Result:
        process = self.start(*words, path=path)
        stdout, stderr = process.communicate(timeout=120)
        assert "Traceback" not in stdout + stderr, stderr
        return Result(words, process.returncode, stdout, stderr)

    def start(self, *words: str, path: str = _PATH) -> subprocess.Popen[str]:
        """Start polyarch; the process that this gives becomes it."""
        command, switch = [sys.executable, "-m", "polyarch"], list[str]()
        if self.user:
            command = self.user.polyarch_command()
            switch = ["setpriv", f"--reuid={self.user.uid}", f"--regid={self.user.gid}", "--clear-groups"]
        environment = {"PATH": path, "HOME": str(self.folder / "home"), "LANG": "C.UTF-8"}
        argv = [
            *(*switch, "env", "-i", *(f"{name}={value}" for name, value in environment.items())),
            *(*command, "--root", str(self.root), "--progress", "none", *words),
        ]
        layers = ",".join(
            f"{key}={self.folder / name}"
            for key, name in (("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work"))
        )
        node = self.folder / "node" / "fuse"
        script = f"""
        mount -t overlay overlay -o {layers} {self.folder / "merged"}
        test -e {node} || mknod {node} c 10 229
        chmod {self.fuse_mode} {node}
        mount --bind {node} /dev/fuse
        cd /
        exec {shlex.join(argv)}
        """
        return subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave", "sh", "-ec", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def user(unprivileged_user: OrdinaryUser) -> OrdinaryUser:
    return unprivileged_user


@pytest.fixture(scope="module")
def here(user: OrdinaryUser) -> Iterator[OnOverlay]:
    folder = user.home / "on-overlay"
    folder.mkdir()
    os.chown(folder, user.uid, user.gid)
    yield OnOverlay(folder, user)
    shutil.rmtree(folder)


SCRIPT = """
test ! -e /etc/removed-by-second-layer
test "$(ls /var/cache/replaced)" = new
echo changed > /etc/motd
rm /etc/passwd /bin/wget
test ! -e /etc/passwd
rm -rf /var/cache && mkdir -p /var/cache/replaced && echo mine > /var/cache/replaced/mine
test "$(ls /var/cache/replaced)" = mine
mv /usr/bin /usr/moved
chown 5:6 /root && stat -c %u:%g /root
echo hello > /new && cat /new
"""
CHANGES = """
C /bin
D /bin/wget
C /etc
C /etc/motd
D /etc/passwd
A /new
C /root
C /usr
D /usr/bin
A /usr/moved
A /usr/moved/env
C /var
C /var/cache
C /var/cache/replaced
A /var/cache/replaced/mine
D /var/cache/replaced/new
"""


def test_an_ordinary_users_containers_run_by_fuse_overlayfs(here: OnOverlay, registry: DockerRegistry) -> None:
    image = registry.ref("busybox:1.36")
    said = here("run", "--name", "changer", image, "sh", "-ec", SCRIPT).ok().stdout
    assert said.splitlines() == ["5:6", "hello"]
    assert here("diff", "changer").ok().stdout.split("\n") == [*CHANGES.strip().split("\n"), ""]
    assert here("run", "--rm", image, "cat", "/etc/motd").ok().stdout == "written by the second layer\n"
    here("rm", "changer").ok()
    assert list((here.folder / "upper" / "root" / "containers").glob("*/")) == []
    assert_nothing_runs(here)


def assert_nothing_runs(here: OnOverlay) -> None:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            assert os.fsencode(here.folder) not in path.read_bytes(), f"process {path.parent.name} is left"


def test_exit_codes_and_signals_pass_through(here: OnOverlay, registry: DockerRegistry) -> None:
    image = registry.ref("busybox:1.36")
    assert here("run", "--rm", image, "sh", "-c", "exit 41").code == 41
    assert here("run", "--rm", image, "sh", "-c", "sh -c 'kill -9 $$'; exit $?").code == 137
    script = "trap 'exit 7' TERM; echo ready; sleep 60 & wait"
    process = here.start("run", "--rm", image, "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 7
    assert_nothing_runs(here)


def test_with_a_killed_polyarch_all_ends(here: OnOverlay, registry: DockerRegistry) -> None:
    script = "echo ready; sleep 600"
    process = here.start("run", "--rm", registry.ref("busybox:1.36"), "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate(timeout=60)  # to the end of the program's output

    def nothing_runs() -> bool:
        try:
            assert_nothing_runs(here)
        except AssertionError:
            return False
        return True

    await_true(nothing_runs, "all processes have ended")
    here("ps", "-a").ok()
    assert list((here.folder / "upper" / "root" / "containers").glob("*/")) == []


def test_a_foreign_image_runs_there_too(here: OnOverlay, registry: DockerRegistry) -> None:
    words = ("run", "--rm", "--platform", "linux/arm64", registry.ref("busybox:1.36"))
    said = here(*words, "sh", "-c", "rm /etc/motd; ls /etc; uname -m").ok().stdout
    assert said.split()[-1] == "aarch64"
    assert "motd" not in said.split()


def test_without_a_right_to_the_device_the_error_names_what_mends_it(here: OnOverlay, registry: DockerRegistry) -> None:
    closed = OnOverlay(here.folder, here.user, "600")
    result = closed("run", "--rm", registry.ref("busybox:1.36"), "true")
    assert result.code == 125
    assert "error: fuse-overlayfs may not open /dev/fuse: Permission denied" in result.stderr
    assert "hint: as root: chmod 666 /dev/fuse" in result.stderr


def test_without_fuse_overlayfs_the_error_names_the_package(here: OnOverlay, registry: DockerRegistry) -> None:
    programs = here.folder / "bin"
    programs.mkdir()
    for name in ("env", "crun", "newuidmap", "newgidmap"):
        (programs / name).symlink_to(shutil.which(name) or f"/usr/bin/{name}")
    result = here("run", "--rm", registry.ref("busybox:1.36"), "true", path=str(programs))
    assert result.code == 125
    assert "its file system cannot hold the upper layer" in result.stderr
    assert "hint: apt install fuse-overlayfs" in result.stderr


def test_root_is_told_of_a_better_place(tmp_path: Path, registry: DockerRegistry) -> None:
    result = OnOverlay(tmp_path, None)("--format", "json", "run", "--rm", registry.ref("busybox:1.36"), "true")
    assert result.code == 125
    (document,) = result.json_lines
    assert document["error"]["code"] == "host"
    assert "cannot hold the upper layer" in document["error"]["message"]
    assert document["error"]["hint"] == "choose a place on ext4, xfs, btrfs or tmpfs with --root"
    assert [path.name for path in (tmp_path / "upper/root").glob("snapshots/trusted/*")] == []
    assert [path.name for path in (tmp_path / "upper/root").glob("containers/*/")] == []
