"""The kernel's binfmt_misc table: which foreign programs it hands to which interpreter.

Source: Linux, Documentation/admin-guide/binfmt-misc.rst (the line, its limits, the flags) and fs/binfmt_misc.c (the
text of an entry; the newest entry is asked first, and a directory lists the newest first).

The flags of an entry:

- `F` (fix binary): the kernel opens the interpreter when the entry is made and keeps that file. Programs then start in
  a container or chroot that has no interpreter inside, if it is static; after QEMU changed on disk, the old one goes on
  until the entry is made again. Without `F` the path is looked up where the program starts: inside the container.
- `P` (preserve argv[0]): the interpreter gets one argument more, so only for a QEMU that knows it.
- `C` (credentials): the interpreter runs with the program's set-user-ID and capabilities; it implies `O`.
- `O` (open binary): the program is handed over as an open file.

A private binfmt_misc of a user namespace (Linux >= 6.7) hides the host's: what is needed is registered in it again.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from polyarch_platforms.architecture import Architecture
from polyarch_platforms.errors import BinfmtError, quoted
from polyarch_platforms.lazy_dataclass import dataclass

TABLE = Path("/proc/sys/fs/binfmt_misc")

_MAX_LINE = 1920
_MAX_MAGIC = 128  # bytes of the file, counted from its start
_MAX_INTERPRETER = 127
_MAX_ENTRY = 64 * 1024
_MOUNT_FLAGS = 2 | 4 | 8  # MS_NOSUID, MS_NODEV, MS_NOEXEC: nothing in the table is a program
_NAME = re.compile(r"[^/:\x00-\x20\x7f]{1,100}")
_FLAGS = re.compile(r"[POCF]*")
_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")


@dataclass(frozen=True, slots=True)
class Registration:
    """One entry that tells programs by their first bytes: those at `offset`, under `mask`, must equal `magic`."""

    name: str
    interpreter: str
    flags: str
    magic: bytes
    mask: bytes
    offset: int = 0
    enabled: bool = True

    @property
    def fixed(self) -> bool:
        """Flag F: the interpreter need not exist inside a container, and a newer one on disk is not taken."""
        return "F" in self.flags

    def matches(self, start: bytes) -> bool:
        """Whether the kernel would take a file that starts with these bytes for this entry's."""
        there = start[self.offset : self.offset + len(self.magic)].ljust(len(self.magic), b"\0")
        return all((a ^ b) & mask == 0 for a, b, mask in zip(there, self.magic, self.mask, strict=True))

    def same_as(self, other: Registration) -> bool:
        """Whether both hand the same programs to the same interpreter in the same way, enabled or not."""
        first, second = (replace(one, flags="".join(sorted(one.flags)), enabled=True) for one in (self, other))
        return first == second


def registration(architecture: Architecture, interpreter: str, flags: str, name: str | None = None) -> Registration:
    """The entry that hands an architecture's programs to an interpreter; named as QEMU's own script names it."""
    ((magic, mask),) = architecture.magic
    return Registration(name or f"qemu-{architecture.qemu}", interpreter, flags, magic, mask)


def register_line(architecture: Architecture, interpreter: str, flags: str, name: str | None = None) -> bytes:
    """What is written to `register` for an architecture. Raises BinfmtError where the kernel could not take it."""
    return line(registration(architecture, interpreter, flags, name))


