"""What is known of a container, as it stands in its directory."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from polyarch.errors import StorageError
from polyarch.files import disk_error, is_disk_fault, random_name, read_bounded, write_in_one_step
from polyarch_platforms.lazy_dataclass import dataclass

RECORD = "container.json"
MAKING = "making.json"
"""The record of a container that is being made: nobody sees it yet, but what it names is not taken away."""

_MAX_RECORD = 1 << 20

Status: TypeAlias = Literal["created", "running", "exited", "damaged"]
Form: TypeAlias = Literal["erofs", "unpacked"]


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a container.

    `image` is the reference, `manifest` its digest, `command` what was started, `layers` the names of its snapshots,
    topmost first, and `form` what these are; `created`, `started` and `finished` are times in UTC (ISO 8601; "" for not
    yet). `pid` is the host's
    process ID of the runtime, which is process 1 of the outermost PID namespace (0 where none runs). `runtime` is the
    name of the OCI runtime, `stop_signal` the number of the signal that asks the program to end. `detached`: its output
    is kept in a log. `rm`: the container goes when it ends. `exit_code` is 128 and the number where a signal ended it.
    `status` is `damaged` where the record cannot be read; in none that can it is.
    """

    id: str
    name: str
    image: str
    manifest: str
    platform: str
    command: tuple[str, ...]
    created: str
    layers: tuple[str, ...]
    rm: bool
    detached: bool = False
    runtime: Literal["crun", "runc", "none"] = "crun"
    stop_signal: int = signal.SIGTERM.value
    pid: int = 0
    status: Status = "created"
    started: str = ""
    finished: str = ""
    exit_code: int | None = None
    form: Form = "unpacked"


_KEYS = frozenset(Record.__match_args__)
_NUMBERS = ("stop_signal", "pid")
_FLAGS = ("rm", "detached")
_TEXTS = _KEYS.difference(_NUMBERS, _FLAGS, ("command", "layers", "exit_code"))


def new_id() -> str:
    """64 random hexadecimal digits."""
    return random_name(32)


def now() -> str:
    """The time as records have it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def write_record(directory: Path, record: Record, name: str = RECORD) -> None:
    """Put the record into a container's directory, in one step. Raises OSError."""
    data = json.dumps(asdict(record), ensure_ascii=True, indent=1).encode()
    write_in_one_step(directory / name, data, directory / f".{name}", sync=False)


def read_record(directory: Path, name: str = RECORD) -> Record | None:
    """The record in a directory; None where there is none, or none that makes sense.

    Raises StorageError where the disk is at fault.
    """
    try:
        document = json.loads(read_bounded(directory / name, _MAX_RECORD))
        known = {key: value for key, value in document.items() if key in _KEYS}
        record = Record(**{**known, "command": tuple(document["command"]), "layers": tuple(document["layers"])})
    except OSError as error:
        if is_disk_fault(error):
            raise disk_error(error, f"cannot read {directory / name}") from error
        return None
    except (StorageError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return record if _is_sound(record) else None


def _is_sound(record: Record) -> bool:
    """Whether each field is of its kind."""
    texts = [getattr(record, name) for name in _TEXTS]
    numbers = [getattr(record, name) for name in _NUMBERS]
    flags = [getattr(record, name) for name in _FLAGS]
    return (
        all(isinstance(each, str) for each in (*texts, *record.command, *record.layers))
        and all(isinstance(each, int) for each in numbers)
        and all(isinstance(each, bool) for each in flags)
        and isinstance(record.exit_code, int | None)
        and record.status in ("created", "running", "exited")
    )
