"""The folder of images and containers: whether it can be written, has room, and can hold what containers write."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from polyarch.container.overlay import mount_overlay
from polyarch.container.rights import rights_at
from polyarch.errors import HostError, PolyarchError
from polyarch.unpack.tree import remove_tree
from polyarch.verbs.doctor.check import Check, Mend, refused, words
from polyarch.verbs.doctor.trial import inside, mount_proc
from polyarch_platforms.lazy_dataclass import dataclass

TOO_LITTLE = 64 << 20
"""Bytes free below which hardly any image fits."""

LOW = 1 << 30
"""Bytes free below which large images do not fit."""

FEW_FILES = 10_000
"""Files that a small distribution's image unpacks to."""

_FUSE = ("modprobe fuse", "chmod 666 ", "apt install fuse-overlayfs")
_DISKS = frozenset({"bcachefs", "btrfs", "ext4", "f2fs", "xfs"})
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Place:
    """What decides about a root folder that may not exist yet.

    `there` is the nearest folder above it that does; `mount_point` and `kind` are those of its file system. `refusal`
    is the number of the error when something was written there. `files` is None where they are not counted.
    """

    root: Path
    there: Path
    mount_point: str
    kind: str
    read_only: bool
    refusal: int | None
    free: int
    files: int | None


def look_at(root: Path) -> Place:
    """The facts of a root folder; writes 4 KiB there and takes them away again."""
    there = next((path for path in (root, *root.parents) if os.path.lexists(path)), Path("/"))
    mount_point, kind = mount_of(there.resolve(), _mountinfo())
    refusal: int | None = None
    try:
        with tempfile.TemporaryFile(prefix=".polyarch-doctor-", dir=there, buffering=0) as file:
            file.write(b"\1" * 4096)
            os.fdatasync(file.fileno())
    except OSError as error:
        refusal = error.errno or errno.EIO
    system = os.statvfs(there)
    return Place(
        root=root,
        there=there,
        mount_point=mount_point,
        kind=kind,
        read_only=bool(system.f_flag & os.ST_RDONLY),
        refusal=refusal,
        free=system.f_bavail * system.f_frsize,
        files=system.f_favail if system.f_files else None,
    )


def mount_of(path: Path, mountinfo: str) -> tuple[str, str]:
    """The mount point of a path's file system and its kind, by /proc/self/mountinfo; the last one counts."""
    found = ("/", "unknown")
    for point, kind in mounts_in(mountinfo):
        if path.is_relative_to(point) and len(point) >= len(found[0]):
            found = (point, kind)
    return found


def mounts_in(mountinfo: str) -> Iterator[tuple[str, str]]:
    """Mount point and kind of each line of /proc/self/mountinfo (proc(5))."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) >= 5 and after:
            yield _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4]), after.split(" ")[0]


def _mountinfo() -> str:
    return Path("/proc/self/mountinfo").read_text("utf-8", "replace")


def judge_place(place: Place, prunable: int, elsewhere: Callable[[], Path | None]) -> Check:
    """The check of these facts. `prunable` bytes are needed by no image; `elsewhere` finds a folder that serves."""
    name, fact = "storage", f"{place.root} on {place.kind}, {_size(place.free)} free"
    full = place.refusal in (errno.ENOSPC, errno.EDQUOT)
    if place.read_only:
        remount = Mend(words("mount", "-o", "remount,rw", place.mount_point), as_root=True)
        return Check(name, "failed", f"{place.root}: {place.mount_point} is mounted read-only", remount, essential=True)
    if place.refusal is not None and not full:
        fact = f"{place.root} cannot be written: {place.there}: {os.strerror(place.refusal)}"
        return Check(name, "failed", fact, _move(elsewhere()), essential=True)
    few = place.files is not None and place.files < FEW_FILES
    if few and place.free >= LOW:
        fact = f"{place.root} on {place.kind}, room for {place.files} files only"
    if full or few or place.free < LOW:
        scarce = full or few or place.free < TOO_LITTLE
        enough = LOW if not scarce else TOO_LITTLE
        if place.free + prunable >= enough and not few:
            prune = Mend("polyarch image prune")
            fact += f", {_size(prunable)} that no image needs"
            return Check(name, "failed" if scarce else "warning", fact, prune, essential=scarce)
        return Check(name, "failed" if scarce else "warning", fact, _move(elsewhere()), essential=scarce)
    return Check(name, "ok", fact)


def _size(count: int) -> str:
    """Bytes as people read them (powers of 1000)."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _move(root: Path | None) -> Mend | None:
    return Mend(words("polyarch", "--root", root, "doctor")) if root else None


