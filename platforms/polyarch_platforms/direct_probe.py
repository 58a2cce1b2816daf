"""This machine's answer to the probe's questions (`data/probe.sh`), read by this process itself: no program is started.

Only where this process is sure to see what the script would: not under an emulator, not as a program of another kind
than the machine's own tools are. The script stays what every other machine is asked by; a test holds one against the
other.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

_FOLDERS = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")
_HEAD = 64
# What an ELF header says of a kind of program: class and byte order, e_machine (System V gABI, "ELF Header").
_KIND = (slice(4, 6), slice(18, 20))
_CPU = re.compile(
    r"vendor_id|model name|flags|Features|CPU implementer|CPU architecture|CPU part|Hardware|Revision|Model|isa|uarch"
    r"|cpu[ \t]*:|cpu model|features|processor 0:"
)
_GLIBC = re.compile(r"/libc[.-][^/]*$")
_TREE = Path("/proc/device-tree")
_BINFMT = Path("/proc/sys/fs/binfmt_misc")


def answer(environ: Mapping[str, str]) -> str | None:
    """The probe's answer, with the environment `environ`; None where the script has to be asked.

    The kernel's configuration is left out: whether 386 programs run is tried where that counts.
    """
    try:
        return "".join(f"{line}\n" for line in _lines(environ))
    except (OSError, _Unsure):
        return None


class _Unsure(Exception):
    """The script may see something else."""


def _lines(environ: Mapping[str, str]) -> Iterator[str]:
    yield "polyarch-probe 1"
    uname = os.uname()
    yield f"uname {uname.sysname} {uname.release} {uname.machine}"
    own = _own_head()
    yield f"elf-user {own.hex()}"
    yield f"auxv {_words(Path('/proc/self/auxv').read_bytes(), own)}"
    yield f"elf-process {own.hex()}"
    yield f"exe {Path('/proc/self/exe').readlink()}"
    yield from sorted({*_processor(), *_libraries(), *_mounts()})
    yield from _board()
    if uname.machine == "aarch64":
        yield from _worded("aarch32-el0", _first("/sys/devices/system/cpu/aarch32_el0"))
    if uname.machine == "x86_64":
        words = _first("/proc/cmdline").split()
        yield from (f"parameter {word}" for word in words if word.startswith("ia32_emulation="))
        yield f"vsyscall32 {'yes' if Path('/proc/sys/abi/vsyscall32').exists() else 'no'}"
    if Path("/.dockerenv").exists():
        yield "inside docker"
    if Path("/run/.containerenv").exists():
        yield "inside podman"
    yield from _worded("inside", environ.get("container", ""))
    yield from _worded("inside", _first("/run/systemd/container"))
    if environ.get("KUBERNETES_SERVICE_HOST"):
        yield "inside kubernetes"
    yield from _worded("uid-map", " ".join(_first("/proc/self/uid_map").split()))
    if (_BINFMT / "status").exists():
        for file in sorted(_BINFMT.iterdir()):
            yield from (f"binfmt {file.name}:{line}" for line in _text(file).splitlines())
    yield "end"


def _own_head() -> bytes:
    """The beginning of this program, which is of the kind that the machine's tools are."""
    if Path("/proc/thread-self/exe").readlink() != Path("/proc/self/exe").readlink():
        raise _Unsure  # QEMU shows its guest's program under the second name only
    own = _head(Path("/proc/thread-self/exe"))
    tool = next((_head(Path(folder, "od")) for folder in _FOLDERS if Path(folder, "od").exists()), b"")
    if own[:4] != b"\x7fELF" or any(own[part] != tool[part] for part in _KIND):
        raise _Unsure
    return own


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_HEAD)


def _words(data: bytes, head: bytes) -> str:
    """Words of 32 bits as od(1) writes them."""
    size = len(data) // 4
    return " ".join(f"{word:08x}" for word in struct.unpack(f"{'<' if head[5] == 1 else '>'}{size}I", data[: size * 4]))


def _processor() -> Iterator[str]:
    return (f"cpu {line}" for line in _text(Path("/proc/cpuinfo")).splitlines() if _CPU.match(line))


def _libraries() -> Iterator[str]:
    lines = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
    found = {"musl" for line in lines if "/ld-musl-" in line} | {"glibc" for line in lines if _GLIBC.search(line)}
    if not found:
        raise _Unsure  # this program has none, the machine's tools may have
    return (f"libc {name}" for name in found)


def _mounts() -> Iterator[str]:
    places = [line.split(" ")[4] for line in _text(Path("/proc/self/mountinfo")).splitlines()]
    if places:
        yield "mountinfo yes"
    if "/" in places:
        yield "root-mount yes"


def _board() -> Iterator[str]:
    yield from _worded("dt-model", _first(_TREE / "model", "\0"))
    yield from (f"dt-compatible {one}" for one in _text(_TREE / "compatible").split("\0") if one)
    if (_TREE / "system/linux,revision").exists():
        yield from _worded("dt-revision", _head(_TREE / "system/linux,revision").hex())


def _worded(name: str, value: str) -> Iterator[str]:
    if value:
        yield f"{name} {value}"


def _first(path: Path | str, end: str = "\n") -> str:
    return _text(Path(path)).partition(end)[0]


def _text(path: Path) -> str:
    """Nothing for what is not there or may not be read."""
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
