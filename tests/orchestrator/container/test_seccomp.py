from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from polyarch.container import seccomp, walls
from polyarch.container.request import RunRequest, Words
from polyarch.container.runtime import Runtime
from polyarch.container.seccomp import Machine, Profile, parse_profile, translated
from polyarch.container.spec import CAPABILITIES
from polyarch.errors import HostError, UsageError
from polyarch.files import program
from polyarch.settings import Settings
from polyarch.verbs.doctor.check import Check, apt_install
from polyarch.verbs.doctor.programs import system_calls

AMD64 = Machine(("amd64",), "SCMP_ARCH_X86_64", (6, 1))
ARM = Machine(("arm",), "SCMP_ARCH_ARM", (4, 4))
S390X = Machine(("s390x",), "SCMP_ARCH_S390X", (6, 1))
ARCH_MAP = [
    {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
    {"architecture": "SCMP_ARCH_S390X", "subArchitectures": None},
]


def profile(*rules: dict[str, Any], shipped: bool = False, **more: Any) -> Profile:
    document = {"defaultAction": "SCMP_ACT_ERRNO", "archMap": ARCH_MAP, "syscalls": list(rules), **more}
    return parse_profile(json.dumps(document), "profile", shipped=shipped)


def allow(*names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **more}


def names(made: dict[str, Any]) -> set[str]:
    return {name for rule in made["syscalls"] for name in rule["names"] if rule["action"] == "SCMP_ACT_ALLOW"}


def test_all_of_a_rule_is_kept() -> None:
    argument = {"index": 0, "value": 8, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}
    rules = (
        allow("read", args=[], comment="", includes={}, excludes={}),
        {"name": "personality", "action": "SCMP_ACT_ERRNO", "args": [argument], "errnoRet": 22, "errno": "EPERM"},
        {"names": ["old"], "action": "SCMP_ACT_ERRNO", "errno": "ENOSYS"},
    )
    assert translated(profile(*rules, defaultErrnoRet=38, flags=["SECCOMP_FILTER_FLAG_LOG"]), (), AMD64) == {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22, "args": [argument]},
            {"names": ["old"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
        ],
    }


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (AMD64, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        (Machine(AMD64.names, AMD64.constant, AMD64.kernel, x32=False), ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]),
        (S390X, ["SCMP_ARCH_S390X"]),
        (ARM, ["SCMP_ARCH_ARM"]),
        (Machine(("alpha",), "", (6, 1)), None),
    ],
    ids=["amd64", "no-x32", "s390x", "arm", "alpha"],
)
def test_architectures(machine: Machine, expected: list[str] | None) -> None:
    assert translated(profile(), (), machine).get("architectures") == expected
    old = parse_profile('{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_ARM"]}', "old form")
    assert translated(old, (), machine)["architectures"] == ["SCMP_ARCH_ARM"]


@pytest.mark.parametrize(
    ("condition", "holds_for"),
    [
        ({"includes": {"arches": ["arm", "arm64"]}}, "arm"),
        ({"excludes": {"arches": ["s390", "s390x"]}}, "amd64 arm"),
        ({"includes": {"caps": ["CAP_CHOWN"]}}, "amd64"),
        ({"includes": {"caps": ["CAP_CHOWN", "CAP_KILL"]}}, ""),
        ({"excludes": {"caps": ["CAP_CHOWN", "CAP_KILL"]}}, "arm s390x"),
        ({"includes": {"minKernel": "4.8"}}, "amd64 s390x"),
        ({"excludes": {"minKernel": "4.8"}}, "arm"),
        ({"includes": {"minKernel": "4.4"}}, "amd64 arm s390x"),
    ],
    ids=["arches", "not-arches", "cap", "caps", "not-caps", "kernel", "not-kernel", "this-kernel"],
)
def test_when_a_rule_counts(condition: dict[str, Any], holds_for: str) -> None:
    read = profile(allow("read", **condition))
    machines = {"amd64": (AMD64, ["CAP_CHOWN"]), "arm": (ARM, []), "s390x": (S390X, [])}
    assert [name for name, (machine, held) in machines.items() if names(translated(read, held, machine))] == (
        holds_for.split()
    )


