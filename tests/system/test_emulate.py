"""`polyarch emulate`, as root and as an ordinary user, with the host's table untouched."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyarch_platforms.architecture import load
from polyarch_platforms.tiny import expected_output, tiny_program
from support.command import Polyarch, Result
from support.users import OrdinaryUser

pytestmark = [pytest.mark.system, pytest.mark.host]
BINFMT = Path("/proc/sys/fs/binfmt_misc")


@pytest.fixture(scope="module", params=["root", "ordinary user"])
def user(request: pytest.FixtureRequest) -> OrdinaryUser | None:
    if request.param == "root":
        if os.geteuid() != 0:
            pytest.skip("these tests do not run as root")
        return None
    found: OrdinaryUser = request.getfixturevalue("unprivileged_user")
    return found


@pytest.fixture(scope="module")
def folder(
    user: OrdinaryUser | None, foreign_busybox: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder of the user's with busybox for arm64, armhf and s390x, each also as the root of a small system."""
    place = (user.home if user else tmp_path_factory.mktemp("emulate")) / "foreign"
    for name in ("arm64", "armhf", "s390x"):
        programs = place / name / "bin"
        programs.mkdir(parents=True)
        shutil.copy(foreign_busybox(name), programs / "busybox")
        (programs / "sh").symlink_to("busybox")
    for known in load().values():
        (place / known.name).mkdir(exist_ok=True)
        (place / known.name / "tiny").write_bytes(tiny_program(known))
        (place / known.name / "tiny").chmod(0o755)
    if user:
        for path in (place, *place.rglob("*")):
            os.chown(path, user.uid, user.gid, follow_symlinks=False)
    return place


@pytest.fixture
def emulate(user: OrdinaryUser | None, polyarch: Polyarch) -> Iterator[Callable[..., Result]]:
    before = sorted(path.name for path in BINFMT.iterdir())

    def run(*argv: str | Path, platform: str = "", json: bool = False) -> Result:
        options = ["--platform", platform] if platform else []
        shared = ["--format", "json"] if json else []
        return polyarch(*shared, "emulate", *options, "--", *argv, user=user)

    yield run
    assert sorted(path.name for path in BINFMT.iterdir()) == before


def test_foreign_programs_and_their_children(emulate: Callable[..., Result], folder: Path) -> None:
    shells = {"arm64": "aarch64", "armhf": "armv7l", "s390x": "s390x"}
    for name, machine in shells.items():
        script = f"{folder}/{name}/bin/busybox uname -m | {folder}/arm64/bin/busybox cat; exit 6"
        result = emulate(folder / name / "bin" / "busybox", "sh", "-c", script)
        assert (result.code, result.stdout) == (6, f"{machine}\n")


def test_every_architecture_with_an_emulator(emulate: Callable[..., Result], folder: Path) -> None:
    for known in load().values():
        if shutil.which(f"qemu-{known.qemu}-static"):
            result = emulate(folder / known.name / "tiny")
            assert (result.code, result.stdout) == (0, expected_output(known).decode())


def test_only_the_platforms_that_were_named(emulate: Callable[..., Result], folder: Path) -> None:
    assert emulate(folder / "arm64" / "tiny", platform="linux/arm64,linux/s390x").code == 0
    assert emulate(folder / "s390x" / "tiny", platform="linux/arm64,linux/s390x").code == 0
    result = emulate(folder / "s390x" / "tiny", platform="linux/arm64", json=True)
    assert result.code == 126
    (document,) = result.json_lines
    assert document["error"]["code"] == "host"
    assert "Exec format error" in document["error"]["message"]


def test_the_user_stays_who_he_is(emulate: Callable[..., Result], user: OrdinaryUser | None) -> None:
    said = emulate("id").ok().stdout
    name, uid, gid = (user.name, user.uid, user.gid) if user else ("root", 0, 0)
    assert said.startswith(f"uid={uid}({name}) gid={gid}({name})")
    assert "nobody" not in said


