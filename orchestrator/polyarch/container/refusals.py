"""What the kernel did not allow, as an error that names the one command that mends it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from polyarch.errors import HostError

PRIVATE_BINFMT = (6, 7)
"""The first Linux where each user namespace can have its own: "binfmt_misc: enable sandboxed mounts"."""

# Each sysctl that forbids user namespaces: its value when it does, and the command that lifts that.
_SYSCTLS = (
    # Debian's and Arch's patch to the kernel.
    ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    # Linux, Documentation/admin-guide/sysctl/user.rst.
    ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    # AppArmor's, set by Ubuntu since 23.10: namespaces are made, but give no rights.
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
)


def forbidding_sysctl(sysctls: Path = Path("/proc/sys")) -> tuple[str, str] | None:
    """The setting that forbids user namespaces, in words, and the command that lifts it; None if none does."""
    for name, value, mend in _SYSCTLS:
        if _read(sysctls / name) == value:
            return f"{name.replace('/', '.')} is {value}", mend
    return None


def no_user_namespace(error: OSError, sysctls: Path = Path("/proc/sys")) -> HostError:
    """Why no new namespace is to be had, as well as can be told; `error` is what the kernel said."""
    if forbidding := forbidding_sysctl(sysctls):
        setting, mend = forbidding
        return HostError(f"user namespaces are switched off: {setting}", f"as root: {mend}")
    if error.errno == errno.EINVAL:
        return HostError("the kernel was built without user namespaces", "run polyarch as root")
    if error.errno in (errno.ENOSPC, errno.EUSERS):
        return HostError(
            "no more user namespaces can be made (too many, or too deep in each other)",
            "as root: sysctl -w user.max_user_namespaces=15000",
        )
    return HostError(
        f"namespaces cannot be made here: {error.strerror}",
        "inside a container, start that with the right to make user namespaces (docker: --privileged)",
    )


def no_private_binfmt(error_number: int | None, kernel: tuple[int, ...]) -> HostError:
    """Why binfmt_misc cannot be mounted in a user namespace."""
    install = "as root: polyarch emulator install"
    if kernel < PRIVATE_BINFMT:
        return HostError(f"Linux {os.uname().release} has no private binfmt_misc (6.7 and newer have)", install)
    if error_number == errno.ENODEV:
        return HostError("the kernel has no binfmt_misc", "as root: modprobe binfmt_misc")
    if error_number == errno.EPERM:
        return no_user_namespace(PermissionError(error_number, os.strerror(error_number)))
    return HostError(f"binfmt_misc cannot be mounted: {os.strerror(error_number or 0)}", install)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