def line(entry: Registration) -> bytes:
    """`:name:M:offset:magic:mask:interpreter:flags`. Raises BinfmtError for what the kernel's form cannot hold."""
    interpreter = os.fsencode(entry.interpreter)
    shown = quoted(entry.interpreter, _MAX_INTERPRETER)
    if not _NAME.fullmatch(entry.name) or entry.name in (".", "..", "register", "status"):
        raise BinfmtError(f"{quoted(entry.name)} cannot be the name of a binfmt_misc entry")
    if not entry.interpreter.startswith("/") or re.search(rb"[:\n\0]", interpreter):
        raise BinfmtError(f"{shown} cannot be an interpreter: a full path without ':' is needed")
    if len(interpreter) > _MAX_INTERPRETER:
        raise BinfmtError(f"the interpreter's path {shown} is longer than {_MAX_INTERPRETER} bytes")
    if not _FLAGS.fullmatch(entry.flags):
        raise BinfmtError(f"{quoted(entry.flags)} are no flags of a binfmt_misc entry: P, O, C and F are")
    if not entry.magic or len(entry.mask) != len(entry.magic) or not 0 <= entry.offset <= _MAX_MAGIC - len(entry.magic):
        raise BinfmtError(f"the magic of {quoted(entry.name)} does not lie in a file's first {_MAX_MAGIC} bytes")
    fields = (entry.name.encode(), b"M", b"%d" % entry.offset, _escaped(entry.magic), _escaped(entry.mask))
    text = b":" + b":".join((*fields, interpreter, entry.flags.encode()))
    if len(text) > _MAX_LINE:
        raise BinfmtError(f"the binfmt_misc line for {quoted(entry.name)} is longer than {_MAX_LINE} bytes")
    return text


def _escaped(data: bytes) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in data)


def parse_line(text: bytes) -> Registration:
    """A line for `register`, as `line` or QEMU's script writes it -> the entry. Raises BinfmtError for any other."""
    text = text.removesuffix(b"\n")
    fields = text[1:].split(text[:1]) if text else []
    if len(fields) != 7 or fields[1] != b"M" or not re.fullmatch(rb"\d{0,3}", fields[2]):
        raise BinfmtError(f"not a binfmt_misc line for a magic: {quoted(text.decode(errors='replace'))}")
    magic, mask = (_ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), field) for field in fields[3:5])
    entry = Registration(
        name=fields[0].decode(errors="replace"),
        interpreter=os.fsdecode(fields[5]),
        flags=fields[6].decode(errors="replace"),
        magic=magic,
        mask=mask or b"\xff" * len(magic),
        offset=int(fields[2] or b"0"),
    )
    line(entry)
    return entry


def parse_entry(name: str, text: str) -> Registration | None:
    """What the kernel shows of an entry; None for one that goes by a file's extension, or is none at all."""
    lines = text.splitlines()
    values = dict(one.partition(" ")[::2] for one in lines[1:])
    try:
        magic = bytes.fromhex(values["magic"])
        mask = bytes.fromhex(values["mask"]) if "mask" in values else b"\xff" * len(magic)
        if len(mask) != len(magic) or int(values["offset"]) < 0:
            return None  # no kernel says so, but somebody's facts may
        return Registration(
            name=name,
            interpreter=values["interpreter"],
            flags=values["flags:"],
            magic=magic,
            mask=mask,
            offset=int(values["offset"]),
            enabled=lines[0] == "enabled",
        )
    except (KeyError, ValueError):
        return None


def mounted(root: Path = TABLE) -> bool:
    """Whether binfmt_misc is mounted there (where systemd mounts it on demand, asking mounts it)."""
    return os.access(root / "register", os.F_OK)


def table_enabled(root: Path = TABLE) -> bool:
    """Whether the table is mounted and switched on as a whole."""
    return mounted(root) and _read(root / "status").strip() == "enabled"


def empty(root: Path = TABLE) -> bool:
    """Whether the mounted table has no entry of any kind."""
    return all(path.name in ("register", "status") for path in root.iterdir())


def registrations(root: Path = TABLE) -> tuple[Registration, ...]:
    """Every entry that goes by a magic, in the order in which the kernel asks them; none if nothing is mounted there.

    Raises BinfmtError where the table cannot be read.
    """
    if not mounted(root):
        return ()
    found = []
    for path in root.iterdir():
        if path.name not in ("register", "status"):
            try:
                found.append(parse_entry(path.name, _read(path)))
            except BinfmtError as error:
                if error.errno != errno.ENOENT:  # taken away in this moment
                    raise
    return tuple(entry for entry in found if entry is not None)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return os.fsdecode(file.read(_MAX_ENTRY))
    except OSError as error:
        raise BinfmtError(f"cannot read {path}: {error.strerror}", errno=error.errno) from error


