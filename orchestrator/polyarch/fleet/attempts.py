"""Brings devices what their plans say, over a fleet engine: by tunnel, stream or direct pull."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from polyarch.contract.fleet import FleetDevice, FleetEngine, FleetResult, FleetRun, FleetStarted, SendsInput
from polyarch.contract.storage import HasBlobFiles, Image
from polyarch.fleet.device_outcome import failed, skipped
from polyarch.fleet.device_pull import PullOrder, pull_script
from polyarch.fleet.facts import DeviceFacts
from polyarch.fleet.outcomes import DeviceOutcome, Transport
from polyarch.fleet.planned import DevicePlan
from polyarch.fleet.rate import RateLimit
from polyarch.fleet.runner import Begun, Happening, Sent
from polyarch.fleet.transports import NoWay, choose_transport, falls_back
from polyarch.fleet.turns import Turn
from polyarch.oci.digest import Digest
from polyarch.serve.one_time import OneTimeServer
from polyarch_platforms.lazy_dataclass import dataclass

_POLL = 0.5
"""Seconds between two looks at how many bytes have gone."""
_ASKING = 60.0
"""Seconds at most, and a quarter of the time of a device, in which an OCI layout tells what it has."""


@dataclass(frozen=True, slots=True)
class PullSettings:
    """How devices are brought what they lack.

    forks      devices at once
    timeout    seconds that one may take
    rollout    the rollout's ID, and `holder` who does it (`user@host`): both are told to others who come to a device
    transport  the only way that may be taken; None chooses
    check      a command that has to succeed on a device when all images are there
    limit      how fast streams may go; the server of the tunnels has its own hand on it
    """

    forks: int
    timeout: float
    rollout: str
    holder: str
    transport: Transport | None = None
    check: str | None = None
    limit: RateLimit | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """What an attempt works with."""

    engine: FleetEngine
    server: OneTimeServer
    images: Mapping[Digest, Image]
    blobs: HasBlobFiles
    settings: PullSettings
    sends: SendsInput | None


def shares(lanes: Sequence[int], forks: int) -> list[int]:
    """How many devices at once each lane of so many may have: `forks` together, where there are as many as lanes.

    What is left over when each has one is shared by their sizes.
    """
    spare = max(0, forks - len(lanes))
    found = [1 + spare * lane // sum(lanes) for lane in lanes]
    found[lanes.index(max(lanes))] += max(0, forks - max(len(lanes), sum(found)))
    return found


class FleetRunner:
    """Satisfies Runner. `images` has the documents of each planned variant by its manifest, `blobs` their layers."""

    def __init__(
        self,
        engine: FleetEngine,
        server: OneTimeServer,
        images: Mapping[Digest, Image],
        blobs: HasBlobFiles,
        facts: Mapping[str, DeviceFacts],
        devices: Mapping[str, FleetDevice],
        settings: PullSettings,
    ) -> None:
        sends = engine if isinstance(engine, SendsInput) else None
        self._means = Means(engine, server, images, blobs, settings, sends)
        self._facts, self._devices = facts, devices
        # Where an archive without the layers that the facts tell of did not do, the next one has all of them.
        self._whole: set[str] = set()

    @contextmanager
    def attempt(self, devices: Sequence[DevicePlan]) -> Iterator[FleetAttempt]:
        """Bring these what they lack. Leaving the context ends what is under way."""
        turns, early = list[Turn](), list[DeviceOutcome]()
        for plan in devices:
            turn = self._turn(plan)
            if isinstance(turn, Turn):
                turns.append(turn)
            else:
                early.append(turn)
        attempt = FleetAttempt(self._means, turns, early, self._whole)
        try:
            yield attempt
        finally:
            attempt.close()

    def _turn(self, plan: DevicePlan) -> Turn | DeviceOutcome:
        """A device's turn, or the outcome of one that cannot have any."""
        facts, settings = self._facts.get(plan.device), self._means.settings
        engine = facts.engine(plan.engine) if facts and plan.engine else None
        if facts is None or engine is None:
            return failed(plan, ("no-engine", f"its facts tell of no {plan.engine or 'engine'}"), time.time())
        way = choose_transport(
            engine.kind,
            forwarding=facts.forwarding,
            sends_input=self._means.sends is not None,
            asked=settings.transport,
        )
        if isinstance(way, NoWay):
            return failed(plan, (way.reason_code, way.reason), time.time())
        return Turn(plan, self._devices[plan.device], engine, way, self._means.images, settings.check is not None)


