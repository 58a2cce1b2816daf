"""The journal of a rollout: its events as JSON Lines, each on the disk before what follows from it is done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

from polyarch.errors import IntegrityError, StorageError
from polyarch.events import Event
from polyarch.files import disk_error, open_regular
from polyarch.fleet.json_values import number_of, time_of
from polyarch.fleet.outcomes_json import outcome_from_json, outcome_json
from polyarch.fleet.rollout_events import (
    DeviceBegun,
    DeviceFinished,
    DeviceTried,
    PlatformStopped,
    RolloutBegun,
    RolloutEnded,
    WaveBegun,
    WaveEnded,
)
from polyarch.oci.json import mapping_of, parse_json, string_map, text_of

KEPT = (
    RolloutBegun,
    WaveBegun,
    WaveEnded,
    DeviceBegun,
    DeviceTried,
    DeviceFinished,
    PlatformStopped,
    RolloutEnded,
)
"""The events that a journal keeps."""


class Journal:
    """The end of a journal, to write on. One process has it at a time: the caller holds a lock."""

    def __init__(self, path: Path) -> None:
        """What a killed process left of a line at the end is cut off. Raises StorageError."""
        self._path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            os.ftruncate(self._file, _whole(self._file))
        except OSError as error:
            raise disk_error(error, f"cannot open {path}") from error

    def append(self, event: Event) -> None:
        """Write an event down; one that is not `KEPT` is passed over. Raises StorageError."""
        if not isinstance(event, KEPT):
            return
        line = json.dumps(_event_json(event), ensure_ascii=False, separators=(",", ":")) + "\n"
        left = line.encode("utf-8", "backslashreplace")
        try:
            while left:
                left = left[os.write(self._file, left) :]
            if _matters(event):
                os.fdatasync(self._file)
        except OSError as error:
            raise disk_error(error, f"cannot write {self._path}") from error

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)


def _matters(event: Event) -> bool:
    """False for what is found again without the journal, should the machine crash: who has no outcome is asked again,
    stops follow from outcomes. Such a line is written at once all the same, so that it outlives the process; a fleet
    that is stopped has thousands of devices that are skipped, and a sync takes milliseconds.
    """
    if isinstance(event, DeviceFinished):
        return event.outcome.attempts > 0
    return not isinstance(event, DeviceBegun | PlatformStopped)


def _whole(descriptor: int) -> int:
    """The length of the file up to the end of its last whole line."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        begin = max(0, end - (1 << 16))
        found = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def read_journal(path: Path) -> list[Event]:
    """The events, oldest first; none where there is no file. What was left of a line at the end is passed over.

    Raises StorageError where another line is damaged.
    """
    events: list[Event] = []
    try:
        with open_regular(path) as stream:
            for number, line in enumerate(stream, 1):
                if line.endswith(b"\n"):
                    events.append(_event(line, f"{path}, line {number}"))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise disk_error(error, f"cannot read {path}") from error
    return events


def _event_json(event: Event) -> dict[str, object]:
    values: dict[str, object] = {"event": type(event).__name__}
    for field in fields(event):
        value = getattr(event, field.name)
        values[field.name] = outcome_json(value) if field.name == "outcome" else value
    return values


def _event(line: bytes, where: str) -> Event:
    try:
        document = parse_json(line, "an event")
        read = _READERS.get(text_of(document, "event", "an event"))
        if read is None:
            raise IntegrityError("an event that is not known")
        return read(document)
    except IntegrityError as error:
        raise StorageError(
            f"{where}: {error.message}", "the journal is damaged: begin another rollout, which repeats nothing"
        ) from error


def _text(document: Mapping[str, object], key: str) -> str:
    return text_of(document, key, "an event")


_READERS: Mapping[str, Callable[[Mapping[str, object]], Event]] = {
    "RolloutBegun": lambda one: RolloutBegun(
        _text(one, "rollout"),
        number_of(one, "devices"),
        number_of(one, "waves"),
        one.get("resumed") is True,
        time_of(one, "at"),
        number_of(one, "origin_bytes"),
    ),
    "WaveBegun": lambda one: WaveBegun(
        number_of(one, "wave"), string_map(one.get("members"), "members"), time_of(one, "at")
    ),
    "WaveEnded": lambda one: WaveEnded(number_of(one, "wave"), time_of(one, "at")),
    "DeviceBegun": lambda one: DeviceBegun(
        _text(one, "device"), _text(one, "platform"), number_of(one, "wave"), time_of(one, "at")
    ),
    "DeviceTried": lambda one: DeviceTried(outcome_from_json(mapping_of(one.get("outcome"), "outcome"))),
    "DeviceFinished": lambda one: DeviceFinished(outcome_from_json(mapping_of(one.get("outcome"), "outcome"))),
    "PlatformStopped": lambda one: PlatformStopped(
        None if one.get("platform") is None else _text(one, "platform"), _text(one, "reason"), time_of(one, "at")
    ),
    "RolloutEnded": lambda one: RolloutEnded(
        _text(one, "rollout"), one.get("cancelled") is True, time_of(one, "at"), number_of(one, "origin_bytes")
    ),
}
