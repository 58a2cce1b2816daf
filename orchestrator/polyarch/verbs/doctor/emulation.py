"""QEMU, the kernel's binfmt_misc, and the private emulation, which is really tried."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from polyarch.container.emulation import (
    Emulators,
    find_emulators,
    native_architectures,
    register_privately,
    registered_emulator,
)
from polyarch.container.id_maps import as_root, same_ids
from polyarch.container.refusals import PRIVATE_BINFMT
from polyarch.contract.others import EmulatorSource
from polyarch.errors import HostError
from polyarch.verbs.doctor.check import Check, Mend, apt_install, refused, words
from polyarch.verbs.doctor.trial import inside
from polyarch_platforms import architecture, binfmt, qemu
from polyarch_platforms.binfmt import Registration
from polyarch_platforms.device import Device
from polyarch_platforms.errors import PlatformsError
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.qemu import QemuBinary, kernel_version

_PACKAGE = "qemu-user-static"


def emulators(device: Device, sources: Sequence[EmulatorSource]) -> Iterator[Check]:
    """What QEMU there is for foreign architectures: version, static or not, where."""
    native = native_architectures(device)
    found: dict[str, QemuBinary] = {}
    for name in architecture.load():
        binary = next((each for source in sources if (each := source.find(name))), None)
        if name not in native and binary is not None:
            found[name] = binary
    lacking = [name for name in architecture.load() if name not in native and name not in found]
    versions = {name: binary.version for name, binary in found.items()}
    yield from judge_emulators(found, versions, lacking)


def judge_emulators(
    found: Mapping[str, QemuBinary], versions: Mapping[str, tuple[int, ...] | None], lacking: Sequence[str]
) -> Iterator[Check]:
    """A check for each kind of emulator: those of one version in one folder are one kind."""
    kinds: dict[tuple[tuple[int, ...] | None, bool, Path], list[str]] = {}
    for name, binary in found.items():
        kinds.setdefault((versions[name], binary.static, binary.path.parent), []).append(name)
    for (version, static, folder), names in kinds.items():
        number = ".".join(map(str, version)) if version else "of unknown version"
        fact = f"{number} in {folder} for {', '.join(names)}"
        bad = qemu.known_bad(version)
        if bad:
            yield Check("QEMU", "warning", f"{fact}: {bad}", apt_install(_PACKAGE))
        elif version is None:
            mend = Mend(f"apt install --reinstall {_PACKAGE}", as_root=True)
            yield Check("QEMU", "warning", f"{fact}: it does not tell its version, so it may not run", mend)
        elif not static:
            fact += ": not statically linked, so of no use inside containers"
            yield Check("QEMU", "warning", fact, apt_install(_PACKAGE))
        else:
            yield Check("QEMU", "ok", fact)
    if lacking and found:
        yield Check("QEMU", "ok", f"none for {', '.join(lacking)}")
    elif lacking:
        yield Check("QEMU", "warning", f"none for {', '.join(lacking)}", apt_install(_PACKAGE))


def private_emulation(
    device: Device, sources: Sequence[EmulatorSource], namespaces: bool, kernel: tuple[int, ...] | None = None
) -> Check:
    """Whether a foreign program runs in a namespace with a binfmt_misc of its own: each architecture is tried.

    `namespaces` says that user namespaces can be made.
    """
    name = "private emulation"
    static = find_emulators(native_architectures(device), sources)
    if (kernel or kernel_version()) < PRIVATE_BINFMT:
        fact = f"Linux {os.uname().release} has none (6.7 and newer have)"
        missing = [arch for arch in static if registered_emulator(arch) is None]
        if static and not missing:
            return Check(name, "ok", f"{fact}; what is registered serves")
        fact += ": what shall run has to be registered"
        fact += f", which is not so for {', '.join(missing)}" if missing else ""
        return Check(name, "warning", fact, Mend("polyarch emulator install", as_root=True))
    if not namespaces:
        return Check(name, "skipped", "it needs user namespaces")
    if not static:
        return Check(name, "skipped", "it needs a static QEMU")
    try:
        reasons = _tried(static)
    except (HostError, OSError) as error:
        return refused(name, error if isinstance(error, HostError) else HostError(str(error)), "warning")
    failed = {arch: reason for arch, reason in reasons.items() if reason}
    if failed:
        arch, reason = next(iter(failed.items()))
        mend = Mend(f"apt install --reinstall {_PACKAGE}", as_root=True)
        return Check(name, "warning", f"programs for {', '.join(failed)} do not run ({arch}: {reason})", mend)
    return Check(name, "ok", f"a program ran for {', '.join(reasons)}")


def _tried(emulators: Emulators) -> dict[str, str | None]:
    """For each architecture why its program did not run, None if it did. Raises HostError, OSError."""
    root = os.geteuid() == 0
    outer = same_ids() if root else as_root()

    def run() -> str:
        known = architecture.load()
        return json.dumps({name: qemu.works(known[name]).reason for name in emulators})

    said = inside(
        run,
        lambda: register_privately(emulators),
        outer=outer,
        inner=None if root else outer.undone(),
        pid_namespace=False,
    )
    answer: dict[str, str | None] = json.loads(said)
    return answer


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What an entry's interpreter is: whether it is there, is static, and knows flag P; a `wrapper` counts on it."""

    exists: bool
    static: bool = False
    preserves: bool = False
    wrapper: bool = False


