"""The fleet's verbs: what each device would get, bringing it there, and how the devices stand."""

from __future__ import annotations

import getpass
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Literal

from polyarch.contract.fleet import FleetDevice, FleetEngine, SendsInput
from polyarch.contract.others import Verifier
from polyarch.errors import UsageError
from polyarch.events import Emit, Event, Warned
from polyarch.fleet.attempts import FleetRunner, PullSettings
from polyarch.fleet.interrupt import Interrupt
from polyarch.fleet.outcomes import SUCCEEDED
from polyarch.fleet.plan_event import FleetPlanned
from polyarch.fleet.plan_json import PLAN_HINT, read_plan
from polyarch.fleet.planned import DevicePlan, Plan, PlanSettings
from polyarch.fleet.rate import RateLimit
from polyarch.fleet.record import RolloutRecord
from polyarch.fleet.rollout import Rollout
from polyarch.fleet.rollout_events import DeviceFinished
from polyarch.fleet.rollouts import OpenRollout, Rollouts
from polyarch.fleet.wishes import wishes_of
from polyarch.lock.lock_file import parse_lock, read_lock
from polyarch.lock.locked import LockedImage
from polyarch.serve.one_time import OneTimeServer
from polyarch.settings import Settings
from polyarch.unpack.limits import limits_of
from polyarch.verbs.fleet.bring import FleetImages
from polyarch.verbs.fleet.facts_cache import FactsCache
from polyarch.verbs.fleet.in_hand import FleetInHand
from polyarch.verbs.fleet.offers import FleetOffers, ImageParts
from polyarch.verbs.fleet.request import (
    FleetRequest,
    PullRequest,
    pull_from_json,
    request_from_json,
)
from polyarch.verbs.fleet.status import DeviceState, state_of
from polyarch.verbs.lock import LockVerbs
from polyarch_platforms.lazy_dataclass import dataclass

_FILES_A_DEVICE = 16
"""An engine asks for several blobs at once, over a connection each, and each answer has its file."""

_OF_LAST: Mapping[str, Literal["failed", "offline"]] = {"@failed": "failed", "@offline": "offline"}


@dataclass(frozen=True, slots=True)
class FleetParts:
    """What the verbs are made of.

    engine     the fleet engine of an inventory's words, and the words as it takes them
    reference  the whole name of an image
    images     what images are resolved with
    verifiers  the rules that images have to keep
    locks      the lock files' verbs
    storage    what the user calls the storage that images go through
    """

    engine: Callable[[Sequence[str]], tuple[FleetEngine, tuple[str, ...]]]
    reference: Callable[[str], object]
    images: Callable[[], ImageParts]
    verifiers: Callable[[], Sequence[Verifier]]
    locks: LockVerbs
    storage: str


Interrupting = Callable[[], AbstractContextManager[Interrupt]]
"""While it is entered, the user can end a rollout by the Interrupt that it gives."""


