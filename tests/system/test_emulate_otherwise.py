"""`polyarch emulate` where there can be no private table: an old kernel, or one that refuses user namespaces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.users import OrdinaryUser

pytestmark = [pytest.mark.system, pytest.mark.host]

# The kernel itself refuses a further user namespace; who is the user outside has no part in it.
_NO_NAMESPACE = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
KERNELS = {
    "Linux 2.6": ("setarch", "--uname-2.6"),
    "no user namespace": ("unshare", "--user", "--map-root-user", "sh", "-c", _NO_NAMESPACE, "sh"),
}


@dataclass(frozen=True)
class Runner:
    """polyarch on such a kernel, as root or an ordinary user, with proot on PATH or without."""

    prefix: tuple[str, ...]
    user: OrdinaryUser | None
    home: Path
    path: str

    def __call__(self, *words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = self.user.polyarch_command() if self.user else [sys.executable, "-m", "polyarch"]
        argv = [*map(str, (*self.prefix, *command)), "--root", str(self.home / "root"), *map(str, words)]
        argv[0] = shutil.which(argv[0]) or argv[0]
        environment = {"PATH": self.path, "HOME": str(self.home), "LANG": "C.UTF-8", **(env or {})}
        if self.user:
            return self.user.run(argv, env=environment)
        return subprocess.run(argv, env=environment, cwd=self.home, capture_output=True, text=True, check=False)

    def emulate(self, *argv: str | Path, platform: str = "") -> subprocess.CompletedProcess[str]:
        return self("emulate", *(["--platform", platform] if platform else []), "--", *argv)


@pytest.fixture(scope="module", params=["root", "ordinary user"])
def user(request: pytest.FixtureRequest) -> OrdinaryUser | None:
    if request.param == "root":
        if os.geteuid() != 0:
            pytest.skip("these tests do not run as root")
        return None
    found: OrdinaryUser = request.getfixturevalue("unprivileged_user")
    return found


@pytest.fixture(scope="module")
def home(
    user: OrdinaryUser | None, foreign_busybox: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with busybox for arm64, armel and armhf, an arm64 script, and `bin`, a PATH without proot."""
    place = user.home / "otherwise" if user else tmp_path_factory.mktemp("otherwise")
    (place / "bin").mkdir(parents=True)
    for name in ("sh", "unshare", "setarch", "env"):
        (place / "bin" / name).symlink_to(str(shutil.which(name)))
    for name in ("arm64", "armel", "armhf"):
        (place / name).mkdir()
        shutil.copy(foreign_busybox(name), place / name / "busybox")
    (place / "bin" / "ash").symlink_to(place / "arm64" / "busybox")
    script = place / "script"
    script.write_text(f'#!{place}/arm64/busybox sh\necho "$0" "$@"; echo "$PPID" >/dev/null; exit 9\n')
    script.chmod(0o755)
    for path in (place, *place.rglob("*")):
        if user:
            os.chown(path, user.uid, user.gid, follow_symlinks=False)
    return place