def test_podmans_profile_becomes_as_tight_as_dockers() -> None:
    everything = allow("read", "mount", "unshare", "keyctl", "clone", "clone3", "socket", "syslog", "pivot_root")
    made = translated(profile(everything, shipped=True), CAPABILITIES, AMD64)
    assert names(made) == {"read", "clone", "socket"}
    by_name = {rule["names"][0]: rule for rule in made["syscalls"] if rule["names"] != ["socket"]}  # type: ignore[attr-defined]
    assert by_name["keyctl"]["names"] == ["keyctl", "mount", "pivot_root", "syslog", "unshare"]
    assert (by_name["keyctl"]["action"], by_name["keyctl"]["errnoRet"]) == ("SCMP_ACT_ERRNO", errno.EPERM)
    assert by_name["clone"]["args"] == [
        {"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
    ]
    assert (by_name["clone3"]["action"], by_name["clone3"]["errnoRet"]) == ("SCMP_ACT_ERRNO", errno.ENOSYS)
    s390x: Any = translated(profile(everything, shipped=True), CAPABILITIES, S390X)
    assert [rule["args"][0]["index"] for rule in s390x["syscalls"] if rule["names"] == ["clone"]] == [1]
    admin = translated(profile(everything, shipped=True), ["CAP_SYS_ADMIN"], AMD64)
    assert names(admin) == {"read", "mount", "unshare", "clone", "clone3", "socket", "syslog"}
    assert names(translated(profile(everything), CAPABILITIES, AMD64)) == set(everything["names"])


def test_sockets_of_the_audit_stay_shut_without_its_capability() -> None:
    rules = (
        {
            "names": ["socket"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 22,
            "args": [
                {"index": 0, "value": 16, "op": "SCMP_CMP_EQ"},
                {"index": 2, "value": 9, "op": "SCMP_CMP_EQ"},
            ],
            "excludes": {"caps": ["CAP_AUDIT_WRITE"]},
        },
        allow("socket", args=[{"index": 2, "value": 9, "op": "SCMP_CMP_NE"}], excludes={"caps": ["CAP_AUDIT_WRITE"]}),
        allow("socket", args=None, includes={"caps": ["CAP_AUDIT_WRITE"]}),
    )
    with_it: Any = translated(profile(*rules, shipped=True), ["CAP_AUDIT_WRITE"], AMD64)["syscalls"]
    assert [[each["index"] for each in rule["args"]] for rule in with_it] == [[0], [0], [0]]
    without: Any = translated(profile(*rules, shipped=True), [], AMD64)["syscalls"]
    assert [[each["index"] for each in rule["args"]] for rule in without] == [[0, 2], [0, 2], [0, 2], [0, 2]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"defaultAction": "allow"}',
        '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"]}]}',
        '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": [1], "action": "SCMP_ACT_ALLOW"}]}',
        '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"action": "SCMP_ACT_LOG", "includes": {"arches": ["x"]}}]}',
        '{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "ENOWHERE"}',
        '{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG", "args": [{}]}]}',
        "[" * 100_000,
    ],
    ids=["empty", "list", "nothing", "action", "no-action", "number", "no-name", "errno", "argument", "deep"],
)
def test_what_is_no_profile(text: str) -> None:
    with pytest.raises(UsageError, match="here is no seccomp profile"):
        parse_profile(text, "here")


