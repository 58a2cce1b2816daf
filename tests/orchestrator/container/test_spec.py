from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polyarch.container.bare import check_bare
from polyarch.container.limits import Limits
from polyarch.container.request import RunRequest, Volume
from polyarch.container.seccomp import Profile
from polyarch.container.spec import (
    CAPABILITIES,
    Host,
    argv_of,
    environment_of,
    runtime_spec,
    working_directory,
)
from polyarch.container.users import User
from polyarch.container.walls import Walls
from polyarch.errors import HostError, UsageError
from polyarch.oci.config import ImageConfig, parse_config

ROOT = User(0, 0, (), "/root")
ROOTFS = Path("/somewhere/rootfs")


def config(**run: object) -> ImageConfig:
    return parse_config(json.dumps({"os": "linux", "architecture": "amd64", "config": run}).encode())


def spec(request: RunRequest, host: Host | None = None, user: User = ROOT, volumes: tuple[Volume, ...] = ()) -> Any:
    image = config(Cmd=["sh"])
    host = host or Host("box", {"/etc/hosts": Path("/c/etc/hosts")}, cgroup="/polyarch-1", open_files=4096)
    return runtime_spec(request, argv_of(request, image), image, user, {"A": "1"}, volumes, ROOTFS, host)


def mounts(document: Any) -> dict[str, Any]:
    return {each["destination"]: each for each in document["mounts"]}


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "given", "argv", "words"),
    [
        (["/e"], ["c"], None, (), "/e c"),
        (["/e"], ["c"], None, ("a", "b"), "/e a b"),
        ([], ["c"], None, (), "c"),
        ([], ["c"], None, ("a",), "a"),
        (["/e"], ["c"], "/n", (), "/n"),
        (["/e"], ["c"], "/n", ("a",), "/n a"),
        (["/e"], ["c"], "", ("a",), "a"),
        ([], [], None, (), None),
        (["/e"], ["c"], "", (), None),
        ([""], [], None, (), None),
    ],
)
def test_words(
    entrypoint: list[str], cmd: list[str], given: str | None, argv: tuple[str, ...], words: str | None
) -> None:
    request, image = RunRequest(argv=argv, entrypoint=given), config(Entrypoint=entrypoint, Cmd=cmd)
    if words is None:
        with pytest.raises(UsageError, match="starts nothing"):
            argv_of(request, image)
    else:
        assert " ".join(argv_of(request, image)) == words


def test_environment() -> None:
    image = config(Env=["PATH=/image", "A=1", "HOME=/image-home", "B=x=y", "broken"])
    assert environment_of(image, {"A": "2", "C": ""}, ROOT, "box", tty=True) == {
        "PATH": "/image",
        "HOSTNAME": "box",
        "HOME": "/image-home",
        "TERM": "xterm",
        "A": "2",
        "B": "x=y",
        "C": "",
    }
    plain = environment_of(config(), {}, ROOT, "box", tty=False)
    assert plain == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME": "box",
        "HOME": "/root",
    }


@pytest.mark.parametrize(
    ("asked", "image", "result"),
    [("", "", "/"), ("", "/app", "/app"), ("/w", "/app", "/w"), ("", "app", "/app"), ("/a/../b/", "", "/b")],
)
def test_working_directory(asked: str, image: str, result: str) -> None:
    assert working_directory(RunRequest(workdir=asked), config(WorkingDir=image)) == result


def test_as_tight_as_docker() -> None:
    document = spec(RunRequest())
    process, linux = document["process"], document["linux"]
    assert process["noNewPrivileges"] is True
    assert set(process["capabilities"]["bounding"]) == set(CAPABILITIES)
    assert process["capabilities"]["ambient"] == process["capabilities"]["inheritable"] == []
    assert not {"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NET_ADMIN", "CAP_SYS_MODULE"} & set(CAPABILITIES)
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware"} <= set(linux["maskedPaths"])
    assert {"/proc/sys", "/proc/sysrq-trigger", "/proc/bus"} <= set(linux["readonlyPaths"])
    assert {each["type"] for each in linux["namespaces"]} == {"pid", "ipc", "uts", "mount"}
    assert linux["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert linux["cgroupsPath"] == "/polyarch-1"
    assert "ro" in mounts(document)["/sys"]["options"]
    assert "ro" in mounts(document)["/sys/fs/cgroup"]["options"]
    for target in ("/proc", "/sys", "/dev/shm", "/dev/mqueue"):
        assert {"nosuid", "noexec", "nodev"} <= set(mounts(document)[target]["options"])
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}]


def test_no_device_rules_no_device_nodes() -> None:
    bounding = spec(RunRequest(), Host("box", {}))["process"]["capabilities"]["bounding"]
    assert set(CAPABILITIES) - set(bounding) == {"CAP_MKNOD"}


