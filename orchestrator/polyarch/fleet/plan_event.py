"""That devices have said what they are, and that a rollout is planned, as things that happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from polyarch.events import Event
from polyarch.fleet.outcomes import DeviceOutcome
from polyarch.fleet.planned import Plan
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class FactsGathered(Event):
    """A device said what it is, or why it cannot be asked is known: the `count`th of `devices`."""

    device: str
    count: int
    devices: int


@dataclass(frozen=True, slots=True)
class FleetPlanned(Event):
    """A rollout is about to do `plan`. `outcomes` are those of devices whose turn was over before, and stays so."""

    plan: Plan
    outcomes: Mapping[str, DeviceOutcome] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The plan's totals, instead of the plan."""
        summary = self.plan.summary
        return {
            "event": "FleetPlanned",
            "devices": summary.devices,
            "origin_bytes": summary.origin_bytes,
            "transfer_bytes": summary.transfer_bytes,
        }