def test_a_changed_root(emulate: Callable[..., Result], folder: Path) -> None:
    result = emulate("chroot", folder / "arm64", "/bin/sh", "-c", "busybox uname -m")
    assert result.ok().stdout == "aarch64\n"


def test_namespaces_inside_have_all_subordinate_ids(emulate: Callable[..., Result], user: OrdinaryUser | None) -> None:
    """What podman does: a user namespace of its own, filled by newuidmap. It inherits the emulation."""
    if user is None:
        pytest.skip("root needs no subordinate IDs")
    script = "wc -l < /proc/self/uid_map; cat /proc/sys/fs/binfmt_misc/qemu-s390x | head -n 1"
    result = emulate("unshare", "--map-root-user", "--map-auto", "sh", "-c", script)
    assert result.ok().stdout == "2\nenabled\n"


def test_this_machines_own_architecture_is_not_registered(emulate: Callable[..., Result]) -> None:
    names = emulate("ls", BINFMT).ok().stdout.split()
    assert "qemu-aarch64" in names or os.uname().machine == "aarch64"
    own = {"x86_64": ("qemu-x86_64", "qemu-i386"), "aarch64": ("qemu-aarch64",)}
    assert not set(own[os.uname().machine]) & set(names)


def test_input_output_and_environment_are_inherited(polyarch: Polyarch, user: OrdinaryUser | None) -> None:
    script = "cat; echo err >&2; echo $MARK"
    result = polyarch("emulate", "--", "sh", "-c", script, stdin="typed\n", env={"MARK": "m"}, user=user)
    assert (result.stdout, result.stderr) == ("typed\nm\n", "err\n")


@pytest.mark.parametrize(
    ("argv", "code", "kind", "message"),
    [
        (("no-such-command",), 127, "not-found", "is not there"),
        (("/no/such/command",), 127, "not-found", "is not there"),
        (("/etc/passwd",), 126, "host", "Permission denied"),
        (("/etc",), 126, "host", "Permission denied"),
    ],
)
def test_commands_that_do_not_start(
    argv: tuple[str, ...], code: int, kind: str, message: str, emulate: Callable[..., Result]
) -> None:
    result = emulate(*argv, json=True)
    assert result.code == code
    (document,) = result.json_lines
    assert document["error"]["code"] == kind
    assert message in document["error"]["message"]


@pytest.mark.parametrize(
    ("platform", "kind", "message"),
    [
        ("linux/sparc64", "host", "no static QEMU for sparc64"),
        ("linux//arm64", "usage", "a part is empty"),
    ],
)
def test_platforms_that_cannot_be(platform: str, kind: str, message: str, emulate: Callable[..., Result]) -> None:
    result = emulate("true", platform=platform, json=True)
    assert result.code == 125
    (document,) = result.json_lines
    assert document["error"]["code"] == kind
    assert message in document["error"]["message"]


def test_without_qemu_the_package_is_named(polyarch: Polyarch, user: OrdinaryUser | None, tmp_path: Path) -> None:
    settings = (user.home if user else tmp_path) / "settings.toml"
    settings.write_text('disabled_plugins = ["qemu_user"]\n')
    settings.chmod(0o644)
    result = polyarch(
        "--config", settings, "--format", "json", "emulate", "--platform", "linux/arm64", "true", user=user
    )
    assert result.code == 125
    (document,) = result.json_lines
    assert document["error"]["code"] == "host"
    assert re.search("apt install qemu-user-static", document["error"]["hint"])


def test_exit_codes_and_signals(emulate: Callable[..., Result], polyarch: Polyarch, user: OrdinaryUser | None) -> None:
    assert emulate("sh", "-c", "exit 43").code == 43
    assert emulate("sh", "-c", "kill -9 $$").code == 137
    process = polyarch.start(
        "emulate", "--", "sh", "-c", "trap 'exit 44' TERM; echo ready; while :; do sleep 0.05; done", user=user
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert polyarch.finish(process).code == 44
