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
from polyarch_platforms.tiny import expected_output, reporting_program, tiny_program
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
    """A folder of the user's with busybox for four architectures, each also as the root of a small system."""
    place = (user.home if user else tmp_path_factory.mktemp("emulate")) / "foreign"
    for name in ("arm64", "armhf", "armel", "s390x"):
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


@pytest.mark.parametrize(
    ("platform", "debian", "machine"),
    [
        ("linux/arm/v5", "armel", "armv5tel"),
        ("linux/arm/v6", "armel", "armv6l"),
        ("linux/arm/v7", "armhf", "armv7l"),
        ("linux/arm/v6,linux/arm64", "armel", "armv7l"),  # QEMU_CPU is for one platform: nobody else knows arm1176
    ],
)
def test_old_arm_programs_see_an_old_cpu(
    platform: str, debian: str, machine: str, emulate: Callable[..., Result], folder: Path
) -> None:
    found = emulate(folder / debian / "bin" / "busybox", "uname", "-m", platform=platform)
    assert found.ok().stdout == f"{machine}\n"


def test_the_users_own_cpu_stays(polyarch: Polyarch, user: OrdinaryUser | None, folder: Path) -> None:
    words = ("emulate", "--platform", "linux/arm/v5", "--", folder / "armel" / "bin" / "busybox", "uname", "-m")
    assert polyarch(*words, env={"QEMU_CPU": "arm1176"}, user=user).ok().stdout == "armv6l\n"


def test_debians_wrappers_get_the_arguments_that_they_expect(
    polyarch: Polyarch, user: OrdinaryUser | None, folder: Path, tmp_path: Path
) -> None:
    """Started as `*-binfmt-P`, QEMU takes a further argument for argv[0], so flag P has to be set."""
    wrappers = Path("/usr/libexec/qemu-binfmt")
    if not (wrappers / "aarch64-binfmt-P").exists():
        pytest.skip("this QEMU has no wrappers")
    settings = (user.home if user else tmp_path) / "wrappers.toml"
    settings.write_text(f'qemu_directories = ["{wrappers}"]\n')
    settings.chmod(0o644)
    script = f"grep interpreter {BINFMT}/qemu-aarch64; exec {folder}/arm64/bin/busybox sh -c 'echo $0 $1' zero one"
    result = polyarch("--config", settings, "emulate", "--", "sh", "-c", script, user=user)
    assert result.ok().stdout == f"interpreter {wrappers}/aarch64-binfmt-P\nzero one\n"
    named = "import os, sys; os.execv(sys.argv[1], ['echo', 'hi', 'there'])"
    python = ("/usr/bin/python3", "-c", named, folder / "arm64" / "bin" / "busybox")
    result = polyarch("--config", settings, "emulate", "--", *python, user=user)
    assert result.ok().stdout == "hi there\n", "busybox goes by its argv[0]"


@pytest.mark.parametrize("name", ["far" * 50, "with:colon"])
@pytest.mark.parametrize("wrapper", [False, True])
def test_paths_that_the_table_cannot_hold(
    name: str, wrapper: bool, polyarch: Polyarch, user: OrdinaryUser | None, folder: Path, tmp_path: Path
) -> None:
    if not (static := shutil.which("qemu-aarch64-static")):
        pytest.skip("qemu-user-static is not installed")
    place = (user.home if user else tmp_path) / name
    place.mkdir(exist_ok=True)
    for link in place.iterdir():
        link.unlink()
    (place / ("aarch64-binfmt-P" if wrapper else "qemu-aarch64-static")).symlink_to(static)
    settings = place.with_name("far.toml")
    settings.write_text(f'qemu_directories = ["{place}"]\n')
    for path in (place, settings):
        path.chmod(0o755)
    words = ("emulate", "--", folder / "arm64" / "bin" / "busybox", "sh", "-c", "echo $0 $1", "zero", "one")
    assert polyarch("--config", settings, *words, user=user).ok().stdout == "zero one\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's setuid program")
@pytest.mark.parametrize(("option", "code"), [((), 0), (("--credential",), 77)])
def test_setuid_programs_get_their_rights_only_when_asked(
    option: tuple[str, ...], code: int, polyarch: Polyarch, tmp_path: Path
) -> None:
    own = next(known for known in load().values() if os.uname().machine in known.uname)
    for known in load().values():
        if not shutil.which(f"qemu-{known.qemu}-static") or known.name in (own.name, *own.may_run):
            continue
        program = tmp_path / known.name
        program.write_bytes(reporting_program(known))
        os.chown(program, 77, 77)
        program.chmod(0o4755)
        assert polyarch("emulate", *option, "--", program).code == code, known.name


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
