"""Installs QEMU's user-mode emulators into the kernel's binfmt_misc table, and takes them away without a trace.

The entry comes from QEMU's own qemu-binfmt-conf.sh where the host has it, else from the architecture's data; it is kept
in the host's way (`emulator_ways`). Somebody else's entry is only replaced when asked to, and comes back on removal.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from polyarch_platforms import binfmt, emulator_ways, qemu, qemu_script
from polyarch_platforms.architecture import Architecture
from polyarch_platforms.binfmt import TABLE, Registration
from polyarch_platforms.elf import platform_of, read_elf
from polyarch_platforms.emulator_record import STATE_DIR, Record, State, Store, Way, boot_id
from polyarch_platforms.errors import BinfmtError, ElfError, QemuError, quoted
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.qemu import QemuBinary

_INSTALL_QEMU = "apt install qemu-user-static"


@dataclass(frozen=True, slots=True)
class Installed:
    """One emulator that serves now.

    status              `present`: somebody else's entry, which was left alone
    interpreter, flags  of the entry
    way                 how polyarch made it; None where it did not
    at_boot             what registers it again at each boot: a file of systemd-binfmt's, or `update-binfmts`; None
                        where it is gone after a reboot
    script              the one that made the line, if one did
    """

    arch: str
    status: Literal["installed", "replaced", "present"]
    interpreter: str
    flags: str
    way: Way | None
    at_boot: str | None
    script: str | None


@dataclass(frozen=True, slots=True)
class Removed:
    """`restored`: what had been replaced is back. `absent`: polyarch had not installed it; what there is was left.

    `note` tells why something that had been replaced is not back.
    """

    arch: str
    status: Literal["removed", "restored", "gone", "absent"]
    note: str | None = None


@dataclass(frozen=True, slots=True)
class _Options:
    script: Path | None
    persistent: bool | None
    fix_binary: bool | None
    credential: bool
    preserve_argv0: bool | None
    qemu_path: Path | None
    qemu_suffix: str
    force: bool


@dataclass(frozen=True, slots=True)
class _Step:
    """What is to be done for one architecture; `record` is None where somebody else's entry serves."""

    architecture: Architecture
    entry: Registration
    record: Record | None
    status: Literal["installed", "replaced", "present"]


def install(
    architectures: Iterable[Architecture],
    *,
    script: Path | None = None,
    persistent: bool | None = None,
    fix_binary: bool | None = None,
    credential: bool = False,
    preserve_argv0: bool | None = None,
    qemu_path: Path | None = None,
    qemu_suffix: str = "",
    force: bool = False,
    root: Path = TABLE,
    state_dir: Path = STATE_DIR,
) -> tuple[Installed, ...]:
    """Registers an emulator for each architecture and proves that it runs a program; mounts binfmt_misc if need be.

    `script` is the path of QEMU's script (None: the host's, if it has one). `persistent` entries survive a reboot by
    the host's own means (True: or there is none at all; False: they do not; None: if the host has such means). Of the
    flags, `fix_binary` sets F (None: where QEMU is static, because only that serves containers), `credential` C, and
    `preserve_argv0` P (None: where this QEMU knows it). `qemu_path` and `qemu_suffix` name the binary: `qemu-CPU` and
    the suffix in that folder (neither given: the best one found). `force` replaces somebody else's entry. What polyarch
    installed before is made again, so that flag F takes the QEMU that is on the disk now.

    All is checked before anything is changed. Raises QemuError (no such QEMU, an architecture that this machine runs
    itself, an entry in the way, a script that fails, an emulator that does not run, no means to survive a reboot) and
    BinfmtError (the kernel's).
    """
    if script is None:
        script = qemu_script.find_script()
    options = _Options(script, persistent, fix_binary, credential, preserve_argv0, qemu_path, qemu_suffix, force)
    with _session(root, state_dir, mount=True) as session:
        if not binfmt.table_enabled(root):
            raise BinfmtError("binfmt_misc is switched off as a whole", f"echo 1 > {root / 'status'}")
        steps = [_plan(one, options, session.state, root) for one in architectures]
        for step in steps:
            if step.record is not None:
                _do(step.architecture, step.record, session, root)
    return tuple(
        Installed(
            arch=step.architecture.name,
            status=step.status,
            interpreter=step.entry.interpreter,
            flags=step.entry.flags,
            way=step.record.way if step.record else None,
            at_boot=_at_boot(step),
            script=str(script) if step.record and script else None,
        )
        for step in steps
    )


