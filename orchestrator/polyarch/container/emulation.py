"""Starting foreign programs: by what the kernel has registered, or by a private binfmt_misc in a user namespace.

A private one (Linux 6.7 and newer) belongs to a user namespace and is gone with its last mount. It hides all entries of
the host, so every architecture that there is an emulator for is registered in it; never this machine's own, whose
emulator would then have to emulate itself.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from polyarch.container import syscalls
from polyarch.container.failures import CannotExecute, ProgramNotFound
from polyarch.container.id_maps import as_root, same_ids
from polyarch.container.launch import Launch
from polyarch.container.refusals import PRIVATE_BINFMT, no_private_binfmt
from polyarch.contract.others import EmulatorSource
from polyarch.errors import HostError, UsageError, printable
from polyarch_platforms import architecture, binfmt
from polyarch_platforms.device import Device
from polyarch_platforms.errors import BinfmtError, PlatformsError
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

# What a command needs in order to change its root, mount, and make user namespaces of its own, as podman does.
_KEPT = (
    syscalls.CAP_SYS_CHROOT,
    syscalls.CAP_SYS_ADMIN,
    syscalls.CAP_SETUID,
    syscalls.CAP_SETGID,
    syscalls.CAP_SETFCAP,
)


def way_to_run(
    platform: Platform,
    native: Collection[str],
    registered: Collection[str],
    static: Collection[str],
    kernel: tuple[int, ...],
) -> Way:
    """How programs of `platform` start; pure.

    `native` are the architectures of this machine, `registered` those that the kernel has a working entry for, `static`
    those that there is a static emulator for. Raises HostError if nothing does it, with the command that mends it.
    """
    name = platform.architecture
    if name in native:
        return "native"
    if name in registered:
        return "registered"
    if name not in static:
        raise HostError(
            f"no static QEMU for {printable(name)} here, and nothing is registered for it",
            "apt install qemu-user-static",
        )
    if kernel < PRIVATE_BINFMT:
        raise no_private_binfmt(None, kernel, name)
    return "private"


def native_architectures(device: Device) -> frozenset[str]:
    """The architectures whose programs the device's CPU executes."""
    return frozenset(platform.architecture for platform in device.native)


def _registered(name: str) -> tuple[str, ...]:
    """The architecture, if the host's kernel starts its programs by itself, in containers too; a program shows it."""
    known = architecture.get(name)
    entry = binfmt.matching(binfmt.registrations(), known) if known else None
    return (name,) if known and entry and entry.fixed and works(known).ok else ()


def find_emulators(native: Collection[str], sources: Sequence[EmulatorSource], only: Collection[str] = ()) -> Emulators:
    """A static emulator for each foreign architecture (of `only`, if that names any) that a source has one for."""
    found = {}
    for name in only or architecture.load():
        if name in native:
            continue
        binary = next((each for source in sources if (each := source.find(name)) and each.static), None)
        if binary is not None:
            found[name] = binary
    return found


def arrange(platform: Platform, device: Device, sources: Sequence[EmulatorSource]) -> Arrangement:
    """How programs of `platform` are started here. For native ones nothing is looked for and nothing run.

    Raises HostError if there is no way to start them, with the command that mends it.
    """
    native = native_architectures(device)
    if platform.architecture in native:
        return Arrangement("native")
    registered = _registered(platform.architecture)
    if registered:
        return Arrangement("registered")
    emulators = find_emulators(native, sources)
    way_to_run(platform, native, registered, emulators, kernel_version())
    return Arrangement("private", emulators)


def register_privately(emulators: Emulators) -> None:
    """In a new user and mount namespace: mount its binfmt_misc and register `emulators`. Raises HostError."""
    try:
        binfmt.mount()
        for name, binary in emulators.items():
            known = architecture.get(name)
            if known is not None:
                binfmt.register(binfmt.register_line(known, str(binary.path), binary.flags))
    except BinfmtError as error:
        if not binfmt.mounted():
            raise no_private_binfmt(error.errno, kernel_version(), "ARCH") from error
        raise HostError(f"the private binfmt_misc cannot be filled: {error}") from error
    except PlatformsError as error:
        raise HostError(str(error), error.hint) from error


def emulate(
    platforms: Sequence[Platform], argv: Sequence[str], device: Device, sources: Sequence[EmulatorSource]
) -> int:
    """Run a command in a private emulation and wait for it; its exit code, 128 and the number where a signal ended it.

    The command sees its own user and group, and has in its user namespace the rights to change its root, to mount and
    to make namespaces. `platforms` are those that must be there; all that can be are registered if there are none.

    Raises UsageError, HostError, ProgramNotFound, CannotExecute.
    """
    if not argv:
        raise UsageError("no command to run")
    native = native_architectures(device)
    wanted = [platform.architecture for platform in platforms]
    emulators = find_emulators(native, sources, wanted)
    for platform in platforms or ([] if emulators else [Platform("linux", "any architecture")]):
        way_to_run(platform, native, (), emulators, kernel_version())
    if kernel_version() < PRIVATE_BINFMT and emulators:
        raise no_private_binfmt(None, kernel_version(), next(iter(emulators)))
    root = os.geteuid() == 0

    outer = same_ids() if root else as_root()

    def command() -> Sequence[str]:
        if not root:
            syscalls.keep_capabilities(_KEPT)
        return argv

    launch = Launch(
        command,
        lambda: register_privately(emulators),
        outer=outer,
        inner=None if root else outer.undone(),  # only root can fill the table, and then the user is itself again
        pid_namespace=False,
    )
    return exit_code(_started(launch, argv[0]))


def _started(launch: Launch, program: str) -> int:
    shown = printable(program, 200)
    try:
        return launch.run()
    except (FileNotFoundError, NotADirectoryError) as error:
        if "/" in program and Path(program).exists():
            raise ProgramNotFound(f"{shown!r}: its interpreter does not exist") from error
        raise ProgramNotFound(f"{shown!r} is not there") from error
    except OSError as error:
        raise CannotExecute(f"{shown!r} cannot be executed: {error.strerror}") from error


def exit_code(status: int) -> int:
    """The code that a shell gives for a wait status: 128 and the signal's number where one ended the program."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
