"""The program that a container is to start, looked for in its root file system before the runtime is asked."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from polyarch.container.failures import CannotExecute, ProgramNotFound
from polyarch.errors import printable
from polyarch.unpack.beneath import Root


def check_program(argv: Sequence[str], search_path: str, workdir: str, rootfs: Root) -> None:
    """Nothing if `argv[0]` can be executed by somebody there.

    Raises ProgramNotFound (exit code 127), CannotExecute (126).
    """
    name = argv[0]
    if "/" in name:
        places = [name if name.startswith("/") else f"{workdir}/{name}"]
    else:
        places = [f"{folder or '.'}/{name}" for folder in search_path.split(":")]
    refusal: str | None = None
    for place in places:
        try:
            _, _, status = rootfs.resolve(os.fsencode(place))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                refusal = refusal or error.strerror
            continue
        if stat.S_ISDIR(status.st_mode):
            refusal = refusal or "is a directory"
        elif not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
            refusal = refusal or "permission denied"
        else:
            return
    shown = printable(name, 200)
    if refusal and "/" in name:
        raise CannotExecute(f"{shown!r} cannot be executed: {refusal}")
    where = "the image" if "/" in name else f"the image's PATH ({printable(search_path, 200)})"
    raise ProgramNotFound(f"{shown!r} is not in {where}", "see what it has: polyarch image unpack REF DIR")
