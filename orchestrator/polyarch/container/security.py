"""How tight a container is: `--cap-add`, `--cap-drop` and `--security-opt`, as docker means them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.errors import HostError, UsageError, printable
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from polyarch.container.request import RunRequest

# Linux, include/uapi/linux/capability.h, in the order of their numbers.
_KNOWN = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
KNOWN_CAPABILITIES = tuple(f"CAP_{name}" for name in _KNOWN)
_ALL = "ALL"


@dataclass(frozen=True, slots=True)
class Security:
    """What `--security-opt` asks for: `seccomp` is "" for the default, "unconfined", or the path of a profile."""

    new_privileges: bool = False
    seccomp: str = ""


def parse_security(options: Sequence[str]) -> Security:
    """The words of `--security-opt`; later ones win. Raises UsageError."""
    new_privileges, seccomp = False, ""
    for text in options:
        name, _, value = re.split(r"([=:]|$)", text, maxsplit=1)
        if name == "no-new-privileges" and value in ("", "true", "false"):
            new_privileges = value == "false"
        elif name == "seccomp" and value:
            seccomp = "" if value == "builtin" else value
        else:
            raise UsageError(
                f"--security-opt '{printable(text)}' is not known here",
                "seccomp=FILE, seccomp=unconfined, no-new-privileges=false",
            )
    return Security(new_privileges, seccomp)


def capability(text: str) -> str:
    """Its full name, with or without `CAP_`, in letters of any size; `ALL`. Raises UsageError."""
    name = text.upper()
    if name == _ALL:
        return name
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name not in KNOWN_CAPABILITIES:
        raise UsageError(f"'{printable(text)}' is no capability", "see capabilities(7), such as NET_ADMIN; or ALL")
    return name


def chosen_capabilities(
    default: Sequence[str], add: Sequence[str], drop: Sequence[str], had: Collection[str]
) -> tuple[str, ...]:
    """What a container gets; pure. `had` is what this process may give on. As moby, oci/caps/utils.go, does it.

    Raises UsageError: no such capability; HostError: one that cannot be given.
    """
    added, dropped = tuple(map(capability, add)), tuple(map(capability, drop))
    if _ALL in added:
        return tuple(name for name in KNOWN_CAPABILITIES if name in had and name not in dropped)
    kept = () if _ALL in dropped else tuple(name for name in default if name not in dropped)
    for name in added:
        if name not in had:
            raise HostError(f"{name} cannot be given to a container: polyarch does not have it itself")
    return (*kept, *(name for name in dict.fromkeys(added) if name not in kept))


def own_capabilities() -> frozenset[str]:
    """Those that this process may give on: its bounding set (proc_pid_status(5), CapBnd)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            bits = int(line.split()[1], 16)
            return frozenset(name for number, name in enumerate(KNOWN_CAPABILITIES) if bits >> number & 1)
    return frozenset(KNOWN_CAPABILITIES)


def check_security(request: RunRequest) -> None:
    """Raises UsageError for words that cannot be meant."""
    parse_security(request.security_opts)
    for text in (*request.cap_add, *request.cap_drop):
        capability(text)


def given_profile(request: RunRequest) -> str:
    """The text of the seccomp profile that a request names; "" where it names none. Raises UsageError."""
    from polyarch.container.seccomp import UNCONFINED, read_profile

    path = parse_security(request.security_opts).seccomp
    return "" if path in ("", UNCONFINED) else read_profile(Path(path))
