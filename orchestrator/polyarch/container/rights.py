"""Who unpacks, mounts and removes: real root as it is, everybody else in a user namespace."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from polyarch.container.id_maps import IdMaps, as_root, same_ids_in_parts
from polyarch.container.launch import call_inside
from polyarch.files import disk_error, make_directory, random_name
from polyarch.unpack.stack import Flavour, takes_marks
from polyarch_platforms.lazy_dataclass import dataclass

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rights:
    """Who unpacks and mounts.

    Real root uses overlayfs' attributes `trusted.*` and needs no user namespace (`maps` is None); everybody else uses
    `user.*`, or what fuse-overlayfs understands where the file system does not take these marks, and does all in a user
    namespace with `maps`. With one ID alone (`owners` False) all files are this user's.
    """

    flavour: Flavour
    maps: IdMaps | None

    @property
    def owners(self) -> bool:
        """Whether files can belong to whom their layers say."""
        return self.maps is None or not self.maps.one_id

    def call(self, function: Callable[[], None]) -> None:
        """Call `function` with the right to everything that containers leave."""
        if self.maps is None:
            function()
        else:
            call_inside(self.maps, function)

    def ask(self, function: Callable[[], T]) -> T:
        """The same for a function that answers, with something that can be pickled. Raises OSError: no room for it."""
        return answer_of(self.call, function)


def answer_of(call: Callable[[Callable[[], None]], None], function: Callable[[], T]) -> T:
    """What a function answers that `call` calls, perhaps in another process. Raises OSError: no room for it."""
    import pickle
    import tempfile

    with tempfile.TemporaryFile() as answer:

        def look() -> None:
            pickle.dump(function(), answer)
            answer.flush()

        call(look)
        answer.seek(0)
        return cast("T", pickle.load(answer))


def rights_at(root: Path) -> Rights:
    """This user's rights below `root`, which is made. Raises StorageError."""
    try:
        make_directory(root, 0o700)
    except OSError as error:
        raise disk_error(error, f"cannot make {root}") from error
    if os.geteuid() == 0 and may_use_trusted(root):
        return Rights("trusted", None)
    try:
        flavour: Flavour = "user" if takes_marks(root, "user") else "fuse"
    except OSError as error:
        raise disk_error(error, f"cannot use {root}") from error
    if os.geteuid() == 0:
        return Rights(flavour, None if under_emulator() else same_ids_in_parts())
    return Rights(flavour, as_root())


def under_emulator() -> bool:
    """Whether this process is executed by an emulator, which then makes no user namespace: it has threads.

    QEMU shows the guest's program as /proc/self/exe (linux-user/syscall.c, is_proc_myself), but not under this name.
    """
    try:
        return Path("/proc/thread-self/exe").readlink() != Path("/proc/self/exe").readlink()
    except OSError:
        return False


def may_use_trusted(directory: Path) -> bool:
    """Whether this process may set trusted.* attributes there: real root may, root of a user namespace may not."""
    name = f"trusted.polyarch.{random_name(4)}"
    try:
        os.setxattr(directory, name, b"")
        os.removexattr(directory, name)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP):
            return False
        raise disk_error(error, f"cannot use {directory}") from error
    return True
