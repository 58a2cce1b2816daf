"""Any command of the host's, with foreign programs emulated: what `polyarch emulate` does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from types import MappingProxyType

from polyarch.container import syscalls
from polyarch.container.cgroups import hide_second_version
from polyarch.container.emulation import (
    Emulators,
    exit_code,
    explicit_warning,
    explicit_words,
    find_emulators,
    for_private,
    native_architectures,
    private_refusal,
    register_privately,
    registered_emulator,
    script_words,
    way_to_run,
)
from polyarch.container.failures import CannotExecute, ProgramNotFound
from polyarch.container.id_maps import as_root, same_ids_in_parts
from polyarch.container.launch import Launch
from polyarch.contract.others import EmulatorSource
from polyarch.errors import HostError, UsageError, printable
from polyarch.events import Emit, Warned, ignore
from polyarch_platforms import architecture, qemu_cpu
from polyarch_platforms.device import Device
from polyarch_platforms.elf import platform_of, read_elf
from polyarch_platforms.errors import ElfError
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform
from polyarch_platforms.qemu import QemuBinary

# What a command needs in order to change its root and make user namespaces of its own. Not CAP_SYS_ADMIN: podman would
# believe itself root (containers/podman, pkg/rootless); who wants to mount is root in a further namespace.
_KEPT = (
    syscalls.CAP_SYS_CHROOT,
    syscalls.CAP_SETUID,
    syscalls.CAP_SETGID,
    syscalls.CAP_SETFCAP,
)
_MAX_SCRIPTS = 5  # Linux, fs/exec.c: an interpreter may be a script itself, to this depth
_FIRST_LINE = 256  # Linux, binfmts.h: BINPRM_BUF_SIZE


def emulate(
    platforms: Sequence[Platform],
    argv: Sequence[str],
    device: Device,
    sources: Sequence[EmulatorSource],
    *,
    credential: bool = False,
    environ: Mapping[str, str] = MappingProxyType({}),
    emit: Emit = ignore,
) -> int:
    """Run a command with foreign programs emulated, and wait for it; its exit code, 128 and the number of a signal.

    In a private emulation the command sees its own user and group, and has in its user namespace the rights to change
    its root and to make namespaces; root also those to mount. `platforms` are those that must be there; all that can be
    are registered if there are none. `credential`: foreign setuid programs get their rights, and so does their
    emulator. It changes nothing where no program may get new rights: in containers, which run with no_new_privs.

    Where there can be no private table, the host's registrations serve, else proot, else the emulator by name, with a
    warning for `emit` that says what will not work. `environ` are the caller's variables.

    Raises UsageError, HostError, ProgramNotFound, CannotExecute.
    """
    if not argv:
        raise UsageError("no command to run")
    if not argv[0]:
        raise ProgramNotFound("'' is not there")
    if foreign := next((each for each in platforms if each.os != "linux"), None):
        raise UsageError(f"programs of {foreign} cannot be emulated", "name a platform of Linux, such as linux/arm64")
    native = native_architectures(device)
    wanted = [platform for platform in platforms if platform.architecture not in native]
    refusal = private_refusal()
    if refusal is None:
        emulators = for_a_table(wanted, native, sources, everything=not platforms)
        variables = _variables(wanted, next(iter(emulators.values()), None), environ)

        def mounts() -> None:
            hide_second_version()  # from podman's crun as from this program's own
            register_privately(emulators, credential=credential)

        return _Start(argv, argv[0], variables).in_namespaces(mounts)
    if credential:
        hint = "as root: polyarch emulator install --credential"
        raise HostError(f"{refusal.message}: setuid programs cannot be given rights", hint)
    return _without_a_table(wanted, argv, native, sources, environ, refusal, emit)


def for_a_table(
    wanted: Sequence[Platform], native: Collection[str], sources: Sequence[EmulatorSource], *, everything: bool
) -> Emulators:
    """What a private table has to register: for the `wanted` platforms, none of them native, or for `everything`.

    Raises HostError if what is wanted has no emulator that can be."""
    if everything:
        emulators = find_emulators(native, sources) or find_emulators(native, sources, needed=architecture.load())
        if not emulators:
            way_to_run(Platform("linux", "any architecture"), native, (), (), private=True)
        return emulators
    names = [platform.architecture for platform in wanted]
    emulators = for_private(native, sources, names)
    if missing := [name for name in names if name not in emulators]:
        emulators |= find_emulators(native, sources, missing, needed=missing)
    for platform in wanted:
        way_to_run(platform, native, (), emulators, private=True)
    return emulators


def _without_a_table(
    wanted: Sequence[Platform],
    argv: Sequence[str],
    native: Collection[str],
    sources: Sequence[EmulatorSource],
    environ: Mapping[str, str],
    refusal: HostError,
    emit: Emit,
) -> int:
    """The command by what the host has registered, else by proot, else by its emulator by name."""
    program = foreign_program(argv, native)
    names = [platform.architecture for platform in wanted] or ([program.architecture] if program else [])
    if names and (registered := registered_emulator(names[0])) and all(map(registered_emulator, names[1:])):
        start = _Start(argv, argv[0], _variables(wanted, registered, environ))
        try:
            return start.in_namespaces(lambda: None)
        except HostError:  # no user namespace: then without the rights that it gives
            return start.run()
    if program is None and shutil.which(argv[0]) is None:
        return _Start(argv, argv[0]).run()  # it does not start, and is told why
    if program is not None and (not wanted or program.architecture in names):
        name = program.architecture
    elif len(names) == 1:
        name = names[0]
    else:
        hint = "name one: --platform linux/ARCH; or register all, as root: polyarch emulator install"
        raise HostError(f"{refusal.message}: only one architecture can be emulated without it", hint)
    emulators = find_emulators(native, sources, [name], needed=[name], dynamic=True)
    way_to_run(Platform("linux", name), native, (), emulators, private=False)
    binary = emulators[name]
    emulator = str(binary.path.resolve())  # a wrapper is a link to the emulator, and wants other words
    variables = _variables(wanted, binary, environ)
    if proot := shutil.which("proot"):
        emit(Warned(proot_warning(name, refusal)))
        return _Start((proot, "-q", emulator, *argv), argv[0], variables).run()
    if program is None:
        raise HostError(
            f"{refusal.message}: '{printable(argv[0], 200)}' is no {name} program, and those that it starts cannot be "
            "emulated",
            "apt install proot",
        )
    emit(Warned(explicit_warning(name, refusal)))
    return _Start(explicit_words(emulator, program.argv, program.path), argv[0], variables).run()


def _variables(wanted: Sequence[Platform], binary: QemuBinary | None, environ: Mapping[str, str]) -> dict[str, str]:
    """What an emulator needs where one platform is named; the caller's own stay."""
    found = qemu_cpu.variables(wanted[0], binary) if len(wanted) == 1 else {}
    return {name: text for name, text in found.items() if name not in environ}


