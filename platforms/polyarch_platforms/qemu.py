"""Where QEMU's user-mode emulators are, what they can do, and whether they run a program of their architecture."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from polyarch_platforms.architecture import Architecture
from polyarch_platforms.elf import read_elf
from polyarch_platforms.errors import ElfError
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.tiny import expected_output, tiny_program

Version = tuple[int, ...]

# The wrappers' folders of Debian (qemu-user-static, qemu-user-binfmt) stand behind the usual places for programs.
_FOLDERS = ("/usr/local/bin", "/usr/bin", "/usr/libexec/qemu-binfmt")
_SECONDS = 20
_MAX_OUTPUT = 4096
_VERSION = re.compile(r"\bversion (\d+)\.(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class QemuBinary:
    """An emulator on this machine.

    path            what is registered or started
    static          it needs nothing of the file system: flag F then serves containers, too
    """

    path: Path
    static: bool

    @property
    def build(self) -> str:
        """The line that `--version` says; "" where it says none. The program is run when this is first asked."""
        # Started under its own name, a wrapper takes `--version` for the program to run.
        program = self.path.resolve() if _is_wrapper(self.path) else self.path
        try:
            changed = program.stat().st_mtime_ns
        except OSError:
            return ""
        return _build(program, changed)

    @property
    def version(self) -> Version | None:
        """As numbers (7, 2, 22); None where `build` does not tell."""
        return version_of(self.build)

    @property
    def preserve_argv0(self) -> bool:
        """Register it with flag P: it knows the further argument (a wrapper `*-binfmt-P` always expects it)."""
        version = None if _is_wrapper(self.path) else self.version
        return knows_preserve_argv0(self.path, version, kernel_version())

    @property
    def flags(self) -> str:
        """The flags for binfmt_misc that serve containers best: F where it is static, P where it is known."""
        return ("F" if self.static else "") + ("P" if self.preserve_argv0 else "")


def find(architecture: Architecture, directories: Iterable[Path] | None = None) -> QemuBinary | None:
    """The best emulator for the architecture: a static one before others, a wrapper last, then by folder; or None.

    `directories` are looked through in this order; None: those of PATH, then the usual ones. Runs nothing.
    """
    best = sorted(_all(architecture, directories), key=lambda one: (not one.static, _is_wrapper(one.path)))
    return best[0] if best else None


def find_for_registration(architecture: Architecture) -> QemuBinary | None:
    """The best emulator to register for the whole machine: as `find`, but one that knows flag P before others."""
    best = sorted(_all(architecture), key=lambda one: (not one.static, not one.preserve_argv0, _is_wrapper(one.path)))
    return best[0] if best else None


def _all(architecture: Architecture, directories: Iterable[Path] | None = None) -> list[QemuBinary]:
    """Every emulator for the architecture, by folder; sorting is stable, so that their order decides in the end."""
    if directories is None:
        listed = os.get_exec_path()
        # Resolved, because /bin and /usr/bin are often one.
        directories = dict.fromkeys(Path(one).resolve() for one in (*listed, *_FOLDERS) if one.startswith("/"))
    found = (
        inspect(folder / name)
        for folder in directories
        for name in (f"qemu-{architecture.qemu}-static", f"qemu-{architecture.qemu}", f"{architecture.qemu}-binfmt-P")
        if os.access(folder / name, os.X_OK) and (folder / name).is_file()
    )
    return [one for one in found if one is not None]


def inspect(path: Path) -> QemuBinary | None:
    """What the emulator at that path is; None where it is no program of ELF form that can be read."""
    try:
        with path.open("rb") as file:
            return QemuBinary(path, read_elf(file).static)
    except (OSError, ElfError):
        return None


def _is_wrapper(path: Path) -> bool:
    return path.name.endswith("-binfmt-P")


@cache
def _build(path: Path, changed: int = 0) -> str:
    return _first_line(run([str(path), "--version"]).output)


def _first_line(output: bytes) -> str:
    """The first line, if it is one that QEMU's emulators say of themselves."""
    line = output.partition(b"\n")[0].decode(errors="replace")
    return line if _VERSION.search(line) else ""


def version_of(build: str) -> Version | None:
    """`qemu-aarch64 version 7.2.22 (Debian …)` -> 7, 2, 22; None for anything else."""
    match = _VERSION.search(build)
    return tuple(int(part) for part in match.groups("0")) if match else None