def serving(home: Path) -> Path | None:
    """A root folder that can be written, has room, and can hold what containers write; None if there is none.

    Looked for where it would be without other words, then on every disk, the emptiest first.
    """
    user = os.geteuid()
    usual = home / ".local/share/polyarch" if user else Path("/var/lib/polyarch")
    for root in (usual, Path(f"/var/tmp/polyarch-{user}"), *_on_disks()):
        with contextlib.suppress(OSError, PolyarchError):
            place = look_at(root)
            if judge_place(place, 0, lambda: None).verdict == "ok" and mounted_by(place.there):
                return root
    return None


def _on_disks() -> list[Path]:
    found: dict[Path, int] = {}
    for point, kind in mounts_in(_mountinfo()):
        if kind in _DISKS:
            with contextlib.suppress(OSError):
                found[Path(point, "polyarch")] = os.statvfs(point).f_bavail
    return sorted(found, key=lambda path: -found[path])


def overlay(place: Place, elsewhere: Callable[[], Path | None]) -> Check:
    """Whether layers can be mounted above each other there, really mounted."""
    name = "overlay"
    try:
        kind = mounted_by(place.there)
    except (PolyarchError, OSError) as error:
        failure = error if isinstance(error, PolyarchError) else HostError(f"{place.there}: {error.strerror}")
        check = fuse(refused(name, failure, essential=True), Path("/dev/fuse"))
        # Where the file system is to blame, another one helps; where the kernel is, none does.
        if (check.mend is None or check.mend.command.startswith(_FUSE)) and (moved := _move(elsewhere())):
            fact = f"{place.kind} at {place.there} does not hold what containers write"
            return Check(name, "failed", fact, moved, essential=True)
        return check
    if kind == "overlay":
        return Check(name, "ok", f"mounted on {place.kind} by the kernel")
    return Check(name, "ok", f"mounted on {place.kind} by fuse-overlayfs, which is slower than the kernel")


def fuse(check: Check, device: Path) -> Check:
    """A failed check of fuse-overlayfs, with what its device file lacks."""
    if not check.fact.startswith("fuse-overlayfs"):
        return check
    if not device.exists():
        fact = f"the kernel lets no user mount one there, and fuse-overlayfs has no {device}"
        return Check(check.name, "failed", fact, Mend("modprobe fuse", as_root=True), check.essential)
    if not os.access(device, os.R_OK | os.W_OK):
        fact = f"the kernel lets no user mount one there, and fuse-overlayfs may not open {device}"
        return Check(check.name, "failed", fact, Mend(words("chmod", "666", device), as_root=True), check.essential)
    return check


def mounted_by(there: Path) -> str:
    """The kind of file system that an overlay in this folder became. Raises HostError, OSError."""
    with _folder(there) as folder:
        lower, upper, work, target = (folder / name for name in ("lower", "upper", "work", "target"))
        for path in (lower, upper, work, target):
            path.mkdir()
        (lower / "below").touch()
        rights = rights_at(folder)

        def mounts() -> None:
            mount_proc()
            mount_overlay([lower], upper, work, target, rights.flavour)

        def write() -> str:
            if rights.flavour != "fuse":
                _make_whiteout(lower / "hidden")
            (target / "below").write_text("copied up")
            (target / "new").mkdir()
            return mount_of(target, _mountinfo())[1]

        return inside(write, mounts, outer=rights.maps)


def _make_whiteout(path: Path) -> None:
    """A mark that hides a file of lower layers, as unpacked layers have them. Raises HostError."""
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(0, 0))
    except OSError as error:
        raise HostError(f"the file system takes no whiteouts: {error.strerror}", "use --root") from error


@contextlib.contextmanager
def _folder(there: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=".polyarch-doctor-", dir=there))
    try:
        yield folder
    finally:
        remove_tree(folder)
