"""How foreign programs start here: the first of these ways that there is.

1. A private binfmt_misc (Linux 6.7 and newer). It belongs to a user namespace and is gone with its last mount. It hides
   all entries of the host, so all that may be needed is registered in it; never this machine's own architecture, whose
   emulator would then have to emulate itself. It comes first because its emulator can be protected: the file that the
   host's entry keeps open is on a mount that can be written to, and its mode could be changed by /proc/PID/exe.
2. The kernel has a working entry for them, which serves inside containers, too.
3. The emulator is started for the one program, by name. What that program starts is not emulated.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field, replace
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from polyarch.container import syscalls
from polyarch.container.id_maps import alone_as_root
from polyarch.container.launch import call_inside
from polyarch.container.refusals import PRIVATE_BINFMT, no_private_binfmt
from polyarch.contract.others import EmulatorSource, FetchesEmulators
from polyarch.errors import HostError, printable
from polyarch_platforms import architecture, binfmt, qemu, qemu_cpu
from polyarch_platforms.architecture import Architecture
from polyarch_platforms.device import Device
from polyarch_platforms.errors import BinfmtError, PlatformsError
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform
from polyarch_platforms.qemu import QemuBinary, kernel_version, works

Way: TypeAlias = Literal["native", "registered", "private", "explicit"]
"""How a program is started: by the CPU, by the host's own registration, by a private one, by its emulator by name."""

Emulators: TypeAlias = dict[str, QemuBinary]
"""Architecture -> the emulator for its programs."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How an image's programs are started here.

    `emulators` are what a private table has to register. `explicit` is the static emulator that is started for the one
    program, where there can be no table; `warning` then says what will not work. `variables` are what the emulator
    needs in the program's environment; the user's own settings of them stay.
    """

    way: Way
    emulators: Emulators = field(default_factory=dict)
    explicit: QemuBinary | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    warning: str = ""


def way_to_run(
    platform: Platform, native: Collection[str], registered: Collection[str], static: Collection[str], *, private: bool
) -> Way:
    """How programs of `platform` start; pure.

    `native` are the architectures of this machine, `registered` those that the kernel has a working entry for, `static`
    those that there is a static emulator for; `private`: there can be a private table. Raises HostError if nothing does
    it, with the command that mends it.
    """
    name = platform.architecture
    if name in native:
        return "native"
    if private and name in static:
        return "private"
    if name in registered:
        return "registered"
    if name not in static:
        raise HostError(
            f"no static QEMU for {printable(name)} here, and nothing is registered for it",
            "apt install qemu-user-static",
        )
    return "explicit"


def arrange(platform: Platform, device: Device, sources: Sequence[EmulatorSource]) -> Arrangement:
    """How programs of `platform` are started here. For native ones nothing is looked for and nothing run.

    Raises HostError if there is no way to start them, with the command that mends it; what fetching an emulator raises.
    """
    name, native = platform.architecture, native_architectures(device)
    if name in native:
        return Arrangement("native")
    refusal = private_refusal()
    emulators = for_private(native, sources, family(name)) if refusal is None else {}
    registered = registered_emulator(name) if name not in emulators else None
    if registered is None and name not in emulators:
        emulators |= find_emulators(native, sources, family(name), needed={name})
    way = way_to_run(platform, native, (name,) if registered else (), emulators, private=refusal is None)
    variables = qemu_cpu.variables(platform, registered or emulators[name])
    if way == "explicit":
        assert refusal is not None
        return Arrangement(way, {}, emulators[name], variables, explicit_warning(name, refusal))
    return Arrangement(way, emulators if way == "private" else {}, variables=variables)


def native_architectures(device: Device) -> frozenset[str]:
    """The architectures whose programs the device's CPU executes."""
    return frozenset(platform.architecture for platform in device.native)


def family(name: str) -> tuple[str, ...]:
    """The architecture and those whose programs are found beside its own (arm and arm64, 386 and amd64)."""
    known = architecture.load()
    own = known[name].may_run if name in known else ()
    return (name, *own, *(other.name for other in known.values() if name in other.may_run))


def registered_emulator(name: str) -> QemuBinary | None:
    """What the kernel starts this architecture's programs with by itself, in containers, too; a program shows it."""
    known = architecture.get(name)
    entry = binfmt.matching(binfmt.registrations(), known) if known else None
    if known is None or entry is None or not entry.fixed or not works(known).ok:
        return None
    path = Path(entry.interpreter)  # with flag F it may be gone, or dynamic by now: what the kernel keeps counts
    return qemu.inspect(path) or QemuBinary(path, True)


def for_private(native: Collection[str], sources: Sequence[EmulatorSource], names: Collection[str]) -> Emulators:
    """What a private table can register for these architectures of what is at hand.

    The table hides the host's, so what is registered there is registered again, before what sources have: whoever runs
    the machine may have chosen another emulator.
    """
    found = find_emulators(native, sources, names)
    entries = binfmt.registrations()
    for name in names if entries else ():
        known = architecture.get(name)
        entry = binfmt.matching(entries, known) if known and name not in native else None
        binary = qemu.inspect(Path(entry.interpreter)) if entry else None
        if known is None or binary is None or not binary.static:
            continue
        if not (name in found and binary.path.samefile(found[name].path)) and works(known, binary).ok:
            found[name] = binary
    return found


