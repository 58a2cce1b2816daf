"""A rollout: waves of devices, one after the other, with retries, the stop rule, and devices that are offline."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from polyarch.errors import PolyarchError
from polyarch.events import Emit, Event, Warned, ignore
from polyarch.fleet.interrupt import Interrupt
from polyarch.fleet.outcomes import DeviceOutcome, Stop
from polyarch.fleet.plan import UNKNOWN
from polyarch.fleet.planned import DevicePlan
from polyarch.fleet.reasons import ReasonCode
from polyarch.fleet.record import RolloutRecord
from polyarch.fleet.rollout_events import (
    DeviceBegun,
    DeviceFinished,
    DeviceSent,
    DeviceTried,
    Pausing,
    PlatformStopped,
    RolloutBegun,
    RolloutEnded,
    WaitingForOffline,
    WaveBegun,
    WaveEnded,
)
from polyarch.fleet.rollouts import OpenRollout
from polyarch.fleet.runner import Attempt, Begun, Runner, Sent
from polyarch.fleet.untried import brought, shown, untried
from polyarch.fleet.waves import make_waves

RETRIED: tuple[ReasonCode, ...] = ("unreachable", "timeout", "integrity", "internal")
"""Reasons that may be gone at the next attempt: the way broke, it took too long, what came was damaged, or it is one
that nobody foresaw. Somebody has to mend what the others tell; `offline` has its own way.
"""

RETRY_DELAY, LONGEST_RETRY_DELAY = 2.0, 60.0
"""Seconds before the first retry, doubled for each further one."""

OFFLINE_DELAY, LONGEST_OFFLINE_DELAY = 10.0, 300.0
"""Seconds until offline devices are looked for, doubled each time."""

PlanAgain: TypeAlias = Callable[[Sequence[str]], Sequence[DevicePlan]]
"""The plans of these devices as they are now: what is missing alone travels. Raises PolyarchError."""


class Rollout:
    """Brings the devices of `opened` what they should have; `run` once.

    Where the controller was killed, or the rollout cancelled, an `opened` that was resumed goes on: what succeeded
    stays, what is stopped stays so, and all other devices are planned again, those that failed too, and go through the
    waves that they belong to. One that was begun is always tried again, also where nothing is missing: what was left
    on it has to go, and its check has to be made.

    A device that comes back while others are served joins the next wave; afterwards, such devices make further waves.
    """

    def __init__(
        self,
        opened: OpenRollout,
        runner: Runner,
        plan_again: PlanAgain,
        *,
        emit: Emit = ignore,
        interrupt: Interrupt | None = None,
        origin_bytes: Callable[[], int] = lambda: 0,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`origin_bytes` tells what has come from registries for it in this process so far; `clock` the seconds since
        1970, and `timer` those that pass.
        """
        self._opened, self._runner, self._plan_again = opened, runner, plan_again
        self._state, self._settings = opened.state, opened.settings
        self._emit, self._interrupt, self._origin_bytes = emit, interrupt or Interrupt(), origin_bytes
        self._clock, self._timer = clock, timer
        self._first = {plan.device: plan for plan in opened.plan.devices}
        self._plans: dict[str, DevicePlan] = {}  # of devices that are to be tried
        self._last: dict[str, DeviceOutcome] = {}  # of devices that will be tried again, all attempts together
        self._joining: list[str] = []  # devices that came back, for the next wave
        self._wave = 0
        self._serving: Collection[str] = ()  # devices of the wave that runs
        self._attempt: Attempt | None = None
        self._attempted: Collection[str] = ()  # its devices
        self._cut = False  # something was not done because of `interrupt`

    def run(self) -> RolloutRecord:
        """Go through it; the record of it at its end.

        Raises what `plan_again` raises when a rollout is resumed, what the runner raises, and StorageError: then it is
        broken off, and can be resumed.
        """
        devices = self._opened.plan.devices
        waves = make_waves(
            self._settings.batch,
            [(one.device, one.platform or UNKNOWN) for one in devices if one.verdict == "will-pull"],
        )
        self._note(
            RolloutBegun(
                self._opened.id, len(devices), len(waves), self._opened.resumed, self._clock(), self._origin_bytes()
            )
        )
        ready = self._place(self._begin_again() if self._opened.resumed else devices)
        in_waves = {name for wave in waves for name in wave}
        self._joining = [name for name in ready if name not in in_waves]
        for number, wave in enumerate(waves, 1):
            if any(name in self._plans for name in wave):
                self._serve(number, wave)
        self._wait_for_offline(len(waves) + 1)
        self._end()
        return self._state.record(self._opened.id, running=True, command=self._opened.command)

    def _over(self) -> bool:
        return self._interrupt.cancelled or None in self._state.stops

    def _note(self, event: Event) -> None:
        """Something happened: it is written down first. What the stop rule says of it is done at once."""
        self._opened.append(event)
        stops = self._state.apply(event)
        self._emit(event)
        for stop in stops:
            self._stop(stop)

    def _stop(self, stop: Stop) -> None:
        self._note(PlatformStopped(stop.platform, stop.reason, stop.at))
        if self._attempt is not None:
            self._attempt.skip([name for name in self._attempted if self._state.stopped(name)])
        for name in self._state.platforms:
            if name not in self._serving and name not in self._state.offline and self._state.stopped(name):
                self._skip(name)

    def _skip(self, name: str) -> None:
        """The device has no turn any more, if it has not had it."""
        if name in self._state.final:
            return
        self._plans.pop(name, None)
        plan = self._first[name]
        if name in self._state.begun:  # and nothing is known of its end
            error = f"it was under way when the rollout was broken off; {self._why(name)}"
            self._note(DeviceFinished(untried(plan, "failed", self._clock(), "interrupted", error)))
        else:
            self._note(DeviceFinished(untried(plan, "skipped", self._clock(), "stopped", self._why(name))))

    def _why(self, name: str) -> str:
        stops, platform = self._state.stops, self._state.platforms[name]
        if None in stops:
            return f"the rollout was stopped: {stops[None].reason}"
        if platform in stops:
            return f"{platform} was stopped: {stops[platform].reason}"
        self._cut = True
        return "the rollout was cancelled before its turn"

    def _begin_again(self) -> Sequence[DevicePlan]:
        """Plans of what an earlier process left; of all devices that may still have their turn."""
        for name in self._state.platforms:
            if self._state.stopped(name):
                self._skip(name)
        left = [name for name in self._state.platforms if name not in self._state.final]
        return self._plan_again(left) if left else ()

    def _place(self, plans: Iterable[DevicePlan]) -> list[str]:
        """The devices that are to be tried, by their plans; the turn of the others is over, or they are offline."""
        ready = []
        for plan in plans:
            name = plan.device
            if name in self._state.final or name not in self._first:
                continue
            if name in self._state.begun and _has_all(plan):
                plan = replace(plan, verdict="will-pull")
            if plan.verdict == "will-pull" and self._stopped(plan):
                self._skip(name)
            elif plan.verdict == "will-pull" and name in self._opened.held:
                self._finish(untried(plan, "failed", self._clock(), "held", self._opened.held[name]))
            elif plan.verdict == "will-pull":
                self._plans[name] = plan
                ready.append(name)
            elif plan.verdict == "ready":
                self._finish(untried(plan, "up-to-date", self._clock()))
            elif plan.reason_code != "offline":
                self._finish(untried(plan, "failed", self._clock(), plan.reason_code or "internal", plan.reason))
            elif name not in self._state.offline:
                self._finish(untried(plan, "offline", self._clock(), "offline", plan.reason))
        return ready

    def _stopped(self, plan: DevicePlan) -> bool:
        """So it is, also where its platform was not known before."""
        return self._state.stopped(plan.device) or (plan.platform or UNKNOWN) in self._state.stops

    def _serve(self, number: int, wave: Sequence[str]) -> None:
        """Do a wave, with the devices that join it."""
        if self._wave and self._settings.pause and not self._over():
            self._pause(Pausing(self._settings.pause, "pause"))
        if self._wave and wave and self._settings.wait_offline and not self._over():
            self._joining += self._look_for_offline()
        members = [*dict.fromkeys((*wave, *self._joining))]
        todo = [name for name in members if name in self._plans]
        if self._over():
            return
        self._joining = []
        if not todo:
            return
        self._wave, self._serving = number, todo
        platforms = {name: self._plans[name].platform or UNKNOWN for name in todo}
        done = {name: self._state.platforms[name] for name in wave if name in self._state.final}
        self._note(WaveBegun(number, done | platforms, self._clock()))
        self._try(todo)
        self._serving = ()
        self._note(WaveEnded(number, self._clock()))

    def _try(self, names: Sequence[str]) -> None:
        delay = RETRY_DELAY
        for retries in range(self._settings.retries, -1, -1):
            again = self._not_given_up(self._try_once([self._plans.pop(name) for name in names], retries))
            if not again:
                return
            self._pause(Pausing(delay, "retry"))
            delay = min(2 * delay, LONGEST_RETRY_DELAY)
            ready = self._place(self._planned_again(self._not_given_up(again)))
            left = self._not_given_up(again, {*ready, *self._state.offline})
            names = [name for name in left if name in self._plans]
            if not names:
                return

    def _not_given_up(self, names: Sequence[str], found: Collection[str] | None = None) -> list[str]:
        """Of devices that were to be tried again those that can be, and that were `found`; what became of the others
        before is what became of them.
        """
        going = []
        for name in names:
            if name in self._state.final:
                continue
            if self._over() or self._state.stopped(name) or (found is not None and name not in found):
                self._cut = self._cut or (self._interrupt.cancelled and not self._state.stopped(name))
                self._plans.pop(name, None)
                self._note(DeviceFinished(self._last[name]))
            else:
                going.append(name)
        return going

    def _planned_again(self, names: Sequence[str]) -> Sequence[DevicePlan]:
        try:
            return self._plan_again(names) if names else ()
        except PolyarchError as error:
            self._emit(Warned(f"{len(names)} devices cannot be planned again: {error.message}"))
            return ()

    def _try_once(self, plans: Sequence[DevicePlan], retries: int) -> list[str]:
        """Let the runner do it; the devices that are to be tried again."""
        waiting = {plan.device: plan for plan in plans}
        names, again = list(waiting), []
        with self._runner.attempt(plans) as attempt, self._interrupt.watching(attempt, names):
            self._attempt, self._attempted = attempt, names
            try:
                for happening in attempt:
                    if happening.device not in waiting:
                        continue
                    match happening:
                        case Begun(name, at):
                            self._note(DeviceBegun(name, waiting[name].platform or UNKNOWN, self._wave, at))
                        case Sent(name, count):
                            self._emit(DeviceSent(name, self._state.sent(name) + count))
                        case DeviceOutcome():
                            again += self._ended(happening, waiting.pop(happening.device), retries)
                    self._interrupt.tell(attempt, names)
            finally:
                self._attempt = None
        for plan in waiting.values():
            lost = untried(plan, "failed", self._clock(), "internal", "nothing was told of its end")
            again += self._ended(replace(lost, attempts=1), plan, retries)
        return again

    def _ended(self, outcome: DeviceOutcome, plan: DevicePlan, retries: int) -> list[str]:
        """An attempt at a device came to its end; its name where it will be tried again."""
        name = outcome.device
        if outcome.status == "skipped" and name in self._last:  # before this attempt it had failed
            return [name]
        if outcome.status == "skipped":
            skipped = untried(plan, "skipped", self._clock(), "stopped", self._why(name))
            return self._take(replace(skipped, wave=self._wave), retries=0)
        if outcome.reason_code == "interrupted":
            self._cut = True
        total = self._state.total(outcome)
        if total.attempts > outcome.attempts:
            total = brought(total, self._first[name])
        return self._take(replace(total, platform=total.platform or plan.platform, wave=self._wave), retries)

    def _take(self, outcome: DeviceOutcome, retries: int) -> list[str]:
        outcome, name = shown(outcome), outcome.device
        self._last[name] = outcome
        if outcome.status == "offline" and self._settings.wait_offline:
            self._note(DeviceTried(outcome))
        elif self._state.sign(outcome) == "failed" and retries and outcome.reason_code in RETRIED:
            self._note(DeviceTried(outcome))
            return [name]
        else:
            self._note(DeviceFinished(outcome))
        return []

    def _finish(self, outcome: DeviceOutcome) -> None:
        """The turn of a device is over, by its plan; what earlier attempts took counts."""
        wave = self._last[outcome.device].wave if outcome.device in self._last else 0
        self._take(replace(self._state.total(outcome), wave=wave), retries=0)

    def _pause(self, pausing: Pausing) -> None:
        self._emit(pausing)
        self._interrupt.wait(pausing.seconds)

    def _look_for_offline(self) -> list[str]:
        """The devices that were offline, and can be tried now."""
        names = [name for name in self._state.platforms if name in self._state.offline]
        return self._place(self._planned_again([name for name in names if not self._state.stopped(name)]))

    def _wait_for_offline(self, number: int) -> None:
        """Serve the devices that come back until all have, or the time is over."""
        until, delay = self._timer() + self._settings.wait_offline, OFFLINE_DELAY
        while not self._over():
            if self._joining:
                self._serve(number, ())
                number += 1
                continue
            waited = [name for name in self._state.offline if not self._state.stopped(name)]
            left = until - self._timer()
            if not waited or left <= 0:
                return
            now, nap = self._clock(), min(delay, left)
            self._emit(WaitingForOffline(len(waited), now + nap, now + left))
            self._interrupt.wait(nap)
            delay = min(2 * delay, LONGEST_OFFLINE_DELAY)
            if not self._over():
                self._joining = self._look_for_offline()

    def _end(self) -> None:
        for name in self._state.platforms:
            if name in self._state.offline:
                self._cut = self._cut or (self._interrupt.cancelled and not self._state.stopped(name))
                self._note(DeviceFinished(self._last[name]))
            else:
                self._skip(name)
        cancelled = self._interrupt.cancelled and self._cut
        self._note(RolloutEnded(self._opened.id, cancelled, self._clock(), self._origin_bytes()))


def _has_all(plan: DevicePlan) -> bool:
    """All that the device can have is there."""
    there = any(image.present for image in plan.images) and not any(image.comes for image in plan.images)
    return plan.verdict == "ready" or (plan.verdict == "cannot" and there)
