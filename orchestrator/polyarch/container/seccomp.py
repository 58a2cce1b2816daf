"""The filter of system calls: a profile in docker's and podman's form, as the runtime-spec's `linux.seccomp`.

A profile says for each rule when it counts: with which capabilities, on which architectures, from which kernel on
(containers-common, seccomp.json; moby, profiles/seccomp). What is left of it goes into the runtime-spec
(config-linux.md, "Seccomp"). Filters see the calls that the kernel gets: of an emulated program those of QEMU, which
passes the program's on as the same calls of this machine's architecture, so that one profile holds both alike.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from polyarch.container import syscalls
from polyarch.container.runtime import Runtime
from polyarch.errors import StorageError, UsageError, printable
from polyarch.files import read_bounded
from polyarch_platforms.lazy_dataclass import dataclass

OWN = Path("/etc/containers/seccomp.json")
"""The machine's administrator's; taken as it is."""
SHIPPED = Path("/usr/share/containers/seccomp.json")
"""That of the package containers-common."""
PACKAGE = "golang-github-containers-common"
"""Debian's name of that."""
UNCONFINED = "unconfined"
MAX_PROFILE = 1 << 20
"""Bytes of a profile."""

# uname's machine -> the names that profiles know it by (Go's and libseccomp's), and libseccomp's constant.
_MACHINES = {
    "x86_64": (("amd64",), "SCMP_ARCH_X86_64"),
    "i686": (("386", "x86"), "SCMP_ARCH_X86"),
    "aarch64": (("arm64",), "SCMP_ARCH_AARCH64"),
    "arm": (("arm",), "SCMP_ARCH_ARM"),
    "ppc64le": (("ppc64le",), "SCMP_ARCH_PPC64LE"),
    "s390x": (("s390x",), "SCMP_ARCH_S390X"),
    "riscv64": (("riscv64",), "SCMP_ARCH_RISCV64"),
    "loongarch64": (("loong64",), "SCMP_ARCH_LOONGARCH64"),
    "mips64": (("mips64le", "mipsel64"), "SCMP_ARCH_MIPSEL64"),
    "mips": (("mipsle", "mipsel"), "SCMP_ARCH_MIPSEL"),
}
_WIDE = {"i386": "x86_64", "i486": "x86_64", "i586": "x86_64", "i686": "x86_64", "armv7l": "aarch64"}
_LETS_PASS = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")

# What podman's profile lets pass and docker's does not, with the capabilities one of which opens it there (moby,
# profiles/seccomp/default.json): calls that reach parts of the kernel which programs in containers rarely need, most of
# all new user namespaces and, by these, the right to mount.
_ADMIN, _NICE = ("CAP_SYS_ADMIN",), ("CAP_SYS_NICE",)
_GUARDED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("mount", "mount_setattr", "move_mount", "open_tree", "umount", "umount2"), _ADMIN),
    **dict.fromkeys(("fsconfig", "fsmount", "fsopen", "fspick", "setns", "unshare"), _ADMIN),
    **dict.fromkeys(("get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"), _NICE),
    "syslog": ("CAP_SYS_ADMIN", "CAP_SYSLOG"),
    "bpf": ("CAP_SYS_ADMIN", "CAP_BPF"),
    "perf_event_open": ("CAP_SYS_ADMIN", "CAP_PERFMON"),
    "reboot": ("CAP_SYS_BOOT",),
    "pidfd_getfd": ("CAP_SYS_PTRACE",),
    **dict.fromkeys(("add_key", "keyctl", "request_key", "pivot_root", "userfaultfd"), ()),
    **dict.fromkeys(("io_uring_enter", "io_uring_register", "io_uring_setup"), ()),
}
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, -CGROUP, -UTS, -IPC, -USER, -PID, -NET: Linux, uapi/linux/sched.h
_AF_ALG, _AF_VSOCK = 38, 40  # Linux, include/linux/socket.h: the kernel's ciphers, the hypervisor's own sockets


