"""The machine itself, Python, plugins, and what undoes compressed layers."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from polyarch.errors import printable
from polyarch.plugin_host.host import PluginHost
from polyarch.plugin_host.kinds import Problem
from polyarch.verbs.doctor.check import Check, Mend, apt_install, words
from polyarch_platforms.device import Device


def machine(device: Device) -> Check:
    """What this machine is and what polyarch runs in."""
    parts = [str(device.platform), f"Linux {device.kernel or 'of unknown release'}"]
    if device.machine:
        parts.append(device.machine)
    if device.page_size:
        parts.append(f"pages of {device.page_size // 1024}K")
    fact = ", ".join(parts)
    if "qemu" in device.inside:
        return Check("device", "warning", f"{fact}; polyarch itself runs under QEMU: slow, and no emulation inside")
    return Check("device", "ok", fact + (f"; inside {', '.join(device.inside)}" if device.inside else ""))


def python() -> Check:
    """The interpreter that runs polyarch."""
    return Check("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def plugins(problems: Sequence[Problem]) -> Iterator[Check]:
    """Each plugin that is passed over, and why."""
    for problem in problems:
        project = problem.point.project
        mend = Mend(words(sys.executable, "-m", "pip", "uninstall", "--yes", project)) if project else None
        part = f", {problem.part}" if problem.part else ""
        yield Check("plugin", "warning", f"{problem.point}{part}: {problem.reason}", None if problem.part else mend)
    if not problems:
        yield Check("plugins", "ok", "all loaded")


def plugins_of_settings(options: Iterable[str], host: PluginHost) -> Iterator[Check]:
    """Tables `[options.NAME]` of the settings that no plugin reads; not judged where a plugin's names are not known."""
    if host.problems or host.disabled:
        return
    known = {each.plugin.name for each in host.registrations}
    for name in options:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            instead = f" (near: {near[0]})" if near else ""
            yield Check("settings", "warning", f"[options.{printable(name, 100)}] is read by no plugin{instead}")


def decompression() -> Iterator[Check]:
    """What undoes gzip and zstd."""
    fast = next((name for name in ("isal", "zlib_ng") if importlib.util.find_spec(name)), None)
    yield Check("gzip", "ok", f"by {fast}" if fast else "by zlib (the extra polyarch[fast] brings isal)")
    modules = ("compression.zstd", "backports.zstd")
    found = next((name for name in modules if _has_module(name)), None)
    if found or shutil.which("zstd"):
        yield Check("zstd", "ok", f"by {found or 'the program zstd'}")
    else:
        yield Check(
            "zstd", "warning", "nothing here undoes it: images with such layers do not run", apt_install("zstd")
        )


def _has_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # not even its package
        return False
