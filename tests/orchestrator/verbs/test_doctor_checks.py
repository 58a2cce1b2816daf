"""What doctor makes of facts: tables of them, without a machine."""

from __future__ import annotations

import errno
import shlex
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.auth.credentials import Credentials
from polyarch.auth.files import AuthFile
from polyarch.cli.commands.doctor import _summary, command_lines
from polyarch.container.runtime import Runtime
from polyarch.errors import HostError
from polyarch.plugin_host.host import PluginHost
from polyarch.plugin_host.kinds import Point, Problem
from polyarch.settings import Settings
from polyarch.verbs.doctor import emulation, machine, programs
from polyarch.verbs.doctor.check import Check, Mend, apt_install, mend_of, refused, set_sysctl
from polyarch.verbs.doctor.contents import holders
from polyarch.verbs.doctor.emulation import Interpreter, judge_emulators, judge_entries, private_emulation
from polyarch.verbs.doctor.namespaces import Subordinates, exhausted, free_range, judge_subordinates, version_of
from polyarch.verbs.doctor.place import LOW, Place, fuse, judge_place, mount_of
from polyarch.verbs.doctor.programs import judge_runtime
from polyarch.verbs.doctor.registries import judge_file
from polyarch_platforms import architecture, binfmt
from polyarch_platforms.device import Device
from polyarch_platforms.platform import parse
from polyarch_platforms.qemu import QemuBinary

GIB = 1 << 30
AMD64 = Device("", parse("linux/amd64"), (parse("linux/amd64"), parse("linux/386")))


def apt(package: str) -> str:
    return apt_install(package).command


# --- commands


@pytest.mark.parametrize(
    ("hint", "mend"),
    [
        (None, None),
        ("choose a place on ext4, xfs, btrfs or tmpfs with --root", None),
        ("run polyarch as root", None),
        ("as root: modprobe overlay", Mend("modprobe overlay", True)),
        ("as root: chmod 666 /dev/fuse, if it may not be opened", Mend("chmod 666 /dev/fuse", True)),
        ("polyarch image rm alpine, then pull it again", Mend("polyarch image rm alpine")),
    ],
)
def test_hints_that_are_commands(hint: str | None, mend: Mend | None) -> None:
    assert mend_of(hint) == mend


def test_lists_of_packages_come_first_where_there_are_none(tmp_path: Path) -> None:
    assert apt_install("crun", tmp_path / "none") == Mend("apt update && apt install crun", True)
    assert apt_install("crun", tmp_path) == Mend("apt update && apt install crun", True)
    (tmp_path / "deb.example_main_binary-armhf_Packages.lz4").touch()
    assert apt_install("crun", tmp_path) == Mend("apt install crun", True)


def test_sysctls_are_set_without_the_program_too(tmp_path: Path) -> None:
    by_hand = Mend("echo 15000 > /proc/sys/user/max_pid_namespaces", True)
    assert set_sysctl("user.max_pid_namespaces=15000", str(tmp_path)) == by_hand
    (tmp_path / "sysctl").touch(0o755)
    assert (
        set_sysctl("user.max_pid_namespaces=15000", str(tmp_path)).command == "sysctl -w user.max_pid_namespaces=15000"
    )


def test_a_hint_that_is_no_command_stays_in_the_fact() -> None:
    check = refused("namespaces", HostError("refused", "start the container otherwise"), essential=True)
    assert check == Check("namespaces", "failed", "refused: start the container otherwise", None, True)
    assert not refused("x", HostError("no"), "warning", essential=True).essential


# --- namespaces and IDs

BOTH = ("/usr/bin/newuidmap", "/usr/bin/newgidmap")
RANGE = (("alice", 100_000, 65536),)
NOBODY_ELSE = Subordinates("alice", 1000, BOTH, True, RANGE, RANGE)


