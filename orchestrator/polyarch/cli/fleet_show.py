"""Showing a rollout while it happens: a table on a terminal, a line a device elsewhere, a JSON object a device."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from polyarch.cli.fleet_lines import event_line
from polyarch.cli.invocation import Invocation
from polyarch.cli.output import json_line, line
from polyarch.events import Emit, Event
from polyarch.fleet.outcomes import DeviceOutcome
from polyarch.fleet.outcomes_json import outcome_json
from polyarch.fleet.plan_event import FactsGathered, FleetPlanned
from polyarch.fleet.rollout_events import DeviceFinished, RolloutEnded

if TYPE_CHECKING:
    from polyarch.cli.fleet_table import LiveFleet


class FleetShow:
    """Stands before what shows other events. From the plan on, a terminal belongs to the table."""

    def __init__(self, invocation: Invocation) -> None:
        mode = invocation.given.get("progress", "auto")
        self._json, self._plain = invocation.json, invocation.plain
        # Objects between the lines of a table would be neither.
        mixed = invocation.json and sys.stdout.isatty()
        self._terminal = mode == "auto" and not invocation.quiet and not mixed and sys.stderr.isatty()
        self._live: LiveFleet | None = None
        self._asking = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._clear()
        self._close()

    def over(self, others: Emit) -> Emit:
        """What is given every event; those that are not of fleets go on to `others` while no table is there."""

        def emit(event: Event) -> None:
            self._show(event)
            if self._live is not None:
                self._live.handle(event)
            else:
                others(event)

        return emit

    def _show(self, event: Event) -> None:
        if isinstance(event, FactsGathered):
            self._count(event)
            return
        self._clear()
        if isinstance(event, FleetPlanned):
            self._answer(list(event.outcomes.values()))
            if self._terminal and self._live is None:
                from polyarch.cli.fleet_table import LiveFleet

                self._live = LiveFleet()
        elif isinstance(event, DeviceFinished):
            self._answer([event.outcome])
        if self._plain and not (self._live and sys.stdout.isatty()) and (text := event_line(event)) is not None:
            line(text)
        if isinstance(event, RolloutEnded) and self._live is not None:
            self._live.handle(event)
            self._close()

    def _answer(self, outcomes: Sequence[DeviceOutcome]) -> None:
        if self._json:
            for outcome in outcomes:
                json_line(outcome_json(outcome))

    def _count(self, event: FactsGathered) -> None:
        if self._terminal and self._live is None:
            self._asking = True
            sys.stderr.write(f"\r{event.count:,} of {event.devices:,} devices asked\x1b[K")
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._asking:
            self._asking = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _close(self) -> None:
        if self._live is not None:
            self._live.close()
            self._live = None
