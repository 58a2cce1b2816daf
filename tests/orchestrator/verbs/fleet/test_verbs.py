"""The fleet's verbs, with a fleet and a storage that are in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from polyarch.contract.fleet import FleetResult
from polyarch.errors import UsageError
from polyarch.events import ignore
from polyarch.fleet.interrupt import Interrupt
from polyarch.fleet.plan import make_plan
from polyarch.fleet.planned import PlanSettings, Wish
from polyarch.fleet.record import RolloutSettings
from polyarch.settings import Settings
from polyarch.verbs.fleet.offers import ImageParts
from polyarch.verbs.fleet.request import FleetRequest, PullRequest
from polyarch.verbs.fleet.verbs import FleetParts, FleetVerbs
from support.answering_fleet import AnsweringFleet
from support.fleet_plans import APP, CONTENTS, OFFERS, engine, facts

NOTHING = cast(Any, None)


def verbs(root: Path, fleet: AnsweringFleet) -> FleetVerbs:
    """Those of a fleet; no image can be had."""

    def engines(words: Sequence[str]) -> tuple[AnsweringFleet, tuple[str, ...]]:
        return fleet, tuple(words)

    parts = FleetParts(engines, str, lambda: ImageParts(NOTHING, NOTHING, (), 0), tuple, NOTHING, "oci")
    return FleetVerbs(Settings(root=root), parts, ignore)


def test_going_on_is_ended_by_the_second_interrupt_while_devices_are_asked(tmp_path: Path) -> None:
    """It was killed before its first device: all the same, what devices are is not known here."""
    interrupt = Interrupt()

    @contextmanager
    def interrupting() -> Iterator[Interrupt]:
        yield interrupt

    def hangs(script: str, port: int | None) -> FleetResult:
        interrupt.cancel()
        interrupt.end()
        assert fleet.ended.wait(30)
        return FleetResult("", "interrupted")

    fleet = AnsweringFleet({"pi-1": hangs, "pi-2": hangs})
    session = verbs(tmp_path, fleet)
    asked = [(Wish(name, (APP,)), facts("pi-3", engine(), name=name)) for name in fleet.answering]
    plan = make_plan(asked, OFFERS, CONTENTS, PlanSettings())
    command = {"request": FleetRequest().to_json(), "pull": PullRequest().to_json()}
    session.rollouts.begin(plan, RolloutSettings(), command).__exit__(None, None, None)
    record = session.resume(interrupting)
    assert fleet.asked == ["pi-1"]
    assert record.phase == "cancelled"
    assert {one.reason_code for one in record.outcomes.values()} == {"stopped"}


def test_who_names_no_plan_is_told_how_to_write_one(tmp_path: Path) -> None:
    session = verbs(tmp_path, AnsweringFleet({}))
    with pytest.raises(UsageError, match="No such file") as caught:
        session.pull(FleetRequest(), PullRequest(), NOTHING, tmp_path / "none")
    assert "polyarch fleet plan --format json" in (caught.value.hint or "")
