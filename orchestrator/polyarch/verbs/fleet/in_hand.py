"""The devices that a fleet's verb is about, with all that is known of them by now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import field, replace

from polyarch.contract.fleet import FleetDevice, FleetEngine
from polyarch.events import Emit
from polyarch.fleet.facts import DeviceFacts
from polyarch.fleet.interrupt import Interrupt
from polyarch.fleet.plan import Asked, summary_of
from polyarch.fleet.plan_event import FactsGathered
from polyarch.fleet.planned import DevicePlan, Plan, PlanSettings, PlanSummary, Wish
from polyarch.fleet.reasons import FactsFault
from polyarch.fleet.wishes import DeviceWishes
from polyarch.lock.lock_file import format_lock
from polyarch.lock.locked import Lock, LockedImage
from polyarch.verbs.fleet.bring import Contents, plan_by_offers, plan_by_plan
from polyarch.verbs.fleet.facts_cache import FactsCache
from polyarch.verbs.fleet.gather import Answer, gather_with_cache
from polyarch.verbs.fleet.offers import FleetOffers
from polyarch.verbs.fleet.request import ASK_TIMEOUT, FleetRequest
from polyarch_platforms.lazy_dataclass import dataclass

_NO_SUMMARY = PlanSummary(0, {}, 0, 0)


@dataclass(frozen=True, slots=True)
class FleetInHand:
    """Devices by name, with what the inventory wishes for each.

    names    the whole names of the images for all of them; None where each has its own
    locked   what these are locked to, by whole name
    by_plan  an earlier plan says what they get, and that alone: what it has nothing for gets nothing
    whole    makes a whole name of the inventory's words
    answers  what each device said of itself; it grows, and so do `facts`, those of devices that answered well
    """

    request: FleetRequest
    engine: FleetEngine
    devices: Mapping[str, FleetDevice]
    wishes: Mapping[str, DeviceWishes]
    names: Sequence[str] | None
    locked: Mapping[str, LockedImage]
    by_plan: bool
    whole: Callable[[str], str]
    offers: FleetOffers
    plan_settings: PlanSettings
    cache: FactsCache
    emit: Emit
    answers: dict[str, Answer] = field(default_factory=dict)
    facts: dict[str, DeviceFacts] = field(default_factory=dict)

    def ask(self, devices: Sequence[FleetDevice], max_age: float = 0, *, interrupt: Interrupt | None = None) -> None:
        """Let these devices say what they are, those of which there are facts of at most `max_age` seconds aside.

        One whose connection broke is asked once more. `interrupt` ends it early: who was not asked has no facts then.
        """
        self._ask(devices, max_age, interrupt)
        again = [one for one in devices if _broke(self.answers[one.name])]
        if again and not (interrupt and interrupt.cancelled):
            self._ask(again, 0, interrupt)

    def _ask(self, devices: Sequence[FleetDevice], max_age: float, interrupt: Interrupt | None) -> None:
        gathering = gather_with_cache(
            self.engine,
            devices,
            self.cache,
            self.emit,
            forks=self.request.forks,
            timeout=min(self.request.timeout, ASK_TIMEOUT),
            max_age=max_age,
            interrupt=interrupt,
        )
        with closing(gathering):
            for count, (name, answer) in enumerate(gathering, 1):
                self.answers[name] = answer
                if isinstance(answer, DeviceFacts):
                    self.facts[name] = answer
                else:
                    self.facts.pop(name, None)
                self.emit(FactsGathered(name, count, len(devices)))

    def remember(self) -> dict[str, FactsFault]:
        """Let what devices said earlier stand for those that do not answer; why those do not, by name."""
        faults = {name: answer for name, answer in self.answers.items() if isinstance(answer, FactsFault)}
        for name in faults:
            known = self.cache.get(name)
            if known is not None:
                self.answers[name] = self.facts[name] = known
        return faults

    def wish(self, name: str) -> Wish:
        """What a device shall get."""
        own = self.wishes.get(name)
        if own is None:
            return Wish(name, ())
        images = self.names if self.names is not None else dict.fromkeys(map(self.whole, own.images))
        return Wish(name, tuple(images), own.engine, own.platform)

    def plan(self) -> Contents:
        """What all devices shall get, as the inventory and the command say."""
        return plan_by_offers(self._asked(self.devices), self.offers, self.plan_settings)

    def plan_again(self, planned: Sequence[DevicePlan]) -> Contents:
        """What these devices lack now of what was planned for them.

        Those that nothing was planned for, as they were not there then, shall get what the command says; where an
        earlier plan says it, nothing.
        """
        had = tuple(one for one in planned if one.images)
        others = [one for one in planned if not one.images]
        now = {one.device: _unplanned(one) for one in others if self.by_plan}
        made = plan_by_plan(
            Plan(had, _NO_SUMMARY),
            {one.device: self._answer(one.device) for one in had},
            self.offers,
            self.plan_settings,
        )
        more = plan_by_offers(
            self._asked([one.device for one in others if one.device not in now]), self.offers, self.plan_settings
        )
        contents = {**made.contents, **more.contents}
        now.update((one.device, one) for one in (*made.plan.devices, *more.plan.devices))
        devices = tuple(now[one.device] for one in planned)
        return Contents(Plan(devices, summary_of(devices, contents, self.offers.held(contents))), contents)

    def to_json(self) -> dict[str, object]:
        """What another process needs to go on with them: the same images, whatever names and files say by then."""
        return {
            "request": self.request.to_json(),
            "images": None if self.names is None else list(self.names),
            "stands": self.offers.stands,
            "lock": format_lock(Lock(tuple(self.locked.values()))) if self.locked else None,
            "by_plan": self.by_plan,
        }

    def _asked(self, names: Sequence[str] | Mapping[str, object]) -> list[Asked]:
        return [(self.wish(name), self._answer(name)) for name in names]

    def _answer(self, name: str) -> Answer:
        if name not in self.devices:
            return FactsFault(name, "internal", "it is in the inventory no more", "add it again")
        return self.answers[name]


def _unplanned(device: DevicePlan) -> DevicePlan:
    """A device in an earlier plan that has no images for it."""
    if device.verdict == "ready" or device.reason_code == "not-found":
        return device
    why = f"the plan has nothing for it: {device.reason}"
    return replace(device, verdict="cannot", reason=why, reason_code="not-found")


def _broke(answer: Answer) -> bool:
    return isinstance(answer, FactsFault) and answer.reason_code == "unreachable"