@pytest.mark.parametrize(
    ("changed", "says", "mend"),
    [
        ({}, "65536 users and 65536 groups for alice", None),
        ({"users": (("1000", 5_000, 70_000),)}, "70000 users", None),
        ({"users": (("alice", 1, 30_000), ("alice", 200_000, 40_000))}, "70000 users", None),
        ({"helpers": (None, None)}, "no newuidmap and newgidmap", "apt"),
        ({"helpers": (BOTH[0], None)}, "no newgidmap", "apt"),
        ({"privileged": False}, "not setuid", "chmod u+s /usr/bin/newuidmap /usr/bin/newgidmap"),
        (
            {"users": (), "groups": ()},
            "none for alice in /etc/subuid and /etc/subgid",
            "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 alice",
        ),
        ({"groups": ()}, "none for alice in /etc/subgid", "usermod --add-subgids 165536-231071 alice"),
        (
            {"users": (("alice", 100_000, 1000),)},
            "fewer than 65536 for alice in /etc/subuid",
            "usermod --add-subuids 165536-231071 alice",
        ),
        (
            {"user": "", "users": (), "groups": ()},
            "none for 1000",
            "echo 1000:100000:65536 | tee -a /etc/subuid /etc/subgid",
        ),
    ],
)
def test_subordinate_ids(changed: dict[str, Any], says: str, mend: str | None) -> None:
    check = judge_subordinates(replace(NOBODY_ELSE, **changed))
    assert check.verdict == ("ok" if mend is None else "warning")
    assert says in check.fact
    assert (check.mend.command if check.mend else None) == (apt("uidmap") if mend == "apt" else mend)
    assert check.mend is None or check.mend.as_root