def _at_boot(step: _Step) -> str | None:
    if step.record is None:
        return emulator_ways.at_boot(step.entry)
    return step.record.file or (None if step.record.way == "kernel" else step.record.way)


def remove(
    architectures: Iterable[Architecture], *, root: Path = TABLE, state_dir: Path = STATE_DIR
) -> tuple[Removed, ...]:
    """Takes away what `install` made, and only that; what it had replaced comes back. Raises QemuError, BinfmtError."""
    told = []
    with _session(root, state_dir, mount=False) as session:
        for architecture in architectures:
            record = session.state.records.get(architecture.name)
            if record is None:
                told.append(Removed(architecture.name, "absent"))
            else:
                told.append(Removed(architecture.name, *emulator_ways.take(record, root)))
                session.keep(architecture, None)
    return tuple(told)


class _Session:
    """The state under lock; each change is on the disk before the next step."""

    def __init__(self, store: Store, state: State) -> None:
        self._store = store
        self.state = state

    def change(self, **fields: Any) -> None:
        self.state = replace(self.state, **fields)
        self._store.save(self.state)

    def keep(self, architecture: Architecture, record: Record | None) -> None:
        others = {name: one for name, one in self.state.records.items() if name != architecture.name}
        self.change(records=others | ({architecture.name: record} if record else {}))


@contextmanager
def _session(root: Path, state_dir: Path, *, mount: bool) -> Iterator[_Session]:
    """With nothing installed in the end, a binfmt_misc that install mounted is unmounted, if nobody else uses it."""
    store = Store(state_dir)
    with store.locked() as state:
        session = _Session(store, state)
        try:
            if mount and not binfmt.mounted(root):
                session.change(mounted_in_boot=boot_id())
                binfmt.mount(root)
            yield session
        finally:
            if not session.state.records:
                if session.state.mounted_in_boot == boot_id() and binfmt.mounted(root) and binfmt.empty(root):
                    binfmt.unmount(root)
                session.change(mounted_in_boot="")


def _plan(architecture: Architecture, options: _Options, state: State, root: Path) -> _Step:
    ours = state.records.get(architecture.name)
    serving = binfmt.matching(binfmt.registrations(root), architecture)
    if serving is None and qemu.works(architecture).ok:
        raise QemuError(f"this machine runs {architecture.name} programs itself: an emulator would only get in the way")
    if serving is not None and not options.force and not (ours and serving.same_as(ours.entry)):
        _check_present(architecture, serving, options)
        return _Step(architecture, serving, None, "present")

    binary = _binary(architecture, options)
    flags = _flags(binary, options)
    if (result := qemu.works(architecture, binary)).reason:
        raise _does_not_run(architecture, str(binary.path), result.reason)
    if options.script is not None:
        entry = qemu_script.registration(options.script, architecture, binary.path, flags)
    else:
        entry = binfmt.registration(architecture, str(binary.path), flags)

    occupant = emulator_ways.named(entry.name, root)
    again = ours is not None and occupant is not None and occupant.same_as(ours.entry)
    foreign = None if again else occupant
    record = emulator_ways.record(entry, _way(entry.name, ours, options), foreign)
    foreign_file = record.file if record.file_before is not None else None
    if ours is not None:
        # What comes back on removal is what was there before polyarch's first entry.
        if again:
            record = replace(record, replaced=ours.replaced, replaced_enabled=ours.replaced_enabled)
        if record.file_before == ours.file_content:
            record = replace(record, file_before=ours.file_before)
            foreign_file = None
    if (
        foreign
        and not foreign.enabled
        and not options.force
        and binfmt.matching([replace(foreign, enabled=True)], architecture)
    ):
        raise QemuError(
            f"the binfmt_misc entry {quoted(foreign.name)} is switched off; polyarch did not make it",
            f"echo 1 > {root / foreign.name}",
        )
    if (foreign or foreign_file) and not options.force:
        there = foreign_file or f"the binfmt_misc entry {quoted(entry.name)}"
        raise QemuError(f"{there} is in the way: polyarch did not make it", _force(architecture))
    return _Step(architecture, entry, record, "replaced" if foreign or foreign_file else "installed")