def proot_warning(name: str, refusal: HostError) -> str:
    """What does not work under proot, and what lets all of it work."""
    return (
        f"{refusal.message}: proot emulates {name} programs, and no others; it needs ptrace, is slow, gives setuid "
        f"programs no rights, and a program that a signal ends counts as 255 (without all that, as root: polyarch "
        f"emulator install {name})"
    )


@dataclass(frozen=True, slots=True)
class ForeignProgram:
    """An ELF file of another architecture, and the words that it is started with (of a script: the interpreter's)."""

    architecture: str
    path: str
    argv: tuple[str, ...]


def foreign_program(argv: Sequence[str], native: Collection[str]) -> ForeignProgram | None:
    """What a command starts, through `#!` lines, if that is an ELF file that this machine does not execute itself."""
    words, path = tuple(argv), shutil.which(argv[0])
    for _ in range(_MAX_SCRIPTS):
        if path is None:
            return None
        try:
            with Path(path).open("rb") as file:
                script = script_words(file.read(_FIRST_LINE), path, words)
                if script is None:
                    name = platform_of(read_elf(file)).architecture
                    return None if name in native else ForeignProgram(name, path, words)
        except (OSError, ElfError):
            return None
        words, path = script, script[0]
    return None


@dataclass(frozen=True, slots=True)
class _Start:
    """A command as its words, what the user calls it, and variables that are added to this process's."""

    words: Sequence[str]
    name: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def in_namespaces(self, mounts: Callable[[], None]) -> int:
        """In a user namespace, as the user that it is, with the rights that chroot and containers need."""
        root = os.geteuid() == 0
        outer = same_ids_in_parts() if root else as_root()

        def command() -> Sequence[str]:
            if not root:
                syscalls.keep_capabilities(_KEPT)
            return self._command()

        # Only root can fill the table; after that the user is itself again.
        inner = None if root else outer.undone()
        return self._ended(Launch(command, mounts, outer=outer, inner=inner, pid_namespace=False))

    def run(self) -> int:
        """In no namespace, with no right but the caller's."""
        return self._ended(Launch(self._command, None, pid_namespace=False))

    def _command(self) -> Sequence[str]:
        for name, text in self.variables.items():
            os.putenv(name, text)
        return self.words

    def _ended(self, launch: Launch) -> int:
        shown = printable(self.name, 200)
        try:
            return exit_code(launch.run())
        except (FileNotFoundError, NotADirectoryError) as error:
            if "/" in self.name and Path(self.name).exists():
                raise ProgramNotFound(f"{shown!r}: its interpreter does not exist") from error
            raise ProgramNotFound(f"{shown!r} is not there") from error
        except OSError as error:
            raise CannotExecute(f"{shown!r} cannot be executed: {error.strerror}") from error