_ADVICE = f"see the package {PACKAGE} for one, or: --security-opt seccomp=unconfined"


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile as it stands in its file, `origin`; one that is `shipped` gets docker's further refusals."""

    document: Mapping[str, Any]
    origin: str
    shipped: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides which rules count: the names of the architecture, libseccomp's constant, the kernel's version.

    `x32`: whether its kernel executes that, as hardly any does. Rules for it take a runtime half of the time that it
    has to spend on a filter; without them such calls end a program, where the kernel itself would know none of them.
    """

    names: tuple[str, ...]
    constant: str
    kernel: tuple[int, int]
    x32: bool = True


def this_machine() -> Machine:
    """That of the kernel: a program of 32 bits on one of 64 is called what the kernel is."""
    told = os.uname()
    name = told.machine
    if sys.maxsize >> 32:  # else `setarch` may have made the kernel say so
        name = _WIDE.get(name, name)
    name = "arm" if name.startswith("armv") else name
    names, constant = _MACHINES.get(name, ((name,), ""))
    x32 = constant == "SCMP_ARCH_X86_64" and syscalls.executes_x32()
    return Machine(names, constant, _version(told.release), x32)


def parse_profile(data: bytes | str, origin: str, *, shipped: bool = False) -> Profile:
    """A profile's text. Raises UsageError: it is none."""
    try:
        document = json.loads(data)
        profile = Profile(document, origin, shipped)
        translated(profile, (), Machine(("amd64",), "SCMP_ARCH_X86_64", (0, 0)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UsageError(f"{origin} is no seccomp profile: {printable(str(error), 200)}", _ADVICE) from None
    return profile


def read_profile(path: Path) -> str:
    """The text of a user's own profile, held for sound. Raises UsageError."""
    shown = printable(str(path), 200)
    try:
        text = read_bounded(path, MAX_PROFILE).decode()
    except (OSError, StorageError) as error:
        raise UsageError(f"the seccomp profile {shown} cannot be read: {_why(error)}", _ADVICE) from None
    except UnicodeDecodeError:
        raise UsageError(f"{shown} is no seccomp profile: not UTF-8", _ADVICE) from None
    parse_profile(text, shown)
    return text


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def default_profile() -> Profile | None:
    """The machine's; None where there is none. Raises UsageError: it is broken."""
    for path in (OWN, SHIPPED):
        try:
            data = read_bounded(path, MAX_PROFILE)
        except FileNotFoundError:
            continue
        except (OSError, StorageError) as error:
            raise UsageError(f"the seccomp profile {path} cannot be read: {_why(error)}", _ADVICE) from None
        return parse_profile(data, str(path), shipped=path == SHIPPED)
    return None


def no_filter_here(runtime: Runtime, kernel_filters: bool) -> str:
    """Why nothing here filters, in words; "" where it can be. runc that cannot filter says so itself, and fails."""
    if not kernel_filters:
        return "the kernel was built without seccomp filters"
    if runtime.name == "crun" and not _crun_filters(runtime.path):
        return f"{runtime.path} was built without seccomp"
    return ""


def _crun_filters(path: str) -> bool:
    """Whether its list of abilities has this one. A program that does not show it at once is asked by `--version`."""
    word = b"+SECCOMP"
    try:
        with Path(path).open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(word) >= 0:
                return True
    except (OSError, ValueError):
        pass
    import subprocess

    return word in subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True).stdout


def translated(profile: Profile, capabilities: Collection[str], machine: Machine) -> dict[str, object]:
    """`linux.seccomp` for a container with these capabilities; pure.

    Raises ValueError, TypeError, KeyError, AttributeError for what is no profile.
    """
    document = profile.document
    rules = []
    for rule in document.get("syscalls") or ():
        if _counts(rule.get("includes") or {}, rule.get("excludes") or {}, capabilities, machine):
            rules.append(_rule(rule))
        else:
            _rule(rule)  # a broken one is an error wherever it counts
    if profile.shipped:
        rules = _as_docker(rules, capabilities, machine)
    result: dict[str, object] = {"defaultAction": _action(document["defaultAction"]), "syscalls": rules}
    if (number := _errno(document, "defaultErrnoRet", "defaultErrno")) is not None:
        result["defaultErrnoRet"] = number
    architectures = _architectures(document, machine)
    if architectures:
        result["architectures"] = architectures
    if flags := document.get("flags"):
        result["flags"] = [str(each) for each in flags]
    return result


def _architectures(document: Mapping[str, Any], machine: Machine) -> list[str]:
    """This machine's own and those that its kernel executes, too; a profile of the old form names them by itself."""
    if "archMap" not in document:
        return [str(each) for each in document.get("architectures") or ()]
    for entry in document["archMap"] or ():
        if entry["architecture"] == machine.constant:
            also = map(str, entry.get("subArchitectures") or ())
            return [machine.constant, *(name for name in also if machine.x32 or name != "SCMP_ARCH_X32")]
    return [machine.constant] if machine.constant else []


def _counts(
    includes: Mapping[str, Any], excludes: Mapping[str, Any], capabilities: Collection[str], machine: Machine
) -> bool:
    """moby, profiles/seccomp/seccomp_linux.go: every capability has to be held to include, one to exclude."""
    if (wanted := includes.get("arches")) and not set(wanted) & set(machine.names):
        return False
    if not set(includes.get("caps") or ()) <= set(capabilities):
        return False
    if (least := includes.get("minKernel")) and machine.kernel < _version(least):
        return False
    if set(excludes.get("arches") or ()) & set(machine.names) or set(excludes.get("caps") or ()) & set(capabilities):
        return False
    return not ((least := excludes.get("minKernel")) and machine.kernel >= _version(least))


def _rule(rule: Mapping[str, Any]) -> dict[str, object]:
    names = rule.get("names") or [rule["name"]]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a system call's name is no text")
    made: dict[str, object] = {"names": list(names), "action": _action(rule["action"])}
    if (number := _errno(rule, "errnoRet", "errno")) is not None:
        made["errnoRet"] = number
    if arguments := rule.get("args"):
        made["args"] = [
            {
                "index": int(each["index"]),
                "value": int(each["value"]),
                "valueTwo": int(each.get("valueTwo") or 0),
                "op": str(each["op"]),
            }
            for each in arguments
        ]
    return made


def _action(name: object) -> str:
    if not isinstance(name, str) or not name.startswith("SCMP_ACT_"):
        raise ValueError(f"{name!r} is no action")
    return name


def _errno(rule: Mapping[str, Any], number: str, name: str) -> int | None:
    """By its number, or by its name alone, as newer profiles of podman's have it."""
    if (value := rule.get(number)) is not None:
        return int(value)
    if text := rule.get(name):
        value = getattr(errno, text, None)
        if not isinstance(value, int):
            raise ValueError(f"{text!r} is no error number")
        return value
    return None


def _as_docker(
    rules: Iterable[dict[str, Any]], capabilities: Collection[str], machine: Machine
) -> list[dict[str, Any]]:
    """The rules without what docker refuses."""
    refused = {name for name, keys in _GUARDED.items() if not set(keys) & set(capabilities)}
    without = {"socket"} if "CAP_SYS_ADMIN" in capabilities else {"socket", "clone", "clone3"}
    kept: list[dict[str, Any]] = []
    passed: set[str] = set()
    answered: set[str] = set()
    any_protocol = False
    for rule in rules:
        if rule["action"] not in _LETS_PASS:
            kept.append(rule)
            answered.update(() if "args" in rule else rule["names"])
            continue
        passed.update(rule["names"])
        any_protocol |= "socket" in rule["names"] and "args" not in rule
        if names := [name for name in rule["names"] if name not in refused and name not in without]:
            kept.append({**rule, "names": names})
    if rest := sorted(passed & refused - answered):
        kept.append({"names": rest, "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM})
    if "clone" in passed & without:
        index = 1 if "s390x" in machine.names else 0  # Linux, CONFIG_CLONE_BACKWARDS2
        kept.append(_passes("clone", _compared(index, _NEW_NAMESPACES, "MASKED_EQ")))
    if "clone3" in passed & without:  # its flags are out of a filter's sight; C libraries then use clone
        kept.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS})
    if "socket" in passed:
        # Without CAP_AUDIT_WRITE, no socket to the kernel's audit: the profile's own rule, held for every family.
        more = [] if any_protocol else [_compared(2, 9, "NE")]
        for value, how in ((_AF_ALG, "LT"), (_AF_ALG + 1, "EQ"), (_AF_VSOCK, "GT")):
            kept.append(_passes("socket", _compared(0, value, how), *more))
    return kept


def _passes(name: str, *arguments: dict[str, object]) -> dict[str, Any]:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": list(arguments)}


def _compared(index: int, value: int, how: str) -> dict[str, object]:
    return {"index": index, "value": value, "valueTwo": 0, "op": f"SCMP_CMP_{how}"}


def _version(text: str) -> tuple[int, int]:
    """The first two numbers. Raises ValueError."""
    major, _, rest = text.partition(".")
    minor = rest.split(".")[0].split("-")[0]
    digits = "".join(letter for letter in minor if letter.isdigit())
    return int(major), int(digits or 0)