def test_other_users_hold_no_capabilities() -> None:
    process = spec(RunRequest(), user=User(7, 8, (9,), "/"))["process"]
    assert process["user"] == {"uid": 7, "gid": 8, "additionalGids": [9]}
    assert process["capabilities"]["effective"] == process["capabilities"]["permitted"] == []


def test_no_network() -> None:
    namespaces = spec(RunRequest(network="none"))["linux"]["namespaces"]
    assert {"type": "network"} in namespaces


@pytest.mark.parametrize(("recursive", "options"), [(True, ["ro", "rro"]), (False, ["ro"])])
def test_sys_in_a_user_namespace(recursive: bool, options: list[str]) -> None:
    document = spec(RunRequest(), Host("box", {}, user_namespace=True, recursive=recursive))
    assert mounts(document)["/sys"] == {
        "destination": "/sys",
        "type": "none",
        "source": "/sys",
        "options": ["rbind", "nosuid", "noexec", "nodev", *options],
    }
    assert "/sys/fs/cgroup" not in mounts(document)
    assert "cgroupsPath" not in document["linux"]


@pytest.mark.parametrize("user_namespace", [False, True])
@pytest.mark.parametrize("cgroup", ["", "/polyarch-1"])
def test_of_the_second_version_of_control_groups_its_own_alone_is_seen(cgroup: str, user_namespace: bool) -> None:
    document = spec(RunRequest(), Host("box", {}, cgroup=cgroup, unified=True, user_namespace=user_namespace))
    assert {"type": "cgroup"} in document["linux"]["namespaces"]
    assert "ro" in mounts(document)["/sys/fs/cgroup"]["options"]
    assert list(mounts(document)).index("/sys") < list(mounts(document)).index("/sys/fs/cgroup")


def test_files_and_volumes_come_last_and_in_order() -> None:
    volumes = (Volume(Path("/srv"), "/data", True), Volume(Path("/tmp/x"), "/data/x", False))
    targets = list(mounts(spec(RunRequest(), volumes=volumes)))
    assert targets[-3:] == ["/etc/hosts", "/data", "/data/x"]
    found = mounts(spec(RunRequest(), volumes=volumes))
    assert found["/data"]["options"] == ["rbind", "rprivate", "ro", "rro"]
    assert found["/data/x"]["options"] == ["rbind", "rprivate", "rw"]


def test_what_was_asked_for() -> None:
    request = RunRequest(argv=("echo", "é"), read_only=True, tty=True, workdir="/w")
    document = spec(request)
    assert document["root"] == {"path": str(ROOTFS), "readonly": True}
    assert document["process"]["terminal"] is True
    assert document["process"]["args"] == ["echo", "é"]
    assert document["process"]["cwd"] == "/w"
    assert document["process"]["env"] == ["A=1"]
    assert document["hostname"] == "box"
    assert "consoleSize" not in document["process"]


def test_the_size_of_the_terminal_is_there_before_the_program() -> None:
    host = Host("box", {}, terminal=(33, 77))
    assert spec(RunRequest(tty=True), host)["process"]["consoleSize"] == {"height": 33, "width": 77}
    assert "consoleSize" not in spec(RunRequest(), host)["process"]


def test_limits_and_filter_come_with_the_walls() -> None:
    rules = {"names": ["acct"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_PACCT"]}}
    profile = Profile({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rules]}, "profile")
    walls = Walls(profile, new_privileges=True, limits=Limits(pids=7))
    native = spec(RunRequest(cap_add=("SYS_PACCT",)), Host("box", {}, cgroup="/polyarch-1", walls=walls))
    assert native["process"]["noNewPrivileges"] is False
    assert [each["names"] for each in native["linux"]["seccomp"]["syscalls"]] == [["acct"]]
    assert native["linux"]["resources"]["pids"] == {"limit": 7}
    assert native["linux"]["resources"]["devices"]
    # In a user namespace nobody may say which devices are shut: none can be made there.
    emulated = spec(RunRequest(), Host("box", {}, user_namespace=True, cgroup="/polyarch-1", walls=walls))
    assert emulated["linux"]["resources"] == {"pids": {"limit": 7}}
    assert emulated["linux"]["seccomp"]["syscalls"] == []
    assert "CAP_MKNOD" not in emulated["process"]["capabilities"]["bounding"]


def test_without_device_rules_no_disk_can_be_opened_on_demand_either() -> None:
    with pytest.raises(HostError, match="CAP_MKNOD cannot be given"):
        spec(RunRequest(cap_add=("MKNOD",)), Host("box", {}))


@pytest.mark.parametrize(
    "words", [{"memory": "64m"}, {"cap_drop": ("ALL",)}, {"security_opts": ("seccomp=unconfined",)}], ids=str
)
def test_under_an_emulator_nothing_holds_a_wall(words: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    check_bare(RunRequest())
    with pytest.raises(UsageError, match="under an emulator there is no runtime that holds"):
        check_bare(RunRequest(**words))