class FleetAttempt:
    """Satisfies Attempt. Devices that are served the same way go together: a lane, which has a thread of its own."""

    def __init__(self, means: Means, turns: Sequence[Turn], early: Sequence[DeviceOutcome], whole: set[str]) -> None:
        self._means, self._turns, self._early, self._whole = means, turns, early, whole
        self._events: queue.SimpleQueue[Happening | BaseException | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._runs: list[FleetRun] = []
        self._skipped: set[str] = set()
        self._ended = False
        self._threads: ThreadPoolExecutor | None = None

    def __iter__(self) -> Iterator[Happening]:
        """What happens, as it happens. Raises HostError where the fleet engine cannot run."""
        yield from self._early
        lanes: dict[tuple[Transport, bool], list[Turn]] = {}
        for turn in self._turns:
            lanes.setdefault((turn.transport, turn.engine.kind == "oci"), []).append(turn)
        if not lanes:
            return
        forks = self._means.settings.forks
        self._threads = ThreadPoolExecutor(max(1, min(forks, len(lanes))), "polyarch-lane")
        for lane, share in zip(lanes.values(), shares([*map(len, lanes.values())], forks), strict=True):
            self._threads.submit(self._go, lane, share)
        under_way, next_look = len(lanes), 0.0
        while under_way:
            try:
                event = self._events.get(timeout=_POLL)
            except queue.Empty:
                pass
            else:
                if isinstance(event, BaseException):
                    raise event
                if event is None:
                    under_way -= 1
                else:
                    yield event
            if (now := time.monotonic()) >= next_look:
                next_look = now + _POLL
                yield from self._sent()

    def _sent(self) -> Iterator[Sent]:
        for turn in self._turns:
            if turn.under_way:
                sent = turn.sent(self._means.server)
                if sent != turn.told:
                    turn.told = sent
                    yield Sent(turn.plan.device, sent)

    def skip(self, devices: Iterable[str]) -> None:
        """Do not begin with these any more."""
        names = frozenset(devices)
        with self._lock:
            self._skipped |= names
            runs = tuple(self._runs)
        for run in runs:
            run.skip(names)

    def end(self) -> None:
        """End what is under way."""
        with self._lock:
            self._ended = True
            runs = tuple(self._runs)
        for run in runs:
            run.end()

    def close(self) -> None:
        """End what is under way, and wait until it has ended."""
        self.end()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def _go(self, lane: list[Turn], forks: int) -> None:
        """A lane, in its thread."""
        try:
            self._serve(lane, forks)
        except BaseException as error:  # handed to whoever goes through the attempt
            self._events.put(error)
        finally:
            for turn in lane:
                turn.dismiss(self._means.server)
            self._events.put(None)

    def _serve(self, lane: list[Turn], forks: int) -> None:
        lane = self._not_skipped(lane)
        timeout = self._means.settings.timeout
        if lane and lane[0].engine.kind == "oci":
            asking = min(_ASKING, timeout / 4)
            lane = self._asked(lane, forks, asking)
            timeout -= asking
        if lane:
            fallen = self._run(lane, forks, timeout)
            if fallen:
                self._run(fallen, forks, timeout - min(turn.spent for turn in fallen))

    def _not_skipped(self, lane: list[Turn]) -> list[Turn]:
        with self._lock:
            going = [turn for turn in lane if turn.plan.device not in self._skipped]
        for turn in lane:
            if turn not in going:
                self._events.put(skipped(turn.plan, turn.transport))
        return going

    def _asked(self, lane: list[Turn], forks: int, timeout: float) -> list[Turn]:
        """Ask the OCI layouts what they have: those that are to be sent something, or checked.

        With these nothing has begun yet, so that they can still be skipped.
        """
        going = list[Turn]()
        run = self._means.engine.run
        tasks = [turn.question(self._order(timeout)) for turn in lane]
        opened = partial(run, pull_script(), tasks, forks=forks, timeout=timeout)
        for turn, result in self._results(lane, opened, begins=False):
            outcome = turn.told_layout(result, self._means.images)
            if outcome is None:
                going.append(turn)
                continue
            if result.status != "skipped":
                self._begin(turn, result.began)
            self._end(turn, outcome)
        return going

    def _run(self, lane: list[Turn], forks: int, timeout: float) -> list[Turn]:
        """Serve devices of one transport; those whose tunnel is forbidden, and which are to be served by a stream."""
        means, how = self._means, lane[0].transport
        # Who fell first has all of `timeout` left; the scripts of the others end themselves earlier.
        least = min(turn.spent for turn in lane)
        orders = [self._order(timeout - (turn.spent - least)) for turn in lane]
        tasks = [
            turn.task(order, means.server, means.blobs, means.images) for turn, order in zip(lane, orders, strict=True)
        ]
        script, fallen = pull_script(), list[Turn]()

        def opened() -> AbstractContextManager[FleetRun]:
            if how == "stream":
                assert means.sends is not None, "transports.py chooses no stream then"
                inputs = {
                    turn.plan.device: turn.stream(
                        means.images, means.blobs, means.settings.limit, whole=turn.plan.device in self._whole
                    )
                    for turn in lane
                }
                return means.sends.run_with_input(script, tasks, inputs, forks=forks, timeout=timeout)
            reach = means.server.port if how == "tunnel" else None
            return means.engine.run(script, tasks, forks=forks, timeout=timeout, reach=reach)

        for turn, result in self._results(lane, opened):
            again = falls_back(turn.engine.kind, sends_input=means.sends is not None, asked=means.settings.transport)
            if result.status == "no-forwarding" and how == "tunnel" and again and not self._ended:
                turn.dismiss(means.server)
                turn.transport, turn.spent = "stream", max(0.0, result.ended - turn.began)
                fallen.append(turn)
                continue
            outcome = turn.outcome(result, means.server)
            if how == "stream" and outcome.reason_code in ("integrity", "internal"):
                self._whole.add(turn.plan.device)
            self._end(turn, outcome)
        return fallen

    def _end(self, turn: Turn, outcome: DeviceOutcome) -> None:
        turn.dismiss(self._means.server)
        self._events.put(outcome)

    def _order(self, timeout: float) -> PullOrder:
        """The script gives up a little before the engine does, so that it can say how far it came."""
        settings = self._means.settings
        return PullOrder(
            path=f"polyarch/{secrets.token_hex(16)}",
            nonce=secrets.token_hex(16),
            holder=f"rollout {settings.rollout} of {settings.holder}",
            limit=int(timeout - min(10.0, timeout / 5)),
            check=settings.check,
        )

    def _results(
        self, lane: list[Turn], open_run: Callable[[], AbstractContextManager[FleetRun]], *, begins: bool = True
    ) -> Iterator[tuple[Turn, FleetResult]]:
        """Go through a run: each turn with its result. Where turns begin with it, that is told at once."""
        waiting = {turn.plan.device: turn for turn in lane}
        with open_run() as run, self._registered(run):
            for event in run:
                turn = waiting.get(event.device)
                if turn is None:
                    continue
                if isinstance(event, FleetStarted):
                    if begins:
                        self._begin(turn, event.at)
                    continue
                del waiting[event.device]
                if begins and event.status != "skipped":
                    self._begin(turn, event.began)
                yield turn, event
        for turn in waiting.values():
            yield turn, FleetResult(turn.plan.device, "failed", error="the fleet engine told nothing of it")

    def _begin(self, turn: Turn, at: float) -> None:
        if not turn.began:
            turn.began, turn.under_way = at or time.time(), True
            self._events.put(Begun(turn.plan.device, turn.began))

    @contextmanager
    def _registered(self, run: FleetRun) -> Iterator[None]:
        """Let the run know of what is skipped and ended, also of what was before it began."""
        with self._lock:
            self._runs.append(run)
            names, ended = frozenset(self._skipped), self._ended
        # A device that has begun, by a tunnel that was none, goes on.
        if names := names - {turn.plan.device for turn in self._turns if turn.began}:
            run.skip(names)
        if ended:
            run.end()
        try:
            yield
        finally:
            with self._lock:
                self._runs.remove(run)