def matching(entries: Iterable[Registration], architecture: Architecture) -> Registration | None:
    """The entry to which the kernel hands this architecture's programs: the first enabled one that takes them all."""
    starts = _program_starts(architecture)
    for entry in entries:
        if entry.enabled and all(entry.matches(start) for start in starts):
            return entry
    return None


def _program_starts(architecture: Architecture) -> tuple[bytes, ...]:
    """ELF headers of an architecture's programs, position-dependent and -independent (gABI, "ELF Header")."""
    order, wide = architecture.elf_data, architecture.elf_class == 64
    ident = b"\x7fELF" + bytes((architecture.elf_class // 32, 1 if order == "little" else 2, 1)) + bytes(9)
    middle = architecture.elf_machine.to_bytes(2, order) + (1).to_bytes(4, order) + bytes(24 if wide else 12)
    flags = architecture.elf_flags_value.to_bytes(4, order)
    return tuple(ident + kind.to_bytes(2, order) + middle + flags for kind in (2, 3))


def register(text: bytes, root: Path = TABLE) -> None:
    """Makes the entry that a line describes. Raises BinfmtError with the kernel's errno.

    EEXIST: there is one of that name. ENOENT: flag F, and no such interpreter. EPERM, EACCES: root is needed.
    """
    entry = parse_line(text)
    name = quoted(entry.name)
    failures = {
        errno.EEXIST: f"binfmt_misc has an entry {name} already",
        errno.ENOENT: f"there is no interpreter {quoted(entry.interpreter, _MAX_INTERPRETER)} for the entry {name}",
        errno.EINVAL: f"the kernel refuses the binfmt_misc line for {name}",
    }
    _write(root / "register", text, f"cannot register {name} in binfmt_misc", failures if mounted(root) else {})


def unregister(name: str, root: Path = TABLE) -> None:
    """Takes the entry of that name away. Raises BinfmtError (ENOENT: there is none)."""
    _write(_entry(name, root), b"-1", f"cannot take {quoted(name)} out of binfmt_misc", {})


def enable(name: str, on: bool = True, root: Path = TABLE) -> None:
    """Switches one entry on or off. Raises BinfmtError (ENOENT: there is none)."""
    _write(_entry(name, root), b"1" if on else b"0", f"cannot switch the binfmt_misc entry {quoted(name)}", {})


def _entry(name: str, root: Path) -> Path:
    if not _NAME.fullmatch(name) or name in (".", "..", "register", "status"):
        raise BinfmtError(f"{quoted(name)} is no entry of binfmt_misc", errno=errno.ENOENT)
    return root / name


def _write(path: Path, data: bytes, failed: str, failures: dict[int, str]) -> None:
    try:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(file, data)
        finally:
            os.close(file)
    except OSError as error:
        number = error.errno or 0
        if number in (errno.EPERM, errno.EACCES):
            raise BinfmtError(f"{failed}: {error.strerror}", "run it as root", errno=number) from error
        raise BinfmtError(failures.get(number, f"{failed}: {error.strerror}"), errno=number) from error


def mount(root: Path = TABLE) -> None:
    """Mounts binfmt_misc there: in a user namespace a private one, else the host's. Raises BinfmtError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = (*(ctypes.c_char_p,) * 3, ctypes.c_ulong, ctypes.c_void_p)
    if libc.mount(b"binfmt_misc", os.fsencode(root), b"binfmt_misc", _MOUNT_FLAGS, None) != 0:
        number = ctypes.get_errno()
        hints = {
            errno.EPERM: "run it as root",
            errno.ENOENT: "load the kernel's module: modprobe binfmt_misc",
            errno.ENODEV: "this kernel was built without binfmt_misc",
        }
        raise BinfmtError(f"cannot mount binfmt_misc on {root}: {os.strerror(number)}", hints.get(number), errno=number)


def unmount(root: Path = TABLE) -> None:
    """Unmounts it; the entries of a host's table that is mounted nowhere else are gone then. Raises BinfmtError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(root), 0) != 0:
        number = ctypes.get_errno()
        raise BinfmtError(f"cannot unmount binfmt_misc from {root}: {os.strerror(number)}", errno=number)
