"""Trying what containers need, in namespaces that end with the trial."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from polyarch.container import syscalls
from polyarch.container.id_maps import IdMaps
from polyarch.container.launch import Launch
from polyarch.errors import HostError

_MAX_ANSWER = 1 << 16  # of a pipe that nobody reads yet (pipe(7))


def inside(
    function: Callable[[], str],
    mounts: Callable[[], None] = lambda: None,
    *,
    outer: IdMaps | None = None,
    inner: IdMaps | None = None,
    pid_namespace: bool = True,
) -> str:
    """What `function` returned (64 KiB at most) in a child in new namespaces; the words are those of `Launch`.

    Raises what `mounts` or `function` raised, HostError where a namespace is refused.
    """
    reader, writer = os.pipe()

    def command() -> Sequence[str]:
        os.write(writer, function().encode()[:_MAX_ANSWER])
        os._exit(0)

    try:
        status = Launch(command, mounts, outer=outer, inner=inner, pid_namespace=pid_namespace).run()
        os.close(writer)
        writer = -1
        if status != 0:
            raise HostError("a trial in new namespaces was killed", "try again")
        return os.read(reader, _MAX_ANSWER).decode("utf-8", "replace")
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def mount_proc() -> None:
    """The /proc of a new PID namespace, as every container gets one. Raises HostError."""
    try:
        syscalls.mount("proc", "/proc", "proc", syscalls.SEALED)
    except OSError as error:
        raise HostError(
            f"no /proc can be mounted in a namespace ({error.strerror}): parts of this machine's are covered",
            "inside a container, start that with --security-opt systempaths=unconfined",
        ) from error