class FleetVerbs:
    """`session.fleet`."""

    def __init__(self, settings: Settings, parts: FleetParts, emit: Emit) -> None:
        self._settings, self._parts, self._emit = settings, parts, emit
        self._folder = settings.root / "fleet"

    @property
    def rollouts(self) -> Rollouts:
        """The rollouts of the past."""
        return Rollouts(self._folder / "rollouts")

    def plan(self, request: FleetRequest) -> Plan:
        """What each device would get; nothing is changed but what is known of the devices.

        Raises UsageError (an unknown device or group, a broken inventory, no image), IntegrityError for a name that
        moved since it was locked, HostError, StorageError.
        """
        fleet = self._fleet(request)
        return fleet.plan().plan

    def pull(
        self, request: FleetRequest, how: PullRequest, interrupting: Interrupting, plan_file: Path | None = None
    ) -> RolloutRecord:
        """Bring the images to the devices; the record of the rollout, whatever came of each device.

        With `plan_file` exactly what that plan says, for the devices that `request.limit` leaves of it. Raises as
        `plan`.
        """
        planned = _read(plan_file) if plan_file else None
        fleet = self._fleet(request, planned, how=how)
        if planned is not None:
            planned = replace(planned, devices=tuple(one for one in planned.devices if one.device in fleet.devices))
        images = self._images(fleet)
        made = images.bring(
            lambda: fleet.plan_again(planned.devices) if planned else fleet.plan(),
            fleet.answers,
            direct=how.transport == "direct",
        )
        command = {**fleet.to_json(), "pull": how.to_json()}
        with self.rollouts.begin(made.plan, how.rollout, command) as opened:
            return self._rollout(opened, fleet, images, how, interrupting)

    def resume(self, interrupting: Interrupting) -> RolloutRecord:
        """Go on with the rollout that was broken off. Raises UsageError where there is none; else as `plan`."""
        with self.rollouts.resume() as opened:
            command = opened.command
            request = request_from_json(_table(command, "request"))
            how = pull_from_json(_table(command, "pull"), opened.settings)
            fleet = self._fleet(request, opened.plan, ask=False, how=how, earlier=command)
            return self._rollout(opened, fleet, self._images(fleet), how, interrupting)

    def status(self, request: FleetRequest) -> Iterator[DeviceState]:
        """How each device stands, against what it should have; where one does not answer, what it said last counts.

        Raises as `plan`; that no image is asked for is no error.
        """
        fleet = self._fleet(request, images_needed=False)
        faults = fleet.remember()
        made = fleet.plan()
        now = time.time()
        for planned in made.plan.devices:
            name = planned.device
            yield state_of(
                planned, fleet.facts.get(name), faults.get(name), made.contents, fleet.wish(name).images, now
            )

    def report(self) -> RolloutRecord:
        """The record of the last rollout. Raises NotFoundError."""
        return self.rollouts.record()

    def _fleet(
        self,
        request: FleetRequest,
        plan: Plan | None = None,
        *,
        ask: bool = True,
        images_needed: bool = True,
        how: PullRequest | None = None,
        earlier: Mapping[str, object] | None = None,
    ) -> FleetInHand:
        """`earlier` is what `FleetInHand.to_json` gave when the rollout of `plan` began."""
        engine, words = self._parts.engine(request.inventory)
        devices = self._devices(engine, words, request.limit, plan)
        wishes = {device.name: wishes_of(device) for device in devices}
        names, locked = self._names(request) if earlier is None else _names_of(earlier)
        stood = {} if earlier is None else _texts(_table(earlier, "stands"))
        if images_needed and plan is None and names is None and not any(one.images for one in wishes.values()):
            raise UsageError(
                "no image is asked for",
                "name some, or a file with --compose or --locked, or set polyarch_images in the inventory",
            )
        policy = request.emulation or self._settings.emulation
        fleet = FleetInHand(
            request=request,
            engine=engine,
            devices={device.name: device for device in devices},
            wishes=wishes,
            names=names,
            locked=locked,
            by_plan=plan is not None if earlier is None else earlier.get("by_plan") is True,
            whole=lambda name: str(self._parts.reference(name)),
            offers=FleetOffers(self._parts.images(), policy, locked, stood),
            plan_settings=PlanSettings(
                policy,
                request.engine,
                check=how is not None and how.check is not None,
                transport=how.transport if how else None,
                sends_input=isinstance(engine, SendsInput),
            ),
            cache=FactsCache(self._folder / "facts", request.inventory),
            emit=self._emit,
        )
        if ask:
            fleet.ask(devices, request.max_age)
        return fleet

    def _devices(
        self, engine: FleetEngine, words: Sequence[str], limit: str, plan: Plan | None
    ) -> tuple[FleetDevice, ...]:
        """Those that are meant, of a plan only its own. Raises UsageError where none is."""
        last = _OF_LAST.get(limit)
        devices = tuple(engine.devices(words, "" if last else limit))
        if last is not None:
            names = set(self.rollouts.devices(last))
            devices = tuple(device for device in devices if device.name in names)
            if not devices:
                raise UsageError(
                    f"no device of the inventory was {last} in the last rollout", "see: polyarch fleet report"
                )
        if plan is not None:
            names = {one.device for one in plan.devices}
            devices = tuple(device for device in devices if device.name in names)
            if not devices:
                raise UsageError(
                    "no device of the plan is in the inventory", "name the inventory that it was made with"
                )
        return devices

    def _names(self, request: FleetRequest) -> tuple[list[str] | None, dict[str, LockedImage]]:
        """The whole names that are asked for, None where devices have their own; and what they are locked to."""
        asked = list(request.images)
        if request.compose is not None:
            for name, platforms in self._parts.locks.named_in(request.compose).items():
                asked.append(name)
                if platforms:
                    words = f"{request.compose} asks for {name} for {', '.join(platforms)}"
                    self._emit(Warned(f"{words}; each device gets the variant that it can run"))
        if request.locked is None:
            return ([str(self._parts.reference(name)) for name in dict.fromkeys(asked)] if asked else None), {}
        lock = read_lock(request.locked)
        entries = self._parts.locks.entries(
            lock, asked or [str(image.reference) for image in lock.images], request.locked
        )
        locked = {str(image.reference): image for image in entries.values()}
        return list(locked), locked

    def _images(self, fleet: FleetInHand) -> FleetImages:
        return FleetImages(
            fleet.offers,
            self._parts.images().storage,
            self._parts.storage,
            self._parts.verifiers(),
            max_connections=self._settings.max_connections,
            retries=self._settings.retries,
            emit=self._emit,
            limits=limits_of(self._settings),
        )

    def _rollout(
        self, opened: OpenRollout, fleet: FleetInHand, images: FleetImages, how: PullRequest, interrupting: Interrupting
    ) -> RolloutRecord:
        self._emit(FleetPlanned(opened.plan, opened.state.staying()))
        limit = RateLimit(how.limit_rate) if how.limit_rate else None
        first = {one.device: one for one in opened.plan.devices}

        def plan_again(names: Sequence[str], interrupt: Interrupt) -> Sequence[DevicePlan]:
            fleet.ask([fleet.devices[name] for name in names if name in fleet.devices], interrupt=interrupt)
            if interrupt.cancelled:  # nothing more begins, so that nothing need be brought for it
                return ()
            devices = [first[name] for name in names]
            made = images.bring(lambda: fleet.plan_again(devices), fleet.answers, direct=how.transport == "direct")
            return made.plan.devices

        def emit(event: Event) -> None:
            if isinstance(event, DeviceFinished) and event.outcome.status in SUCCEEDED and event.outcome.attempts:
                fleet.cache.outdate(event.outcome.device)
            self._emit(event)

        _allow_files(_FILES_A_DEVICE * fleet.request.forks)
        with OneTimeServer(limit) as server, interrupting() as interrupt:
            runner = FleetRunner(
                fleet.engine,
                server,
                images.images,
                images.blobs,
                fleet.facts,
                fleet.devices,
                PullSettings(
                    fleet.request.forks,
                    fleet.request.timeout,
                    opened.id,
                    f"{_user()}@{socket.gethostname()}",
                    how.transport,
                    how.check,
                    limit,
                ),
            )
            return Rollout(
                opened,
                runner,
                lambda names: plan_again(names, interrupt),
                emit=emit,
                interrupt=interrupt,
                origin_bytes=lambda: images.origin_bytes,
            ).run()


def _allow_files(count: int) -> None:
    """Raise this process's limit of open files, as far as it may, so that so many more fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 256
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _read(path: Path) -> Plan:
    """The plan in a file. Raises UsageError."""
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            return read_plan(lines, str(path))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}", PLAN_HINT) from error


def _table(command: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = command.get(key)
    return value if isinstance(value, Mapping) else {}


def _names_of(earlier: Mapping[str, object]) -> tuple[list[str] | None, dict[str, LockedImage]]:
    """As `_names`, when a rollout began."""
    names, lock = earlier.get("images"), earlier.get("lock")
    images = parse_lock(lock, "the rollout's lock").images if isinstance(lock, str) else ()
    return list(map(str, names)) if isinstance(names, list) else None, {str(image.reference): image for image in images}


def _texts(table: Mapping[str, object]) -> dict[str, str]:
    return {name: text for name, text in table.items() if isinstance(text, str)}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user who has no name
        return str(os.getuid())
