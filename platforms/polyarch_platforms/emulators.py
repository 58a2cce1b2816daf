"""What this machine can emulate, and whether it works."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from polyarch_platforms import architecture, binfmt, emulator_ways, qemu
from polyarch_platforms.architecture import Architecture
from polyarch_platforms.binfmt import TABLE, Registration
from polyarch_platforms.emulation_checks import Check, checks
from polyarch_platforms.errors import PlatformError, QemuError, quoted
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, parse
from polyarch_platforms.qemu import QemuBinary, Works

T = TypeVar("T")

_INSTALL_QEMU = "apt install qemu-user-static"


@dataclass(frozen=True, slots=True)
class EmulatorStatus:
    """One architecture on this machine; the fields are the keys of `emulator status --format json`.

    arch, platform        `arm64`, `linux/arm64`
    registered, enabled   binfmt_misc has an entry for its programs; it and the table are switched on
    interpreter           of that entry, or the emulator of the private emulation
    interpreter_version   `7.2.22`, if it tells; of the one in use, where flag F keeps it open
    flags                 of the entry
    works                 a program of the architecture ran here just now: by the entry, privately, or without emulation
    source                `kernel`: by the entry; `private`: an emulator is here, not registered; `none`
    in_containers         it also ran in an empty root, as in a container; None where that cannot be tried (not root)
    at_boot               what registers the entry at each boot: a file of systemd-binfmt's, `update-binfmts`, or None
    note, mend            one sentence to know, and the command that mends it, or None
    """

    arch: str
    platform: str
    registered: bool
    enabled: bool
    interpreter: str | None
    interpreter_version: str | None
    flags: str
    works: bool
    source: Literal["kernel", "private", "none"]
    in_containers: bool | None
    at_boot: str | None
    note: str | None
    mend: str | None


@dataclass(frozen=True, slots=True)
class EmulatorTest:
    """How an architecture stands, and whether its programs behave."""

    status: EmulatorStatus
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether all that is essential does not fail."""
        return not any(check.essential and check.verdict == "failed" for check in self.checks)


class Inside(Protocol):
    """Calls a function in a private emulation, in a process of its own, and hands its (picklable) answer back.

    Raises QemuError where there is none to be had here.
    """

    def __call__(self, action: Callable[[], T], /) -> T: ...


def _nowhere(action: Callable[[], T], /) -> T:
    raise QemuError("there is no private emulation")


@dataclass(frozen=True, slots=True)
class Private:
    """The private emulation that polyarch can give: with these emulators, by architecture."""

    emulators: Mapping[str, QemuBinary]
    inside: Inside


NO_PRIVATE = Private({}, _nowhere)


def named(words: Iterable[str]) -> tuple[Architecture, ...]:
    """What a user calls architectures (`arm64`, `aarch64`, `linux/arm/v7`) -> the architectures, each once.

    No words mean all that polyarch knows. Raises PlatformError for any other word.
    """
    found: dict[str, Architecture] = {}
    for word in words:
        name = parse(word).architecture
        known = architecture.get(name)
        if known is None:
            raise PlatformError(
                f"no emulator is known for {quoted(word)}", f"known are {', '.join(architecture.load())}"
            )
        found[name] = known
    return tuple(found.values()) or tuple(architecture.load().values())


def status(
    architectures: Iterable[Architecture], *, private: Private = NO_PRIVATE, root: Path = TABLE
) -> tuple[EmulatorStatus, ...]:
    """How each architecture stands, proven by running a program of it. Changes nothing on the host.

    `private` is the emulation that serves where nothing is registered. Raises BinfmtError where the table cannot be
    read.
    """
    entries = binfmt.registrations(root)
    on = binfmt.table_enabled(root)
    found = {one: _on_host(one, entries, on, root) for one in architectures}
    lacking = [one for one, each in found.items() if each.source == "none" and not each.works]
    return tuple((found | _privately({one: found[one] for one in lacking}, private)).values())


def tried(
    architectures: Iterable[Architecture], *, private: Private = NO_PRIVATE, root: Path = TABLE
) -> tuple[EmulatorTest, ...]:
    """How each architecture stands, and whether its programs behave where they would run. As `status` otherwise."""
    named = {one.name: one for one in architectures}
    found = status(named.values(), private=private, root=root)
    flags = {each.arch: private.emulators[each.arch].flags for each in found if each.source == "private"}
    inside = private.inside(lambda: {name: checks(named[name], flags[name]) for name in flags}) if flags else {}
    return tuple(
        EmulatorTest(
            each,
            inside[each.arch]
            if each.arch in inside
            else checks(named[each.arch], each.flags if each.source == "kernel" else None),
        )
        for each in found
    )


