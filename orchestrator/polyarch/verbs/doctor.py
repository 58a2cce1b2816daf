"""What works on this machine, what does not, and the command that mends it. Looks, and changes nothing."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from polyarch.container.refusals import PRIVATE_BINFMT, forbidding_sysctl
from polyarch.contract.others import EmulatorSource
from polyarch.settings import Settings
from polyarch_platforms import architecture, binfmt
from polyarch_platforms.device import Device
from polyarch_platforms.errors import PlatformsError
from polyarch_platforms.qemu import kernel_version

_LOW_SPACE = 1 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `essential`: without it polyarch cannot pull and run native images here."""

    name: str
    verdict: Literal["ok", "warning", "failed"]
    fact: str
    mend: str | None = None
    essential: bool = False

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "fact": self.fact,
            "mend": self.mend,
            "essential": self.essential,
        }


def checks(
    settings: Settings, device: Device, sources: Sequence[EmulatorSource], problems: Sequence[str]
) -> tuple[Check, ...]:
    """Every check, in the order in which the main job needs what they look at. `problems` are those of plugins."""
    return (
        _python(),
        *_plugins(problems),
        _storage_folder(settings.root),
        Check("device", "ok", f"{device.platform}, kernel {device.kernel or 'unknown'}"),
        _user_namespaces(),
        _overlay(),
        _runtime(settings),
        _subordinate_ids(),
        *_emulators(device, sources),
        *_registrations(),
        _private_emulation(),
        _decompression(),
    )


def _python() -> Check:
    return Check("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _plugins(problems: Sequence[str]) -> Iterator[Check]:
    for problem in problems:
        yield Check("plugin", "warning", problem, "update or uninstall it, or name it in disabled_plugins")
    if not problems:
        yield Check("plugins", "ok", "all loaded")


def _storage_folder(root: Path) -> Check:
    place = next((path for path in (root, *root.parents) if path.exists()), Path("/"))
    if not os.access(place, os.W_OK | os.X_OK):
        mend = "choose a folder of yours with --root or POLYARCH_ROOT"
        return Check("storage", "failed", f"{root} cannot be written", mend, essential=True)
    free = shutil.disk_usage(place).free
    fact = f"{root}, {free / 1e9:.1f} GB free"
    if free < _LOW_SPACE:
        return Check("storage", "warning", fact, "polyarch image prune")
    return Check("storage", "ok", fact)


def _user_namespaces() -> Check:
    name, root = "user namespaces", os.geteuid() == 0
    if forbidding := forbidding_sysctl():
        setting, mend = forbidding
        return Check(name, "warning" if root else "failed", f"forbidden: {setting}", mend, essential=not root)
    if not Path("/proc/self/ns/user").exists():
        return Check(name, "warning" if root else "failed", "this kernel has none", None, essential=not root)
    return Check(name, "ok", "allowed")


def _overlay() -> Check:
    try:
        known = "\toverlay\n" in Path("/proc/filesystems").read_text()
    except OSError:
        known = False
    if known:
        return Check("overlay", "ok", "the kernel has overlayfs")
    if _program("fuse-overlayfs"):
        return Check("overlay", "warning", "no overlayfs in the kernel; fuse-overlayfs is there", "modprobe overlay")
    return Check("overlay", "failed", "no overlayfs in the kernel", "modprobe overlay", essential=True)


def _runtime(settings: Settings) -> Check:
    wanted = ("crun", "runc") if settings.runtime == "auto" else (settings.runtime,)
    found = next((path for name in wanted if (path := _program(name))), None)
    if found:
        return Check("OCI runtime", "ok", found)
    return Check("OCI runtime", "failed", f"no {' and no '.join(wanted)}", "apt install crun", essential=True)


def _program(name: str) -> str | None:
    """Where a program is; an ordinary user's PATH often lacks the folders that Debian keeps runtimes in."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _subordinate_ids() -> Check:
    name = "subordinate ids"
    if os.geteuid() == 0:
        return Check(name, "ok", "not needed by root")
    if not _program("newuidmap"):
        return Check(name, "warning", "no newuidmap: containers see one user only", "apt install uidmap")
    import pwd

    user = pwd.getpwuid(os.geteuid()).pw_name
    try:
        lines = Path("/etc/subuid").read_text().splitlines()
    except OSError:
        lines = []
    if any(line.split(":")[0] in (user, str(os.geteuid())) for line in lines):
        return Check(name, "ok", f"/etc/subuid has {user}")
    mend = f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"
    return Check(name, "warning", f"/etc/subuid has no {user}: containers see one user only", mend)


def _emulators(device: Device, sources: Sequence[EmulatorSource]) -> Iterator[Check]:
    native = {platform.architecture for platform in device.native}
    found, lacking, dynamic = [], [], []
    for name in architecture.load():
        if name in native:
            continue
        binary = next((binary for source in sources if (binary := source.find(name))), None)
        if binary is None:
            lacking.append(name)
        elif not binary.static:
            dynamic.append(name)
        else:
            found.append(name)
    if found:
        yield Check("QEMU", "ok", f"emulators for {', '.join(found)}")
    if dynamic:
        fact = f"not statically linked for {', '.join(dynamic)}: no use inside containers"
        yield Check("QEMU", "warning", fact, "apt install qemu-user-static")
    if lacking:
        mend = "apt install qemu-user-static" if not found else None
        yield Check("QEMU", "warning" if not found else "ok", f"no emulator for {', '.join(lacking)}", mend)


def _registrations() -> Iterator[Check]:
    try:
        entries = binfmt.registrations()
    except PlatformsError as error:
        yield Check("binfmt_misc", "warning", str(error))
        return
    broken = [entry for entry in entries if not Path(entry.interpreter).exists() and "F" not in entry.flags]
    for entry in broken:
        fact = f"{entry.name} names {entry.interpreter}, which is gone"
        yield Check("binfmt_misc", "warning", fact, "polyarch emulator remove, or the package that registered it")
    if not broken:
        yield Check("binfmt_misc", "ok", f"{len(entries)} registered in the kernel; polyarch needs none")


def _private_emulation() -> Check:
    name = "private emulation"
    if kernel_version() >= PRIVATE_BINFMT:
        return Check(name, "ok", "the kernel allows binfmt_misc in a user namespace")
    fact = f"Linux {os.uname().release} is older than 6.7: emulators have to be registered for the whole machine"
    return Check(name, "warning", fact, "polyarch emulator install")


def _decompression() -> Check:
    fast = importlib.util.find_spec("isal") is not None
    if fast:
        return Check("gzip", "ok", "by isal")
    return Check("gzip", "ok", "by zlib (the extra polyarch[fast] brings isal)")