def registered(device: Device, sources: Sequence[EmulatorSource]) -> Iterator[Check]:
    """What the kernel has registered for the whole machine, and what is wrong with it."""
    name = "binfmt_misc"
    if not binfmt.mounted():
        needs = "; polyarch needs none" if kernel_version() >= PRIVATE_BINFMT else ""
        yield Check(name, "ok", f"not mounted{needs}")
        return
    try:
        entries = binfmt.registrations()
        on = binfmt.table_enabled()
    except PlatformsError as error:
        yield Check(name, "warning", str(error))
        return
    if entries and not on:
        mend = Mend(f"echo 1 > {binfmt.TABLE}/status", as_root=True)
        yield Check(name, "warning", f"{len(entries)} registered, but all are switched off", mend)
    native = native_architectures(device)
    static = find_emulators(native, sources)
    troubles = list(judge_entries(entries, native, static, _interpreter))
    yield from troubles
    if on and not troubles:
        shown = ", ".join(entry.name for entry in entries) or "nothing"
        needs = "; polyarch needs none" if kernel_version() >= PRIVATE_BINFMT else ""
        yield Check(name, "ok", f"registered: {shown}{needs}")


def judge_entries(
    entries: Iterable[Registration],
    native: Collection[str],
    static: Collection[str],
    interpreter_of: Callable[[str], Interpreter],
) -> Iterator[Check]:
    """A check for every entry that does harm or serves nobody; `static` are the architectures with a static QEMU."""
    for entry in entries:
        interpreter = interpreter_of(entry.interpreter)
        known = [one for one in architecture.load().values() if binfmt.matching([entry], one)]
        ours = next((one.name for one in known if one.name in native), None)
        arch = known[0].name if known else ""
        if not entry.enabled:
            yield _trouble(entry, "is switched off", _write(entry, "1"))
        elif ours:
            yield _trouble(entry, f"catches programs for {ours}, which this machine runs itself", _write(entry, "-1"))
        elif not interpreter.exists and not entry.fixed:
            yield _trouble(entry, f"names {entry.interpreter}, which is gone", _write(entry, "-1"))
        elif not interpreter.exists or not arch:
            continue  # the kernel keeps a fixed one open; what others register is theirs
        elif entry.fixed and not interpreter.static:
            yield _trouble(entry, f"has flag F, but {entry.interpreter} is not static", _again(arch, static))
        elif "P" in entry.flags and not interpreter.preserves:
            fact = f"has flag P, which {entry.interpreter} does not know: all arguments shift"
            yield _trouble(entry, fact, _again(arch, static))
        elif "P" not in entry.flags and interpreter.wrapper:
            fact = f"lacks flag P, which {entry.interpreter} counts on: all arguments shift"
            yield _trouble(entry, fact, _again(arch, static))


def _trouble(entry: Registration, what: str, mend: Mend) -> Check:
    return Check("binfmt_misc", "warning", f"{entry.name} {what}", mend)


def _write(entry: Registration, text: str) -> Mend:
    return Mend(f"echo {text} > {words(binfmt.TABLE / entry.name)}", as_root=True)


def _again(arch: str, static: Collection[str]) -> Mend:
    install = f"polyarch emulator install --force {arch}"
    return Mend(install if arch in static else f"{apt_install(_PACKAGE).command} && {install}", as_root=True)


def _interpreter(path: str) -> Interpreter:
    if not Path(path).exists():
        return Interpreter(False)
    binary = qemu.inspect(Path(path))
    if binary is None:
        return Interpreter(True)
    return Interpreter(True, binary.static, binary.preserve_argv0, path.endswith("-binfmt-P"))
