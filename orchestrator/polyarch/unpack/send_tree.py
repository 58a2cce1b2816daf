"""Files as a tar archive, made while it is sent."""

from __future__ import annotations

import errno
import os
import stat

from polyarch.errors import HostError, PolyarchError, StorageError, printable
from polyarch.unpack.beneath import Directory
from polyarch.unpack.tar_writer import TarWriter, kind_of


def send_tree(here: Directory, name: bytes, called: bytes, out: int) -> tuple[str, ...]:
    """Write what is called `name` in a directory to an open file, as an archive of one thing called `called`.

    The paths of sockets in it, which no archive can hold. Raises HostError, StorageError: something cannot be read;
    OSError: it cannot be written.
    """
    sockets: list[str] = []
    with os.fdopen(os.dup(out), "wb", buffering=1 << 18) as stream:
        writer = TarWriter(stream.write)
        names: dict[tuple[int, int], bytes] = {}
        waiting = [(here, name, called)]
        while waiting:
            here, name, path = waiting.pop()
            try:
                inner = _send_one(writer, here, name, path, names)
            except FileNotFoundError:
                continue  # gone since its name was read
            except OSError as error:
                raise _unreadable(path, error) from error
            if inner is None:
                sockets.append(os.fsdecode(path))
            else:
                waiting += inner
        writer.finish()
    return tuple(sockets)


def _send_one(
    writer: TarWriter, here: Directory, name: bytes, path: bytes, names: dict[tuple[int, int], bytes]
) -> list[tuple[Directory, bytes, bytes]] | None:
    """Write one entry; what is in it, where it is a directory. None for a socket, which is not written."""
    status = os.stat(name, dir_fd=here.fd, follow_symlinks=False)
    kind = kind_of(status)
    if kind is None:
        return None
    file = (status.st_dev, status.st_ino)
    if file in names:
        writer.add_link(path, status, names[file])
        return []
    writer.add_from(here, name, path, kind, status)
    if not stat.S_ISDIR(status.st_mode):
        if status.st_nlink > 1:
            names[file] = path
        return []
    folder = here.open(name)
    return [(folder, each, path + b"/" + each) for each in sorted(folder.names(), reverse=True)]


def _unreadable(path: bytes, error: OSError) -> OSError | PolyarchError:
    if isinstance(error, BrokenPipeError):
        return error
    what = f"{_shown(path)} cannot be copied: {error.strerror}"
    return HostError(what) if error.errno in (errno.EACCES, errno.EPERM) else StorageError(what)


def _shown(path: bytes) -> str:
    return printable(path.decode("utf-8", "backslashreplace"), 200)