@pytest.fixture(params=list(KERNELS))
def kernel(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return KERNELS[request.param]


@pytest.fixture
def by_proot(kernel: tuple[str, ...], user: OrdinaryUser | None, home: Path) -> Runner:
    if not shutil.which("proot"):
        pytest.skip("proot is not installed")
    return Runner(kernel, user, home, "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")


@pytest.fixture
def by_name(kernel: tuple[str, ...], user: OrdinaryUser | None, home: Path) -> Runner:
    return Runner(kernel, user, home, str(home / "bin"))


def test_proot_emulates_the_children_too(by_proot: Runner, home: Path) -> None:
    busybox = home / "arm64" / "busybox"
    done = by_proot.emulate(busybox, "sh", "-c", f"{busybox} uname -m | {busybox} cat; exit 6")
    assert (done.returncode, done.stdout) == (6, "aarch64\n"), done.stderr
    assert done.stderr.count("warning: ") == 1
    for word in ("proot emulates arm64 programs", "ptrace", "slow", "setuid", "polyarch emulator install arm64"):
        assert word in done.stderr


def test_proot_emulates_what_a_native_command_starts(by_proot: Runner, home: Path) -> None:
    done = by_proot.emulate("sh", "-c", f"{home}/armel/busybox uname -m", platform="linux/arm/v6")
    assert (done.returncode, done.stdout) == (0, "armv6l\n"), done.stderr


def test_the_one_program_is_started_by_its_emulator(by_name: Runner, home: Path) -> None:
    busybox = home / "arm64" / "busybox"
    done = by_name.emulate(busybox, "sh", "-c", f'echo "$0" "$1"; {busybox} true; exit 6', "zero", "one two")
    assert (done.returncode, done.stdout) == (6, "zero one two\n"), done.stderr
    assert "Exec format error" in done.stderr, "what it starts is not emulated, as the warning says"
    for word in ("only the program itself", "other arm64 programs do not start", "polyarch emulator install arm64"):
        assert word in done.stderr


def test_a_script_is_started_by_its_interpreters_emulator(by_name: Runner, home: Path) -> None:
    done = by_name.emulate(home / "script", "a b", "c")
    assert (done.returncode, done.stdout) == (9, f"{home}/script a b c\n"), done.stderr


def test_it_sees_its_own_name(by_name: Runner) -> None:
    assert by_name.emulate("ash", "-c", "echo $0").stdout == "ash\n"


def test_it_sees_its_cpu(by_name: Runner, home: Path) -> None:
    link = home / "armel" / "uname"
    if not link.exists():
        link.symlink_to("busybox")
    assert by_name.emulate(link, "-m", platform="linux/arm/v5").stdout == "armv5tel\n"
    assert by_name.emulate(link, "-m").stdout == "armv7l\n", "no platform was named"
    kept = by_name("emulate", "--platform", "linux/arm/v5", "--", link, "-m", env={"QEMU_CPU": "arm1176"})
    assert kept.stdout == "armv6l\n", "the user's own setting stays"


@pytest.mark.parametrize(
    ("argv", "platform", "code", "message", "hint"),
    [
        (("sh", "-c", "true"), "linux/arm64", 125, "'sh' is no arm64 program", "apt install proot"),
        (("sh", "-c", "true"), "", 125, "only one architecture", "--platform linux/ARCH"),
        (("sh", "-c", "true"), "linux/arm64,linux/arm", 125, "only one architecture", "polyarch emulator install"),
        (("no-such-command",), "linux/arm64", 127, "is not there", None),
        (("/etc/passwd",), "linux/arm64", 126, "Permission denied", None),
        (("sh",), "linux/sparc64", 125, "no static QEMU for sparc64", "apt install qemu-user-static"),
    ],
)
def test_what_cannot_be_is_told(
    argv: tuple[str, ...], platform: str, code: int, message: str, hint: str | None, by_name: Runner
) -> None:
    words = ["--format", "json", "emulate", *(["--platform", platform] if platform else []), "--", *argv]
    done = by_name(*words)
    assert done.returncode == code, done.stderr
    error = json.loads(done.stdout)["error"]
    assert message in error["message"]
    assert (hint is None and error["hint"] is None) or (hint is not None and hint in error["hint"])


def test_rights_for_setuid_programs_need_a_table(by_name: Runner, home: Path) -> None:
    done = by_name("emulate", "--credential", "--", home / "arm64" / "busybox", "true")
    assert done.returncode == 125
    assert "setuid programs cannot be given rights" in done.stderr
    assert "polyarch emulator install --credential" in done.stderr


def test_the_device_says_so(by_name: Runner) -> None:
    told = json.loads(by_name("--format", "json", "device").stdout)
    assert {each["how"] for each in told["emulated"]} == {"explicit"}