def find_emulators(
    native: Collection[str],
    sources: Sequence[EmulatorSource],
    only: Collection[str] = (),
    *,
    needed: Collection[str] = (),
    dynamic: bool = False,
) -> Emulators:
    """A static emulator for each foreign architecture (of `only`, if that names any) that a source has one for.

    Those for `needed` are fetched where no source has them at hand. `dynamic` ones are taken, too, if asked for. Raises
    what fetching raises.
    """

    def first(candidates: Iterable[QemuBinary | None]) -> QemuBinary | None:
        return next((each for each in candidates if each is not None and (each.static or dynamic)), None)

    found = {}
    for name in only or architecture.load():
        if name in native:
            continue
        binary = first(source.find(name) for source in sources)
        if binary is None and name in needed:
            binary = first(source.fetch(name) for source in sources if isinstance(source, FetchesEmulators))
        if binary is not None:
            found[name] = binary
    return found


@cache
def private_refusal() -> HostError | None:
    """Why this process can have no private binfmt_misc, by the kernel's own answer; None if it can."""
    if kernel_version() < PRIVATE_BINFMT:
        return no_private_binfmt(None, kernel_version())
    try:
        call_inside(alone_as_root(), mount_privately)
    except HostError as error:
        return error
    return None


def mount_privately() -> None:
    """In a new user and mount namespace: mount its binfmt_misc. Raises HostError."""
    try:
        binfmt.mount()
    except BinfmtError as error:
        raise no_private_binfmt(error.errno or errno.EINVAL, kernel_version()) from error


def register_privately(emulators: Emulators, *, credential: bool = False) -> None:
    """In a new user and mount namespace: mount its binfmt_misc and register `emulators`. Raises HostError.

    `credential` sets flag C: setuid programs get their rights. Where no program may get new rights (in containers, by
    no_new_privs) it changes nothing.
    """
    mount_privately()
    try:
        for name, binary in emulators.items():
            known = architecture.get(name)
            if known is not None:
                binfmt.register(_line(known, binary, "OC" if credential else ""))
    except (BinfmtError, OSError) as error:
        raise HostError(f"the private binfmt_misc cannot be filled: {error}") from error
    except PlatformsError as error:
        raise HostError(str(error), error.hint) from error


def protect_emulators(emulators: Emulators) -> None:
    """In a new user and mount namespace, before `register_privately`: what is started by it can be written by nobody.

    The kernel shows a program the file that executes it (/proc/PID/exe), which belongs to somebody, root or this user,
    whom the container may know as its own. Raises HostError.
    """
    for binary in emulators.values():
        try:
            syscalls.write_protect(binary.path)
        except OSError as error:
            raise HostError(f"{binary.path} cannot be write-protected: {error.strerror}") from error


def _line(known: Architecture, binary: QemuBinary, more_flags: str) -> bytes:
    """What registers a static emulator: by its path or, where the kernel's form cannot hold that (127 bytes, no ':'),
    as a file that is open here, for the kernel opens it at once (flag F). Raises BinfmtError, OSError.
    """
    try:
        return binfmt.register_line(known, str(binary.path), more_flags + binary.flags)
    except BinfmtError:
        real = replace(binary, path=binary.path.resolve())  # a wrapper goes by its own name, which is lost here
        opened = os.open(real.path, os.O_RDONLY | os.O_CLOEXEC)
        return binfmt.register_line(known, f"/proc/self/fd/{opened}", more_flags + real.flags)


def explicit_words(emulator: str, argv: Sequence[str], program: str) -> tuple[str, ...]:
    """The words that start a foreign ELF file by its emulator; pure.

    `emulator` and `program` are paths where they are started, `argv` what the program shall see as its words. Of a
    `#!` script, the program is the interpreter and `argv` is what `script_words` gives.
    """
    return (emulator, "-0", argv[0], program, *argv[1:])


def script_words(start: bytes, path: str, argv: Sequence[str]) -> tuple[str, ...] | None:
    """The words that the kernel starts a `#!` script with, the interpreter's path first; None for another file. Pure.

    `start` is the file's beginning, `path` the script's. Linux, fs/binfmt_script.c: one word of the line behind the
    interpreter at most, blanks and all; the line ends with 255 bytes.
    """
    if not start.startswith(b"#!"):
        return None
    line = start[2:256].split(b"\n")[0].strip(b" \t")
    if not line:
        return None
    words = re.split(rb"[ \t]+", line, maxsplit=1)
    return (*(word.decode("utf-8", "surrogateescape") for word in words), path, *argv[1:])


def exit_code(status: int) -> int:
    """The code that a shell gives for a wait status: 128 and the signal's number where one ended the program."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def explicit_warning(name: str, refusal: HostError) -> str:
    """What does not work where only the one program is emulated, and what lets all of it work."""
    return (
        f"{refusal.message}: only the program itself is emulated; other {name} programs do not start from it, so "
        f"scripts and shells can do little (to let all run, as root: polyarch emulator install {name})"
    )