def _on_host(one: Architecture, entries: tuple[Registration, ...], on: bool, root: Path) -> EmulatorStatus:
    """The architecture without private emulation."""
    serving = binfmt.matching(entries, one) if on else None
    entry = serving or binfmt.matching((replace(each, enabled=True) for each in entries), one)
    result = qemu.works(one)
    found = EmulatorStatus(
        arch=one.name,
        platform=str(Platform("linux", one.name)),
        registered=entry is not None,
        enabled=serving is not None,
        interpreter=entry.interpreter if entry else None,
        interpreter_version=None,
        flags=entry.flags if entry else "",
        works=result.ok,
        source="kernel" if serving else "none",
        in_containers=None,
        at_boot=emulator_ways.at_boot(entry) if entry else None,
        note=None,
        mend=None,
    )
    if serving is not None:
        return _served(one, serving, result, found)
    if result.ok:
        return replace(found, note="this machine runs its programs itself")
    if entry is not None:
        what, file = (f"the entry {entry.name}", root / entry.name) if on else ("binfmt_misc", root / "status")
        return replace(found, note=f"{what} is switched off", mend=f"as root: echo 1 > {file}")
    binary = qemu.find(one)
    if binary is None:
        return replace(found, note="there is no QEMU for it here", mend=_INSTALL_QEMU)
    return replace(found, note=f"{binary.path} is here, but not registered", mend=_install(one))


def _served(one: Architecture, serving: Registration, result: Works, found: EmulatorStatus) -> EmulatorStatus:
    """By an entry that is switched on."""
    path = Path(serving.interpreter)
    if not result.ok:
        note = f"{path} is gone" if _is_gone(path) else result.reason
        return replace(found, in_containers=_in_containers(one, False), note=note, mend=_install(one, "--force "))
    build = qemu.build_in_use(one)
    found = replace(found, interpreter_version=_version(build), in_containers=_in_containers(one, True))
    note, mend = _hint(one, serving, build, found.in_containers)
    return replace(found, note=note, mend=mend)


def _hint(one: Architecture, serving: Registration, build: str, in_containers: bool | None) -> tuple[str | None, ...]:
    """What is to know of an entry that works, and the command that mends it. `build` is the emulator's in use."""
    path, again = Path(serving.interpreter), _install(one, "--force ")
    if in_containers is False and not serving.fixed:
        return "it does not work in containers: it is registered without flag F", again
    if in_containers is False:
        return "it does not work in containers: its QEMU is not static", _INSTALL_QEMU
    if serving.fixed and _is_gone(path):
        return f"{path} is gone; the kernel keeps the one that it opened (flag F)", again
    binary = qemu.inspect(path)
    if serving.fixed and build and binary is not None and binary.build not in ("", build):
        return f"{path} was replaced, the old one is in use (flag F): {build}", again
    return qemu.known_bad(qemu.version_of(build)), None


def _is_gone(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass  # it cannot be told
    return False


def _in_containers(one: Architecture, works: bool) -> bool | None:
    if os.geteuid() != 0:
        return None
    return works and qemu.works(one, in_empty_root=True).ok


def _privately(lacking: Mapping[Architecture, EmulatorStatus], private: Private) -> dict[Architecture, EmulatorStatus]:
    """Those that there is an emulator of the private emulation for."""
    asked = {one: private.emulators[one.name] for one in lacking if one.name in private.emulators}
    if not asked:
        return {}

    def ran() -> dict[str, tuple[Works, bool | None]]:
        results = {one: qemu.works(one) for one in asked}
        return {one.name: (result, _in_containers(one, result.ok)) for one, result in results.items()}

    try:
        results = private.inside(ran)
    except QemuError as error:
        return {one: replace(lacking[one], note=error.message, mend=error.hint) for one in asked}
    found = {}
    for one, binary in asked.items():
        before, (result, in_containers) = lacking[one], results[one.name]
        off = before.note if before.registered else None
        found[one] = replace(
            before,
            interpreter=str(binary.path),
            interpreter_version=_version(binary.build),
            works=result.ok,
            source="private",
            in_containers=in_containers,
            note=result.reason or off or qemu.known_bad(binary.version),
            mend=before.mend if off else None,
        )
    return found


def _version(build: str) -> str | None:
    version = qemu.version_of(build)
    return ".".join(map(str, version)) if version else None


def _install(one: Architecture, options: str = "") -> str:
    return f"as root: polyarch emulator install {options}{one.name}"