def _check_present(architecture: Architecture, serving: Registration, options: _Options) -> None:
    """Somebody else's entry must do what was asked for, and work."""
    there = f"{architecture.name} is registered already, not by polyarch: {quoted(serving.name)} with "
    there += f"{serving.interpreter} and flags {serving.flags or '(none)'}"
    asked = {"F": options.fix_binary, "C": options.credential, "P": options.preserve_argv0}
    missing = [flag for flag, wanted in asked.items() if wanted and flag not in serving.flags]
    path = _asked_path(architecture, options)
    if missing or (path is not None and path != Path(serving.interpreter)):
        raise QemuError(there, _force(architecture))
    if options.persistent and emulator_ways.at_boot(serving) is None:
        raise QemuError(f"{there}; nothing registers that again after a reboot", _force(architecture))
    result = qemu.works(architecture)
    if not result.ok:
        raise QemuError(f"{there}; but its programs do not run: {result.reason}", _force(architecture))


def _force(architecture: Architecture) -> str:
    return f"polyarch emulator install --force {architecture.name} (emulator remove puts back what it replaced)"


def _way(name: str, ours: Record | None, options: _Options) -> Way:
    """How an entry is kept. Raises QemuError where it is to survive a reboot, and nothing here would register it."""
    if options.persistent is False:
        return "kernel"
    if ours is not None and options.persistent is None:
        return ours.way
    way, lacking = emulator_ways.way_for(name)
    if options.persistent and way == "kernel":
        raise QemuError(
            f"{name} would not survive a reboot: {lacking}",
            "apt install binfmt-support; without --persistent it is registered until the reboot",
        )
    return way


def _asked_path(architecture: Architecture, options: _Options) -> Path | None:
    """The emulator that the options name, None where they leave the choice."""
    if options.qemu_path is None and not options.qemu_suffix:
        return None
    name = f"qemu-{architecture.qemu}{options.qemu_suffix}"
    if options.qemu_path is not None:
        return options.qemu_path.absolute() / name
    found = shutil.which(name)
    if found is None:
        raise QemuError(f"there is no {name} on PATH", "name its folder with --qemu-path")
    return Path(found)


def _binary(architecture: Architecture, options: _Options) -> QemuBinary:
    path = _asked_path(architecture, options)
    binary = qemu.find_for_registration(architecture) if path is None else qemu.inspect(path)
    if binary is None:
        what = path or f"qemu-{architecture.qemu}-static or qemu-{architecture.qemu}"
        raise QemuError(f"no emulator for {architecture.name}: there is no {what}", _INSTALL_QEMU)
    with suppress(ElfError, OSError), binary.path.open("rb") as file:
        if platform_of(read_elf(file)).architecture == architecture.name:
            raise QemuError(f"{binary.path} is itself a program for {architecture.name}: it would be called for itself")
    return binary


def _flags(binary: QemuBinary, options: _Options) -> str:
    if options.fix_binary and not binary.static:
        raise QemuError(
            f"{binary.path} is not static: flag F would only move its failure into the containers", _INSTALL_QEMU
        )
    if options.preserve_argv0 and not binary.preserve_argv0:
        raise QemuError(
            f"{binary.path} does not know flag P: the arguments of all programs would be shifted",
            "leave --preserve-argv0 out, or install QEMU 6.0 or newer",
        )
    fixed = binary.static if options.fix_binary is None else options.fix_binary
    preserve = binary.preserve_argv0 if options.preserve_argv0 is None else options.preserve_argv0
    return ("OC" if options.credential else "") + ("F" if fixed else "") + ("P" if preserve else "")


def _do(architecture: Architecture, record: Record, session: _Session, root: Path) -> None:
    """Registers it and proves that it works; else all is as before. The record comes first: a crash leaves no stray."""
    before = session.state.records.get(architecture.name)
    session.keep(architecture, record)
    other_way = before if before and (before.way, before.file) != (record.way, record.file) else None
    if other_way:
        emulator_ways.forget(other_way)
    try:
        emulator_ways.put(record, root)
    except (BinfmtError, QemuError):
        if other_way:
            emulator_ways.put(other_way, root)
        session.keep(architecture, before)
        raise
    result = qemu.works(architecture)
    if not result.ok:
        _, note = emulator_ways.take(record, root)
        session.keep(architecture, None)
        raise _does_not_run(architecture, record.entry.interpreter, f"{result.reason}{f'; {note}' if note else ''}")


def _does_not_run(architecture: Architecture, interpreter: str, reason: str | None) -> QemuError:
    return QemuError(f"{interpreter} does not run {architecture.name} programs: {reason}", _INSTALL_QEMU)