def kernel_version(release: str | None = None) -> Version:
    """The first two numbers of a kernel's release (`6.1.0-37-arm64` -> 6, 1); None: of the running one."""
    match = re.match(r"(\d+)\.(\d+)", release if release is not None else os.uname().release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def knows_preserve_argv0(path: Path, version: Version | None, kernel: Version) -> bool:
    """Whether flag P is right for this emulator: else every program's arguments are shifted by one.

    A name that ends in `-binfmt-P` is Debian's (patch linux-user-binfmt-P: the name says that P is set). Others learn
    it from the kernel's AT_FLAGS: since QEMU 6.0 (linux-user/main.c) and Linux 5.12 (fs/binfmt_elf.c).
    """
    return _is_wrapper(path) or (version is not None and version >= (6,) and kernel >= (5, 12))


# Intermittent crashes of emulated programs, by their users' reports: tonistiigi/binfmt, issues 215 and 240. The fix for
# 9.2 came with 9.2.2 (QEMU issue 1913).
_KNOWN_BAD = (((5, 2), (5, 3)), ((9, 2, 0), (9, 2, 2)))


def known_bad(version: Version | None) -> str | None:
    """One sentence on a version whose emulation is known to crash, or None."""
    for first, fixed in _KNOWN_BAD:
        if version is not None and first <= version < fixed:
            number = ".".join(map(str, version))
            return f"QEMU {number} is known to crash in some programs; another version is advised"
    return None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code (None where it did not start or a signal ended it), what it wrote to standard
    output, and, unless it ended with 0, why in words."""

    code: int | None
    output: bytes
    trouble: str | None


def run(argv: Sequence[str], *, executable: str | None = None, folder: str | None = None) -> Ended:
    """Starts a program (argv[0], unless `executable` names another) in `folder`, and waits for it."""
    import subprocess

    try:
        done = subprocess.run(
            argv,
            executable=executable,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
        )
    except OSError as error:
        return Ended(None, b"", f"the kernel does not start it: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Ended(None, b"", f"it did not end within {_SECONDS} seconds")
    code = done.returncode
    if code == 0:
        return Ended(0, done.stdout[:_MAX_OUTPUT], None)
    if code < 0:
        ended = f"it was killed by signal {-code} ({signal.strsignal(-code)})"
    else:
        ended = f"it ended with {code}"
    said = done.stderr[:_MAX_OUTPUT].decode(errors="replace").strip().splitlines()
    return Ended(code if code > 0 else None, done.stdout[:_MAX_OUTPUT], f"{ended}: {said[-1]}" if said else ended)


@dataclass(frozen=True, slots=True)
class Works:
    """Whether the tiny program of an architecture ran: `output` is what it wrote, `reason` why it did not."""

    ok: bool
    output: str
    reason: str | None


def works(architecture: Architecture, binary: QemuBinary | None = None, *, in_empty_root: bool = False) -> Works:
    """Runs the architecture's tiny program: by the kernel, with whatever it has registered, or by `binary`.

    `in_empty_root` runs it in a chroot that holds nothing else, as a container without an emulator inside does; that
    takes root. The answer to believe: what an entry's flags promise, this shows.
    """
    with _tiny(architecture) as (folder, program):
        argv = [program]
        if binary is not None:
            # A wrapper gets what the kernel gives with flag P: the program's path, then its argv[0].
            argv = [str(binary.path), *argv, *(argv if _is_wrapper(binary.path) else ())]
        elif in_empty_root:
            import shutil

            path = os.pathsep.join((*os.get_exec_path(), "/usr/sbin", "/sbin"))  # seldom in an ordinary user's PATH
            argv = [shutil.which("chroot", path=path) or "chroot", folder, "/program"]
        ended = run(argv)
    output = ended.output.decode(errors="replace").strip()
    if ended.code == 0 and ended.output != expected_output(architecture):
        return Works(False, output, "it wrote something else")
    return Works(ended.code == 0, output, ended.trouble)


def build_in_use(architecture: Architecture) -> str:
    """What the emulator that the kernel has registered says of itself, as `QemuBinary.build`; "" where it is no QEMU.

    Asked is the one in use: with flag F that is the file that was opened when the entry was made, whatever lies on the
    disk by now. QEMU's emulators take options from the environment, too (linux-user/main.c, arg_table).
    """
    with _tiny(architecture) as (_, program):
        return _first_line(run(["env", "QEMU_VERSION=1", program]).output)


@contextmanager
def _tiny(architecture: Architecture) -> Iterator[tuple[str, str]]:
    """A folder that holds nothing but the architecture's tiny program, and the program's path."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="polyarch-") as name:
        program = Path(name, "program")
        program.write_bytes(tiny_program(architecture))
        program.chmod(0o755)
        yield name, str(program)
