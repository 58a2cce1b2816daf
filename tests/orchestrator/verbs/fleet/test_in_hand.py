"""What devices say of themselves, and those whose connection broke."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.contract.fleet import FleetDevice, FleetResult
from polyarch.events import ignore
from polyarch.fleet.facts import DeviceFacts
from polyarch.fleet.interrupt import Interrupt
from polyarch.fleet.planned import PlanSettings
from polyarch.fleet.reasons import FactsFault
from polyarch.verbs.fleet.facts_cache import FactsCache
from polyarch.verbs.fleet.in_hand import FleetInHand
from polyarch.verbs.fleet.offers import FleetOffers
from polyarch.verbs.fleet.request import FleetRequest
from support.answering_fleet import AnsweringFleet, Device, answers, ends


def in_hand(fleet: AnsweringFleet, folder: Path, offers: FleetOffers) -> FleetInHand:
    return FleetInHand(
        request=FleetRequest(),
        engine=fleet,
        devices={name: FleetDevice(name) for name in fleet.answering},
        wishes={},
        names=None,
        locked={},
        by_plan=False,
        whole=str,
        offers=offers,
        plan_settings=PlanSettings(),
        cache=FactsCache(folder, ()),
        emit=ignore,
    )


class Breaks:
    """A device whose connection breaks, so many times."""

    def __init__(self, times: int, then: Device) -> None:
        self.times, self.then = times, then

    def __call__(self, script: str, port: int | None) -> FleetResult:
        self.times -= 1
        return ends("unreachable", "it broke")(script, port) if self.times >= 0 else self.then(script, port)


@pytest.mark.parametrize(("times", "asked"), [(0, 1), (1, 2), (2, 2)])
def test_one_whose_connection_broke_is_asked_once_more(times: int, asked: int, tmp_path: Path) -> None:
    fleet = AnsweringFleet({"pi-1": Breaks(times, answers()), "pi-2": answers(), "pi-3": ends("offline")})
    offers = FleetOffers.__new__(FleetOffers)  # nothing is resolved here
    hand = in_hand(fleet, tmp_path, offers)
    hand.ask(list(hand.devices.values()))
    assert {name: fleet.asked.count(name) for name in fleet.answering} == {"pi-1": asked, "pi-2": 1, "pi-3": 1}
    assert isinstance(hand.answers["pi-1"], DeviceFacts if times < 2 else FactsFault)
    assert ("pi-1" in hand.facts) is (times < 2)


def test_asking_is_ended_by_the_second_interrupt(tmp_path: Path) -> None:
    """One that does not answer is not waited for, the next is not asked, and one whose connection broke not again."""
    interrupt, offers = Interrupt(), FleetOffers.__new__(FleetOffers)

    def hangs(script: str, port: int | None) -> FleetResult:
        interrupt.cancel()
        interrupt.end()
        assert fleet.ended.wait(30)
        return FleetResult("", "interrupted")

    fleet = AnsweringFleet({"pi-1": ends("unreachable", "it broke"), "pi-2": hangs, "pi-3": answers()})
    hand = in_hand(fleet, tmp_path, offers)
    hand.ask(list(hand.devices.values()), interrupt=interrupt)
    assert fleet.asked == ["pi-1", "pi-2"]
    codes = {name: answer.reason_code for name, answer in hand.answers.items() if isinstance(answer, FactsFault)}
    assert codes == {"pi-1": "unreachable", "pi-2": "interrupted", "pi-3": "interrupted"}
