"""A prepared layer (`unpack/erofs`), mounted: by its files where the kernel can (Linux 6.12), by loop devices else."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from polyarch.container import syscalls
from polyarch.errors import HostError, StorageError
from polyarch.unpack.erofs.format import ARCHIVE_NAME, METADATA_NAME
from polyarch.unpack.erofs.sizes import has_its_sizes

_FLAGS = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV
_CONTROL = "/dev/loop-control"

# Linux, include/uapi/linux/loop.h
_LOOP_CONFIGURE = 0x4C0A
_LOOP_CTL_GET_FREE = 0x4C82
_LO_FLAGS_READ_ONLY = 1
_LO_FLAGS_AUTOCLEAR = 4
# struct loop_config: fd block_size, of its struct loop_info64 lo_offset lo_sizelimit (zeros) and lo_flags alone
_LOOP_CONFIG = struct.Struct("<II52xI160x16x64x")
_ANEW = "polyarch run and container create make it anew, for new ones"
_TRIES = 50  # others take loop devices at the same moment


def mount_layer(directory: Path, target: Path) -> None:
    """Mount the layer in `directory` read-only at `target`, in the mount namespace of this process.

    The working directory is another one meanwhile. Raises HostError, with what mends it; StorageError: it is gone.
    """
    where = os.path.abspath(target)  # noqa: PTH100 - no symlink is to be followed
    try:
        if not has_its_sizes(directory):  # the kernel mounts one without its archive, whose files cannot be read then
            raise OSError(errno.EUCLEAN, os.strerror(errno.EUCLEAN))
        _mounted(directory, lambda source, options: syscalls.mount(source, where, "erofs", _FLAGS, options))
    except OSError as error:
        if not (directory / METADATA_NAME).exists() or not (directory / ARCHIVE_NAME).exists():
            raise StorageError(f"the layer {directory.name[:12]} is gone from {directory.parent}", _ANEW) from error
        if not _is_sound(directory):
            what = f"the layer {directory.name[:12]} that was made ready is damaged: {directory}"
            raise StorageError(what, "polyarch verify --repair IMAGE writes it anew") from error
        raise HostError(
            f"a layer cannot be mounted: {_reason(error)}", 'set layers = "unpack" in the settings file'
        ) from error


def _is_sound(directory: Path) -> bool:
    from polyarch.unpack.erofs.layer import metadata_is_sound

    try:
        return has_its_sizes(directory) and metadata_is_sound(directory)
    except OSError:
        return False


def erofs_works(place: Path) -> str | None:
    """None where layers in the directory `place` can be mounted by this process, else why not, in a few words.

    Found by a mount that nobody sees of a layer of one file, made there and removed again. Raises OSError where that
    cannot be written.
    """
    import tempfile

    from polyarch.unpack.erofs.layer import write_trial

    with tempfile.TemporaryDirectory(prefix=".erofs-", dir=place) as name:
        trial = Path(name)
        content = write_trial(trial)
        try:
            _mounted(trial, lambda source, options: _try(source, options, content))
        except OSError as error:
            return _reason(error)
    return None


def _mounted(directory: Path, mount: Callable[[str, str], None]) -> None:
    """Call `mount` with a source and options. Names within `directory`, the working directory, have no comma."""
    place = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(directory)
        try:
            mount(METADATA_NAME, f"device={ARCHIVE_NAME}")
        except OSError as error:
            if error.errno != errno.ENOTBLK:  # before 6.12, or on a file system that lends no pages (overlayfs, tmpfs)
                raise
            with _loop(METADATA_NAME) as source, _loop(ARCHIVE_NAME) as device:
                mount(source, f"device={device}")
    finally:
        os.fchdir(place)
        os.close(place)


@contextlib.contextmanager
def _loop(path: str) -> Iterator[str]:
    """A loop device over a file, read-only. It goes with its last user: the mount, once there is one."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        device, name = _configured(file)
    finally:
        os.close(file)
    try:
        yield name
    finally:
        os.close(device)


def _configured(file: int) -> tuple[int, str]:
    """An open loop device and its name. Raises OSError."""
    control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            name = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            device = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(
                    device, _LOOP_CONFIGURE, _LOOP_CONFIG.pack(file, 0, _LO_FLAGS_READ_ONLY | _LO_FLAGS_AUTOCLEAR)
                )
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
                continue
            return device, name
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), _CONTROL)


def _try(source: str, options: str, content: bytes) -> None:
    """Mount without a place for it, and read the trial's file. Raises OSError."""
    mounted = syscalls.detached_mount("erofs", {"source": source, **dict([options.split("=", 1)])}, _FLAGS)
    try:
        file = os.open("file", os.O_RDONLY | os.O_CLOEXEC, dir_fd=mounted)
        try:
            if os.read(file, len(content) + 1) != content or not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        finally:
            os.close(file)
    finally:
        os.close(mounted)


def _reason(error: OSError) -> str:
    if error.errno == errno.ENODEV:
        return "the kernel has no EROFS (modprobe erofs)"
    if error.errno in (errno.EPERM, errno.EACCES):
        return "only root may mount EROFS"
    if error.errno == errno.EINVAL:
        return "the kernel's EROFS has no blocks of 512 bytes (Linux 6.4 and newer have)"
    if error.errno in (errno.ENOENT, errno.ENXIO) and error.filename:
        return f"the kernel mounts no file of this place (Linux 6.12 does on ext4), and {error.filename} is missing"
    return f"EROFS: {error.strerror}"