@pytest.mark.parametrize(
    ("told", "bits", "expected"),
    [
        ("x86_64", 64, "SCMP_ARCH_X86_64"),
        ("i686", 64, "SCMP_ARCH_X86_64"),  # by `setarch`
        ("i686", 32, "SCMP_ARCH_X86"),
        ("armv7l", 32, "SCMP_ARCH_ARM"),
        ("aarch64", 64, "SCMP_ARCH_AARCH64"),
        ("aarch64", 32, "SCMP_ARCH_AARCH64"),
        ("vax", 32, ""),
    ],
)
def test_this_machine(told: str, bits: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Told:
        machine, release = told, "6.12-rc1+deb"

    monkeypatch.setattr("os.uname", Told)
    monkeypatch.setattr("sys.maxsize", (1 << bits - 1) - 1)
    assert (seccomp.this_machine().constant, seccomp.this_machine().kernel) == (expected, (6, 12))


def chosen(*options: str, text: str = "", runtime: Runtime | None = None) -> walls.Walls:
    request = RunRequest(security_opts=options)
    return walls.walls_of(request, Words((), {}, text), runtime or Runtime("runc", "/usr/sbin/runc"))


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Where the administrator's profile would be, and the package's."""
    own, shipped = tmp_path / "own.json", tmp_path / "shipped.json"
    monkeypatch.setattr(seccomp, "OWN", own)
    monkeypatch.setattr(seccomp, "SHIPPED", shipped)
    monkeypatch.setattr("polyarch.container.syscalls.kernel_filters", lambda: True)
    return own, shipped


def test_which_profile_counts(places: tuple[Path, Path], tmp_path: Path) -> None:
    own, shipped = places
    nothing = chosen()
    assert nothing.profile is None
    assert "there is no seccomp profile here" in nothing.warning
    assert "seccomp=unconfined" in nothing.warning
    assert chosen("seccomp=unconfined") == walls.Walls()
    text = '{"defaultAction": "SCMP_ACT_ERRNO"}'
    shipped.write_text(text)
    assert chosen().profile == Profile({"defaultAction": "SCMP_ACT_ERRNO"}, str(shipped), shipped=True)
    own.write_text(text)
    for options in ((), ("seccomp=unconfined", "seccomp=builtin")):
        assert chosen(*options).profile == Profile({"defaultAction": "SCMP_ACT_ERRNO"}, str(own))
    own.write_text("broken")
    with pytest.raises(UsageError, match="is no seccomp profile"):
        chosen()
    given = chosen("seccomp=mine.json", text='{"defaultAction": "SCMP_ACT_LOG"}')
    assert given.profile == Profile({"defaultAction": "SCMP_ACT_LOG"}, "mine.json")


def test_doctor_tells_which_profile(places: tuple[Path, Path]) -> None:
    settings = Settings(Path("/nowhere"), runtime="runc")
    if program("runc", "/usr/sbin:/usr/bin") is None:
        pytest.skip("runc is not installed")
    assert (system_calls(settings).verdict, system_calls(settings).mend) == ("warning", apt_install(seccomp.PACKAGE))
    places[0].write_text('{"defaultAction": "SCMP_ACT_ERRNO"}')
    assert system_calls(settings) == Check("system calls", "ok", f"filtered by {places[0]}")
    places[0].write_text("{}")
    assert system_calls(settings).verdict == "failed"


def test_what_cannot_filter_is_told(places: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places[1].write_text('{"defaultAction": "SCMP_ACT_ERRNO"}')
    crun = tmp_path / "crun"
    crun.write_text("#!/bin/sh\necho '+SYSTEMD +CAP +EBPF'\n")
    crun.chmod(0o755)
    without = chosen(runtime=Runtime("crun", str(crun)))
    assert (without.profile, f"{crun} was built without seccomp" in without.warning) == (None, True)
    crun.write_text("#!/bin/sh\nprintf '+%s\\n' SECCOMP\n")
    assert chosen(runtime=Runtime("crun", str(crun))).warning == ""
    monkeypatch.setattr("polyarch.container.syscalls.kernel_filters", lambda: False)
    assert "the kernel was built without" in chosen().warning
    with pytest.raises(HostError, match=r"cannot be filtered by mine\.json: the kernel was built without"):
        chosen("seccomp=mine.json", text='{"defaultAction": "SCMP_ACT_LOG"}')
    assert chosen("seccomp=unconfined").warning == ""
