"""The /proc of a new PID namespace, and what keeps it from being mounted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from polyarch.container import syscalls
from polyarch.errors import HostError


@contextlib.contextmanager
def proc_refused() -> Iterator[None]:
    """Whatever fails within is told as a /proc that cannot be mounted. Raises HostError."""
    try:
        yield
    except OSError as error:
        raise HostError(
            f"/proc cannot be mounted in a namespace: {error.strerror}",
            "inside a container, start that with all of /proc (docker: --security-opt systempaths=unconfined)",
        ) from error


def mount_proc() -> None:
    """Mount it. Raises OSError."""
    syscalls.mount("proc", "/proc", "proc", syscalls.SEALED)