@given(st.lists(st.tuples(st.just("bob"), st.integers(0, 1 << 31), st.integers(0, 1 << 20))))
def test_a_free_range_is_nobodys(lines: list[tuple[str, int, int]]) -> None:
    first = free_range(lines)
    assert first >= 100_000
    assert all(first >= start + count or first + 65536 <= start for _, start, count in lines)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({}, None),
        ({"max_user_namespaces": 1, "max_mnt_namespaces": None}, None),
        ({"max_user_namespaces": 5, "max_mnt_namespaces": 0}, "user.max_mnt_namespaces is 0"),
    ],
)
def test_limits(limits: dict[str, int | None], says: str | None) -> None:
    check = exhausted("namespaces", limits, essential=True)
    assert (check is None) == (says is None)
    if check is not None and check.mend is not None:
        assert str(says) in check.fact
        assert check.mend == set_sysctl("user.max_mnt_namespaces=15000")


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ([], "none"),
        (["cgroup.controllers"], "version 2"),
        (["devices/tasks"], "version 1"),
        (["devices/tasks", "unified/cgroup.controllers"], "version 1 and 2"),
    ],
)
def test_versions_of_cgroups(tmp_path: Path, files: list[str], version: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("cpu io\n")
    assert version_of(tmp_path) == version


# --- the place

SOUND = Place(Path("/r/polyarch"), Path("/r"), "/r", "ext4", False, None, 50 * GIB, 10**6)


@pytest.mark.parametrize(
    ("changed", "prunable", "verdict", "mend"),
    [
        ({}, 0, "ok", None),
        ({"files": None}, 0, "ok", None),
        ({"free": LOW - 1}, 0, "warning", "move"),
        ({"free": LOW - 1}, LOW, "warning", "polyarch image prune"),
        ({"free": 0}, 0, "failed", "move"),
        ({"free": 0}, GIB, "failed", "polyarch image prune"),
        ({"free": 0}, 1000, "failed", "move"),
        ({"free": 4096, "refusal": errno.ENOSPC}, 0, "failed", "move"),
        ({"refusal": errno.EDQUOT}, 0, "failed", "polyarch image prune"),
        ({"files": 10}, GIB, "failed", "move"),
        ({"refusal": errno.EACCES}, 0, "failed", "move"),
        ({"refusal": errno.ENOTDIR}, 0, "failed", "move"),
        ({"read_only": True, "refusal": errno.EROFS}, 0, "failed", "mount -o remount,rw /r"),
        ({"read_only": True, "mount_point": "/a b"}, 0, "failed", "mount -o remount,rw '/a b'"),
    ],
)
def test_the_place(changed: dict[str, Any], prunable: int, verdict: str, mend: str | None) -> None:
    check = judge_place(replace(SOUND, **changed), prunable, lambda: Path("/else where"))
    wanted = "polyarch --root '/else where' doctor" if mend == "move" else mend
    assert (check.verdict, check.mend.command if check.mend else None) == (verdict, wanted)
    assert check.essential == (verdict == "failed")


def test_a_place_when_no_other_serves() -> None:
    assert judge_place(replace(SOUND, free=0), 0, lambda: None).mend is None


MOUNTS = r"""1 0 8:1 / / rw - ext4 /dev/sda rw
2 1 0:2 / /home rw - nfs server:/home rw
3 1 0:3 / /home/my\040disk rw master:1 - vfat /dev/sdb rw
4 2 0:4 / /home rw - btrfs /dev/sdc rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        ("/", ("/", "ext4")),
        ("/homes", ("/", "ext4")),
        ("/home/alice", ("/home", "btrfs")),
        ("/home/my disk/x", ("/home/my disk", "vfat")),
    ],
)
def test_whose_file_system(path: str, mount: tuple[str, str]) -> None:
    assert mount_of(Path(path), MOUNTS) == mount


@given(st.text())
def test_any_mountinfo(text: str) -> None:
    point, _ = mount_of(Path("/some/where"), text)
    assert Path("/some/where").is_relative_to(point)


def test_fuse_without_its_device(tmp_path: Path) -> None:
    failed = Check("overlay", "failed", "fuse-overlayfs failed: fuse: device not found", None, True)
    check = fuse(failed, tmp_path / "fuse")
    assert check.mend == Mend("modprobe fuse", True)
    assert "modprobe" not in check.fact
    assert fuse(replace(failed, fact="the kernel has no overlayfs"), tmp_path / "fuse").mend is None


def test_who_holds_locks(tmp_path: Path) -> None:
    processes, root = tmp_path / "proc", tmp_path / "root"
    (processes / "locks").parent.mkdir()
    (processes / "locks").write_text(
        "1: FLOCK  ADVISORY  WRITE 41 08:01:5 0 EOF\n2: FLOCK ADVISORY WRITE 42 08:01:6 0 EOF\n"
        "3: POSIX ADVISORY WRITE 43 08:01:6 0 EOF\n4: FLOCK ADVISORY WRITE 44 08:01:6 0 EOF\nnonsense\n"
    )
    for pid, opened in (("41", root / "oci/.polyarch/lock"), ("42", tmp_path / "rooted"), ("43", root / "x")):
        (processes / pid / "fd").mkdir(parents=True)
        (processes / pid / "fd/3").symlink_to(opened)
        (processes / pid / "comm").write_text("polyarch\n")
    assert list(holders(root, processes)) == ["process 41 (polyarch)"]


# --- programs

CRUN = Runtime("crun", "/usr/bin/crun")


@pytest.mark.parametrize(
    ("runtime", "said", "reason", "verdict", "mend"),
    [
        (CRUN, "crun version 1.8.1", None, "ok", None),
        (CRUN, "crun version 1.6", None, "warning", "crun"),
        (CRUN, "crun version 1.7", None, "ok", None),
        (Runtime("runc", "/usr/sbin/runc"), "runc version 1.6.0-rc1", None, "ok", None),
        (CRUN, "something", None, "ok", None),
        (CRUN, "", "Exec format error", "failed", "apt install --reinstall crun"),
    ],
)
def test_runtimes(runtime: Runtime, said: str, reason: str | None, verdict: str, mend: str | None) -> None:
    check = judge_runtime(runtime, said, reason)
    wanted = apt("crun") if mend == "crun" else mend
    assert (check.verdict, check.mend.command if check.mend else None) == (verdict, wanted)
    assert check.essential == (verdict == "failed")


# --- emulation


def test_emulators_of_a_kind_are_one_line() -> None:
    usual, mine = Path("/usr/bin"), Path("/opt")
    found = {
        "arm64": QemuBinary(usual / "a", True),
        "arm": QemuBinary(usual / "b", True),
        "s390x": QemuBinary(mine / "c", True),
        "riscv64": QemuBinary(usual / "d", False),
        "ppc64le": QemuBinary(usual / "e", True),
    }
    versions = {"arm64": (7, 2, 22), "arm": (7, 2, 22), "s390x": (9, 2, 0), "riscv64": (7, 2, 22), "ppc64le": None}
    checks = list(judge_emulators(found, versions, ["loong64"]))
    assert [(check.verdict, check.fact.split(":")[0]) for check in checks] == [
        ("ok", "7.2.22 in /usr/bin for arm64, arm"),
        ("warning", "9.2.0 in /opt for s390x"),
        ("warning", "7.2.22 in /usr/bin for riscv64"),
        ("warning", "of unknown version in /usr/bin for ppc64le"),
        ("ok", "none for loong64"),
    ]
    assert "known to crash" in checks[1].fact
    assert "not statically linked" in checks[2].fact
    assert [bool(check.mend) for check in checks] == [False, True, True, True, False]


def test_no_emulator_at_all() -> None:
    [check] = judge_emulators({}, {}, ["arm64", "arm"])
    assert (check.verdict, check.fact) == ("warning", "none for arm64, arm")
    assert check.mend is not None
    assert check.mend.command == apt("qemu-user-static")


def test_private_emulation_that_is_not_tried() -> None:
    old = private_emulation(AMD64, [], True, (6, 6))
    assert (old.verdict, old.mend) == ("warning", Mend("polyarch emulator install", True))
    for check in (private_emulation(AMD64, [], False, (6, 7)), private_emulation(AMD64, [], True, (6, 7))):
        assert (check.verdict, check.mend) == ("skipped", None)


@pytest.mark.parametrize(
    ("registered", "verdict", "fact"),
    [
        ({"arm64", "s390x"}, "ok", "; what is registered serves"),
        ({"arm64"}, "warning", ": what shall run has to be registered, which is not so for s390x"),
    ],
)
def test_an_old_kernel_with_emulators_registered(
    registered: set[str], verdict: str, fact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    static = {name: QemuBinary(Path("/qemu"), True) for name in ("arm64", "s390x")}
    monkeypatch.setattr(emulation, "find_emulators", lambda native, sources: static)
    monkeypatch.setattr(emulation, "registered_emulator", lambda name: static[name] if name in registered else None)
    check = private_emulation(AMD64, [], True, (6, 1))
    assert (check.verdict, check.fact.endswith(f"{fact}")) == (verdict, True), check.fact
    assert (check.mend is None) is (verdict == "ok")


STATIC = Interpreter(True, static=True, preserves=True)
TABLE = "/proc/sys/fs/binfmt_misc"


@pytest.mark.parametrize(
    ("arch", "flags", "interpreter", "says", "mend"),
    [
        ("arm64", "F", STATIC, None, None),
        ("arm64", "FP", STATIC, None, None),
        ("arm64", "", STATIC, None, None),
        ("arm64", "F", Interpreter(False), None, None),
        ("arm64", "", Interpreter(False), "gone", f"echo -1 > {TABLE}/qemu-aarch64"),
        ("386", "F", STATIC, "runs itself", f"echo -1 > {TABLE}/qemu-i386"),
        ("arm64", "F", Interpreter(True), "not static", "polyarch emulator install --force arm64"),
        ("arm64", "FP", Interpreter(True, True), "flag P", "polyarch emulator install --force arm64"),
        ("arm64", "F", Interpreter(True, True, True, True), "lacks flag P", "polyarch emulator install --force arm64"),
        ("s390x", "F", Interpreter(True), "not static", "qemu"),
    ],
)
def test_registrations(arch: str, flags: str, interpreter: Interpreter, says: str | None, mend: str | None) -> None:
    entry = binfmt.registration(architecture.load()[arch], "/usr/bin/qemu-it", flags)
    checks = list(judge_entries([entry], ["amd64", "386"], ["arm64"], lambda path: interpreter))
    assert len(checks) == (says is not None)
    for check in checks:
        assert str(says) in check.fact
        assert check.verdict == "warning"
        wanted = f"{apt('qemu-user-static')} && polyarch emulator install --force s390x" if mend == "qemu" else mend
        assert check.mend == Mend(str(wanted), True)
    [off] = judge_entries([replace(entry, enabled=False)], ["amd64"], [], lambda path: interpreter)
    assert off.mend == Mend(f"echo 1 > {TABLE}/{entry.name}", True)


# --- credentials, plugins, device


@pytest.mark.parametrize(
    ("entries", "helpers", "store", "mode", "wanted"),
    [
        ({}, {}, "", 0o100644, []),
        ({"r": Credentials("a", "b")}, {}, "", 0o100600, []),
        ({"r": Credentials("a", "b")}, {}, "", 0o100640, [("warning", "chmod 600 /c/config.json", False)]),
        ({}, {"r": "there"}, "there", 0o100600, []),
        ({}, {"r": "pass"}, "", 0o100600, [("failed", "apt", False)]),
        ({}, {"r": "pass"}, "pass", 0o100600, [("failed", "apt", True)]),
        ({}, {}, "ours", 0o100600, [("failed", "mv /c/config.json /c/config.json.without-ours", True)]),
    ],
)
def test_auth_files(
    entries: dict[str, Credentials],
    helpers: dict[str, str],
    store: str,
    mode: int,
    wanted: list[tuple[str, str, bool]],
) -> None:
    file = AuthFile(Path("/c/config.json"), entries, helpers, store)
    found = list(judge_file(file, mode, lambda program: program == "docker-credential-there"))
    mends = [check.mend.command if check.mend else None for check in found]
    assert [(check.verdict, check.essential) for check in found] == [(verdict, must) for verdict, _, must in wanted]
    assert mends == [apt("golang-docker-credential-helpers") if mend == "apt" else mend for _, mend, _ in wanted]


def test_a_plugin_that_is_passed_over() -> None:
    [check] = machine.plugins([Problem(Point("it", "it", "polyarch.v1", "its-dist", "1.0"), "it raised")])
    assert check.mend is not None
    assert shlex.split(check.mend.command)[-4:] == ["pip", "uninstall", "--yes", "its-dist"]
    assert [each.name for each in machine.plugins([])] == ["plugins"]


def test_a_table_of_the_settings_that_no_plugin_reads(tmp_path: Path) -> None:
    host = PluginHost(Settings(root=tmp_path))
    [check] = machine.plugins_of_settings(["docker", "dokcer", "template"], host)
    assert (check.name, check.verdict) == ("settings", "warning")
    assert check.fact == "[options.dokcer] is read by no plugin (near: docker)"
    host.disabled.append("something")  # nobody asked what names it has
    assert not list(machine.plugins_of_settings(["dokcer"], host))


def test_containerd_is_looked_for_where_it_is_said_to_listen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ctr"
    program.write_text("#!/bin/sh\necho ctr 1.2.3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        settings = Settings(root=tmp_path, environ={"CONTAINERD_ADDRESS": f"unix://{tmp_path}/s"})
        facts = [check.fact for check in programs.engines(settings)]
    assert "ctr 1.2.3; its daemon answers" in facts


def test_what_polyarch_runs_in() -> None:
    assert machine.machine(replace(AMD64, inside=("wsl2",))).fact.endswith("inside wsl2")
    assert machine.machine(replace(AMD64, page_size=16384)).fact.endswith("pages of 16K")
    assert machine.machine(replace(AMD64, inside=("qemu",))).verdict == "warning"


# --- how it is shown


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize(
    "text",
    [
        "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 somebody-with-a-long-name",
        "apt update && apt install qemu-user-static && polyarch emulator install --force arm64",
        "mount -o remount,rw '/a place with spaces/and more spaces'",
        "true",
    ],
)
def test_commands_are_copied_whole(text: str, width: int) -> None:
    lines = list(command_lines(Mend(text, as_root=True), width, root=False))
    assert lines[0].startswith("    as root: ")
    copied = "\n".join(lines).removeprefix("    as root: ")
    assert shlex.split(copied.replace("\\\n", "")) == shlex.split(text)
    assert max(map(len, lines)) <= max(width, 20 + max(map(len, shlex.split(text))))
    assert next(command_lines(Mend(text, as_root=True), None, root=True)) == f"    mend: {text}"


def test_the_summary_begins_with_what_is_essential() -> None:
    mend = Mend("x")
    checks = [
        Check("registry", "warning", ""),
        Check("QEMU", "warning", "", mend),
        Check("QEMU", "warning", "", mend),
        Check("credentials", "failed", "", mend),
        Check("OCI runtime", "failed", "", mend, True),
        Check("overlay", "skipped", ""),
        Check("gzip", "ok", ""),
    ]
    assert _summary(checks) == "3 things to mend: OCI runtime (essential), credentials, QEMU. No command for: registry."
    assert _summary(checks[-1:]) == "Nothing to mend."
