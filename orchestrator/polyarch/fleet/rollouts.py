"""Rollouts on disk: `ROOT/fleet/rollouts/ID/`, for a killed one to be gone on with, and for reports.

Each has `rollout.json` (settings, and what the session wrote down), `plan.jsonl`, `journal.jsonl`, and `lock`: held by
flock(2) by the process that is at it, which stands in it. Who makes, tries or takes such a lock holds that of the
folder above. Nobody else may read them: folders are 0700, files 0600.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal

from polyarch.errors import IntegrityError, NotFoundError, StorageError, UsageError, printable
from polyarch.events import Event
from polyarch.files import disk_error, make_directory, read_bounded, sync_directory
from polyarch.fleet.journal import Journal, read_journal
from polyarch.fleet.plan_json import plan_lines, read_plan
from polyarch.fleet.planned import Plan
from polyarch.fleet.record import RolloutRecord, RolloutSettings, settings_from_json
from polyarch.fleet.rollout_state import RolloutState
from polyarch.oci.json import mapping_of, parse_json

KEPT_ROLLOUTS = 20
"""Older ones are removed when another begins; one that runs never is."""

_VERSION = 1
_ID = re.compile(r"[0-9]{8}-[0-9]{6}")
_ID_FORM = "%Y%m%d-%H%M%S"
_SETTINGS, _PLAN, _JOURNAL, _HELD, _LOCK = "rollout.json", "plan.jsonl", "journal.jsonl", "held.json", "lock"
_MAX_SETTINGS = 16 << 20


class OpenRollout:
    """A rollout that this process is at. Leave it as a context manager; its lock dies with the process, too.

    state    where it stood when it was opened
    held     devices that another rollout is at, and which, in words
    resumed  another process was at it before, if only to write it down
    """

    def __init__(
        self, folder: Path, lock: int, held: Mapping[str, str], stored: _Stored, *, resumed: bool = False
    ) -> None:
        self.id = folder.name
        self.plan, self.settings, self.command, self.state = stored.plan, stored.settings, stored.command, stored.state
        self.held = held
        self.resumed = resumed
        self._lock = lock
        self._journal = Journal(folder / _JOURNAL)

    def append(self, event: Event) -> None:
        """Write what happened into the journal. Raises StorageError."""
        self._journal.append(event)

    def __enter__(self) -> OpenRollout:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._journal.close()
        os.close(self._lock)


class Rollouts:
    """The rollouts in `folder` (`ROOT/fleet/rollouts`), which need not be there yet."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock

    def begin(self, plan: Plan, settings: RolloutSettings, command: Mapping[str, object] | None = None) -> OpenRollout:
        """A new rollout. `command` are JSON values that going on with it needs; it must hold no secret.

        Its name is the time (UTC), and later than every other's. Raises StorageError.
        """
        document = {"version": _VERSION, "settings": settings.to_json(), "command": dict(command or {})}
        with self._locked():
            ids = self._ids()
            folder = self._folder / self._new_id(ids)
            self._sweep()
            made = self._folder / f".{folder.name}"
            made.mkdir(0o700)
            _write(made / _SETTINGS, json.dumps(document, ensure_ascii=False) + "\n")
            _write(made / _PLAN, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in plan_lines(plan)))
            held = self._held(ids, command or {})
            lock = _take(made)
            try:
                _write(made / _HELD, json.dumps(held, ensure_ascii=False))
                made.rename(folder)
                sync_directory(self._folder)
                self._prune(ids)
                return OpenRollout(folder, lock, held, _Stored(folder))
            except BaseException:
                os.close(lock)
                raise

    def resume(self, identity: str = "") -> OpenRollout:
        """Go on with a rollout: the last one that was broken off or cancelled, or the named one.

        Raises UsageError where there is none, it runs, or it has ended; NotFoundError for a name that there is not;
        StorageError.
        """
        with self._locked():
            ids = self._ids()
            folder = self._folder / (self._known(identity, ids) if identity else self._unfinished(ids))
            lock = _take(folder)
            try:
                stored = _Stored(folder)
                if stored.state.phase == "ended":
                    hint = "repeat what did not succeed with: --limit @failed, --limit @offline"
                    raise UsageError(f"the rollout {folder.name} has come to its end", hint)
                held = self._held([other for other in ids if other != folder.name], stored.command)
                new = folder / f".{_HELD}"
                _write(new, json.dumps(held, ensure_ascii=False))
                new.rename(folder / _HELD)
                return OpenRollout(folder, lock, held, stored, resumed=True)
            except BaseException:
                os.close(lock)
                raise

    def ids(self) -> tuple[str, ...]:
        """The names of all rollouts, the oldest first."""
        return tuple(self._ids()) if self._folder.is_dir() else ()

    def record(self, identity: str = "") -> RolloutRecord:
        """What is known of a rollout: the last, or the named one. Raises NotFoundError, StorageError."""
        if not self._folder.is_dir():
            raise _none()
        with self._locked():
            ids = self._ids()
            if not ids:
                raise _none()
            folder = self._folder / (self._known(identity, ids) if identity else ids[-1])
            running = _runs(folder)
            stored = _Stored(folder)
        return stored.state.record(folder.name, running=running, command=stored.command)

    def devices(self, status: Literal["failed", "offline"]) -> tuple[str, ...]:
        """The devices that failed, or were offline, in the last rollout, in the plan's order. Raises as `record`."""
        return tuple(one.device for one in self.record().outcomes.values() if one.status == status)

    def _new_id(self, ids: list[str]) -> str:
        """Later than all others, also where the clock went back."""
        at = int(self._clock())
        if ids:
            at = max(at, _seconds(ids[-1]) + 1)
        return time.strftime(_ID_FORM, time.gmtime(at))

    def _ids(self) -> list[str]:
        try:
            return sorted(path.name for path in self._folder.iterdir() if _ID.fullmatch(path.name))
        except OSError as error:
            raise disk_error(error, f"cannot read {self._folder}") from error

    def _known(self, identity: str, ids: list[str]) -> str:
        if identity not in ids:
            raise NotFoundError(
                f"there is no rollout '{printable(identity, 100)}'", f"there are: {', '.join(reversed(ids)) or 'none'}"
            )
        return identity

    def _unfinished(self, ids: list[str]) -> str:
        running = ""
        for identity in reversed(ids):
            folder = self._folder / identity
            if _runs(folder):
                running = running or _who(folder)
            elif _Stored(folder).state.phase != "ended":
                return identity
        if running or not ids:
            raise UsageError(f"there is no rollout to go on with: {running or 'there has been none'}")
        raise UsageError(
            f"there is no rollout to go on with: the last, {ids[-1]}, has come to its end",
            "what it came to: polyarch fleet report; repeat what did not succeed with --limit @failed or @offline",
        )

    def _held(self, ids: list[str], command: Mapping[str, object]) -> dict[str, str]:
        """The devices that rollouts that run have not done with, and which rollout that is.

        Those of the inventory of `command`: another one may have a `pi1`, too. Where both mean the same device, that
        tells itself who is at it.
        """
        found: dict[str, str] = {}
        for identity in ids:
            folder = self._folder / identity
            if not _runs(folder):
                continue
            stored, who = _Stored(folder), _who(folder)
            if _inventory(stored.command) != _inventory(command):
                continue
            for plan in stored.plan.devices:
                waits = plan.verdict == "will-pull" or plan.reason_code == "offline"
                if waits and plan.device not in stored.state.final and plan.device not in stored.held:
                    found[plan.device] = who
        return found

    def _prune(self, ids: list[str]) -> None:
        for identity in ids[: -(KEPT_ROLLOUTS - 1)]:
            if not _runs(self._folder / identity):
                gone = self._folder / f".{identity}"  # which nobody reads, should this be killed
                with contextlib.suppress(OSError):
                    (self._folder / identity).rename(gone)
                    shutil.rmtree(gone, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a killed process left, half made or half removed."""
        for path in self._folder.iterdir():
            if path.name.startswith("."):
                shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            make_directory(self._folder, 0o700)
            descriptor = _open_lock(self._folder)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise disk_error(error, f"cannot write in {self._folder}") from error


class _Stored:
    """What the files of a rollout say. Raises StorageError."""

    def __init__(self, folder: Path) -> None:
        try:
            document = parse_json(read_bounded(folder / _SETTINGS, _MAX_SETTINGS), _SETTINGS)
            if document.get("version") != _VERSION:
                raise StorageError(f"{folder} is of another version of polyarch")
            self.settings = settings_from_json(mapping_of(document.get("settings"), "settings"))
            self.command = mapping_of(document.get("command"), "command")
            with (folder / _PLAN).open(encoding="utf-8") as lines:
                self.plan = read_plan(lines, _PLAN)
            self.held = frozenset(parse_json(read_bounded(folder / _HELD, _MAX_SETTINGS), _HELD))
            self.state = RolloutState(self.plan, self.settings)
            for event in read_journal(folder / _JOURNAL):
                self.state.apply(event)
        except (IntegrityError, UsageError, UnicodeDecodeError, LookupError) as error:
            raise StorageError(f"{folder} is damaged: {error}", "begin another rollout: it repeats nothing") from error
        except OSError as error:
            raise disk_error(error, f"cannot read {folder}") from error


def _none() -> NotFoundError:
    return NotFoundError("there has been no rollout yet", "begin one with: polyarch fleet pull")


def _inventory(command: Mapping[str, object]) -> object:
    """What names a rollout's devices: the words of its inventory, else the folder that has Ansible's own."""
    request = command.get("request")
    return (request.get("inventory") or request.get("folder")) if isinstance(request, Mapping) else None


def _seconds(identity: str) -> int:
    """The time in a rollout's name."""
    import calendar

    return calendar.timegm(time.strptime(identity, _ID_FORM))


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)


def _open_lock(folder: Path) -> int:
    return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _take(folder: Path) -> int:
    """The lock of a rollout, held, with this process in it. Raises UsageError where another process has it."""
    descriptor = _open_lock(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except BlockingIOError as error:
        os.close(descriptor)
        raise UsageError(_who(folder), "wait for its end, or end that process") from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _runs(folder: Path) -> bool:
    """A process is at the rollout."""
    descriptor = _open_lock(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _who(folder: Path) -> str:
    """The process that is at a rollout, in words."""
    try:
        process = printable((folder / _LOCK).read_text("utf-8", "replace"), 20)
    except OSError:
        process = ""
    return f"the rollout {folder.name} is at it" + (f" (process {process})" if process else "")
