"""Ending containers and taking them away."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator

from polyarch.container.record import Record
from polyarch.container.state import Containers
from polyarch.errors import HostError, UsageError


def stop_container(containers: Containers, record: Record, seconds: float) -> None:
    """Send the container's stop signal, after `seconds` SIGKILL; returns once it has ended and its end is noted.

    Nothing happens to one that does not run. Raises HostError.
    """
    with _process(containers, record) as process:
        if process is None:
            return
        _send(process, record.stop_signal)
        if not _ended(process, seconds):
            _send(process, signal.SIGKILL)
            _ended(process, None)
    containers.wait(record)


def remove_container(containers: Containers, record: Record, *, force: bool) -> None:
    """Take it away with all its files; one that runs only with `force`, by SIGKILL.

    Raises UsageError: it runs; HostError, StorageError.
    """
    if force:
        stop_container(containers, record, 0)
    containers.remove(record)


@contextlib.contextmanager
def _process(containers: Containers, record: Record) -> Iterator[int | None]:
    """An open file for the runtime's process; None where the container does not run."""
    if record.status == "exited" or (record.status != "running" and not containers.in_use(record)):
        yield None
        return
    if record.status == "damaged" and not record.pid:
        raise HostError(
            f"who runs the container {record.name} cannot be told: its record is damaged",
            f"end it: fuser -k {containers.directory(record) / 'lock'}",
        )
    if not record.pid:
        raise UsageError(f"the container {record.name} is just being started", "try again")
    try:
        process = os.pidfd_open(record.pid)
    except ProcessLookupError:
        yield None
        return
    except OSError as error:
        raise HostError(f"the process of the container {record.name} cannot be reached: {error.strerror}") from error
    try:
        # Asked once more, now that the number cannot pass to another process.
        yield process if containers.find(record.id, damaged=True).pid == record.pid else None
    finally:
        os.close(process)


def _send(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, number)


def _ended(process: int, seconds: float | None) -> bool:
    """Whether it has ended within that time; None waits as long as it takes."""
    return bool(select.select([process], [], [], seconds)[0])
