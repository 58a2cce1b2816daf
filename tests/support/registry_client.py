"""What the fixture `connect` of tests/orchestrator/registry gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from polyarch.events import Event, Warned
from polyarch.registry.client import DistributionRegistry
from polyarch.registry.http_client import HttpClient


@dataclass(frozen=True, slots=True)
class Connected:
    """A client, the registry that it makes, and what it has told."""

    http: HttpClient
    registry: DistributionRegistry
    events: list[Event]

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]


Connect = Callable[..., Connected]
