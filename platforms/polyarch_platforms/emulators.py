"""What this machine can emulate, and whether it works."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from polyarch_platforms import architecture, binfmt, qemu
from polyarch_platforms.architecture import Architecture
from polyarch_platforms.binfmt import TABLE, Registration
from polyarch_platforms.errors import PlatformError, quoted
from polyarch_platforms.platform import Platform, parse
from polyarch_platforms.qemu import QemuBinary


@dataclass(frozen=True, slots=True)
class EmulatorStatus:
    """One architecture on this machine; the fields are the keys of `emulator status --format json`.

    arch, platform        `arm64`, `linux/arm64`
    registered, enabled   binfmt_misc has an entry for its programs; it and the table are switched on
    interpreter           of that entry, or the emulator that private emulation would take
    interpreter_version   `7.2.22`, if it tells
    flags                 of the entry
    works                 a program of the architecture ran here just now, by emulation or by the machine itself
    source                `kernel`: by the entry; `private`: an emulator is here, not registered; `none`
    in_containers         it also ran in an empty root, as in a container; None where that cannot be tried (not root)
    note                  one sentence to know, or None
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
    note: str | None


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
    architectures: Iterable[Architecture], *, private: bool = False, root: Path = TABLE
) -> tuple[EmulatorStatus, ...]:
    """How each architecture stands, proven by running a program of it. Changes nothing, mounts nothing.

    `private` says whether emulation in a user namespace is possible here: then an emulator that is not registered
    serves, too. Raises BinfmtError where the table cannot be read.
    """
    entries = binfmt.registrations(root)
    on = binfmt.table_enabled(root)
    return tuple(_status(one, entries, on, private) for one in architectures)


def _status(one: Architecture, entries: tuple[Registration, ...], on: bool, private: bool) -> EmulatorStatus:
    serving = binfmt.matching(entries, one) if on else None
    entry = serving or binfmt.matching((replace(each, enabled=True) for each in entries), one)
    source: Literal["kernel", "private", "none"] = "none"
    result = qemu.works(one)
    binary, in_containers, note = None, None, result.reason
    if serving is not None:
        source = "kernel"
        binary = qemu.inspect(Path(serving.interpreter))
        in_containers = _in_containers(one, result.ok)
        note = note or _hint(binary, serving, in_containers)
    elif result.ok:
        note = "this machine runs its programs itself"
    else:
        binary = qemu.find(one)
        if binary is None:
            note = "there is no QEMU for it here"
        elif private:
            source = "private"
            result = qemu.works(one, binary)
            note = result.reason or qemu.known_bad(binary.version)
        else:
            note = f"{binary.path} is here, but {'switched off' if entry else 'not registered'}"
    interpreter = entry.interpreter if entry else None
    if source == "private" and binary is not None:
        interpreter = str(binary.path)
    version = binary.version if binary and source != "none" else None
    return EmulatorStatus(
        arch=one.name,
        platform=str(Platform("linux", one.name)),
        registered=entry is not None,
        enabled=serving is not None,
        interpreter=interpreter,
        interpreter_version=".".join(map(str, version)) if version else None,
        flags=entry.flags if entry else "",
        works=result.ok,
        source=source,
        in_containers=in_containers,
        note=note,
    )


def _in_containers(one: Architecture, works: bool) -> bool | None:
    if os.geteuid() != 0:
        return None
    return works and qemu.works(one, in_empty_root=True).ok


def _hint(binary: QemuBinary | None, serving: Registration, in_containers: bool | None) -> str | None:
    if in_containers is False:
        return "it does not work in containers: " + (
            "its QEMU is not static" if serving.fixed else "it is registered without flag F"
        )
    return qemu.known_bad(binary.version) if binary else None
