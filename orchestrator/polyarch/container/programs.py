"""The program that a container is to start, looked for in its root file system before the runtime is asked.

What the kernel does with it (Linux, fs/exec.c, fs/binfmt_script.c, fs/binfmt_elf.c) is followed here: from the
interpreter of a `#!` line to that one's own, and so on to an ELF file, and to the dynamic loader that it names.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Sequence
from typing import BinaryIO

from polyarch.container.emulation import explicit_words, script_words
from polyarch.container.failures import CannotExecute, ProgramNotFound
from polyarch.container.spec import EMULATOR
from polyarch.errors import printable
from polyarch.unpack.beneath import Directory, Root, components, followed
from polyarch.unpack.entrypoint import mislabelled
from polyarch_platforms.elf import Elf, contradiction, known_platform, read_elf
from polyarch_platforms.errors import ElfError
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

_MAX_SCRIPTS = 5  # Linux, fs/exec.c, exec_binprm: an interpreter may be a script itself, to this depth
_FIRST_LINE = 256  # Linux, binfmts.h: BINPRM_BUF_SIZE
_HINT = "see what it has: polyarch image unpack REF DIR"
_ELF = b"\x7fELF"
_ABSENT = (errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class Program:
    """What the kernel starts.

    `path` is the ELF file's in the container, `argv` the words that it gets: of a script, its interpreter's, then the
    script's path and the script's own. `elf` has the file's facts. A file of another format is the kernel's business:
    then `elf` is None and `path` that file's.
    """

    path: str
    argv: tuple[str, ...]
    elf: Elf | None


@dataclass(frozen=True, slots=True)
class Promise:
    """What an image's own program has to be: for a `platform`, and for a kernel with pages of `page_size` bytes.

    `image` is its name, for messages; `page_size` is None where an emulator starts the program.
    """

    image: str
    platform: Platform
    page_size: int | None = None


def check_program(
    argv: Sequence[str],
    search_path: str,
    workdir: str,
    rootfs: Root,
    *,
    promise: Promise | None = None,
    volumes: Sequence[str] = (),
) -> Program | None:
    """The program that `argv` starts, if it can be executed by somebody there.

    `promise` is given for what the image itself starts. At `volumes` something is mounted that is not seen in `rootfs`:
    None is the answer where the program may lie there, or what it needs.

    Raises ProgramNotFound (exit code 127): it, its interpreter or its dynamic loader is not there; CannotExecute (126);
    IntegrityError: it is not what is promised.
    """
    check = _Check(search_path, workdir, rootfs, {_real(rootfs, volume) for volume in volumes})
    try:
        return check.program(tuple(argv), promise)
    except _OnVolume:
        return None


def explicit_args(argv: Sequence[str], program: Program | None) -> tuple[str, ...]:
    """The words that start a program in a container by its emulator, which lies at `EMULATOR` there.

    `program` is what `check_program` found; where that could not look, argv[0] has to be a path. Raises CannotExecute.
    """
    if program is not None:
        return explicit_words(EMULATOR, program.argv, program.path)
    if "/" not in argv[0]:
        raise CannotExecute(f"'{printable(argv[0], 200)}' cannot be emulated from a volume", "name it by its path")
    return explicit_words(EMULATOR, argv, argv[0])


class _OnVolume(Exception):
    """The answer lies where the root file system cannot tell."""


@dataclass(frozen=True, slots=True)
class _Check:
    search_path: str
    workdir: str
    rootfs: Root
    volumes: Collection[bytes]

    def program(self, argv: tuple[str, ...], promise: Promise | None) -> Program:
        name = printable(argv[0], 200)
        path = self._found(argv[0])
        for _ in range(_MAX_SCRIPTS + 1):
            with self.rootfs.open(os.fsencode(path)) as stream:
                words = script_words(stream.read(_FIRST_LINE), path, argv)
                if words is None:
                    return self._binary(name, path, argv, stream, promise)
            self._needed(words[0], f"{name!r} cannot be started: the interpreter of {printable(path, 200)},")
            path, argv = self._absolute(words[0]), words
        raise CannotExecute(f"{name!r} cannot be executed: a script whose interpreter is a script, and so on")

    def _binary(
        self, name: str, path: str, argv: tuple[str, ...], stream: BinaryIO, promise: Promise | None
    ) -> Program:
        stream.seek(0)
        if stream.read(len(_ELF)) != _ELF:
            return Program(path, argv, None)
        try:
            elf = read_elf(stream)
        except ElfError as error:
            raise CannotExecute(f"{name!r} cannot be executed: {error}") from error
        if promise is not None and (fault := contradiction(elf, promise.platform, promise.page_size)):
            fault = f"{printable(path, 200)}: {fault}"
            raise mislabelled(promise.image, fault, promise.platform, known_platform(elf))
        if elf.interpreter is not None:
            self._needed(elf.interpreter, f"{name!r} cannot be started: its dynamic loader")
        return Program(path, argv, elf)

    def _absolute(self, path: str) -> str:
        return path if path.startswith("/") else f"{self.workdir}/{path}"

    def _found(self, name: str) -> str:
        """The file that the first word names, by its path or in one of the directories of PATH."""
        if "/" in name:
            places = [self._absolute(name)]
        else:
            places = [self._absolute(f"{folder or '.'}/{name}") for folder in self.search_path.split(":")]
        refusal: str | None = None
        for place in places:
            try:
                fault = self._fault(place)
            except OSError as error:
                if error.errno in _ABSENT:
                    continue
                fault = error.strerror
            if fault is None:
                return place
            refusal = refusal or fault
        shown = printable(name, 200)
        if refusal and "/" in name:
            raise CannotExecute(f"{shown!r} cannot be executed: {refusal}")
        where = "the image" if "/" in name else f"the image's PATH ({printable(self.search_path, 200)})"
        raise ProgramNotFound(f"{shown!r} is not in {where}", _HINT)

    def _needed(self, path: str, what: str) -> None:
        """Raises ProgramNotFound or CannotExecute with `what` in front, if nobody can execute the file at `path`."""
        shown = printable(path, 200)
        try:
            fault = self._fault(self._absolute(path))
        except OSError as error:
            if error.errno in _ABSENT:
                raise ProgramNotFound(f"{what} {shown} is not in the image", _HINT) from error
            fault = error.strerror
        if fault is not None:
            raise CannotExecute(f"{what} {shown}, cannot be executed: {fault}")

    def _fault(self, place: str) -> str | None:
        """Why nobody can execute what is there; None if somebody can. Raises OSError where nothing is, _OnVolume."""
        status = self._status(place)
        if stat.S_ISDIR(status.st_mode):
            return "is a directory"
        if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
            return "permission denied"
        return None

    def _status(self, place: str) -> os.stat_result:
        """What is at a path, through symlinks, none of which may lead to a volume."""

        def link_at(path: bytes) -> bytes | None:
            if path in self.volumes:
                raise _OnVolume
            found = _entry(self.rootfs, path)
            if found is None:
                if any(volume.startswith(path + b"/") for volume in self.volumes):
                    raise _OnVolume  # the runtime makes the folder that it is mounted in
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            return _target(*found)

        found = _entry(self.rootfs, followed(os.fsencode(place), link_at))
        return os.fstat(self.rootfs.top.fd) if found is None else found[2]


def _real(rootfs: Root, volume: str) -> bytes:
    """Where a volume is mounted, as far as anything is there yet."""

    def link_at(path: bytes) -> bytes | None:
        try:
            found = _entry(rootfs, path)
        except OSError:
            return None
        return _target(*found) if found is not None else None

    return followed(os.fsencode(volume), link_at)


def _entry(rootfs: Root, path: bytes) -> tuple[Directory, bytes, os.stat_result] | None:
    """What is at a path without symlinks: its directory, name and status; None for the root and for nothing."""
    parent, _, name = path.rpartition(b"/")
    here = rootfs.directory(components(parent))
    status = here.status(name) if name else None
    return None if status is None else (here, name, status)


def _target(here: Directory, name: bytes, status: os.stat_result) -> bytes | None:
    return os.readlink(name, dir_fd=here.fd) if stat.S_ISLNK(status.st_mode) else None
