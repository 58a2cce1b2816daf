"""The fleet engine `local`: this machine as one device, called `localhost`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from polyarch.contract import FleetDevice, FleetRun, FleetTask, PluginServices, UsageError, printable
from polyarch_plugins.fleet_engines.local.run import LocalRun

NAME = "localhost"


class LocalEngine:
    """Satisfies `FleetEngine` and `SendsInput`. What is to be reached is reached at its own port."""

    def __init__(self, services: PluginServices) -> None:
        self._environ = services.environ

    def devices(self, inventory: Sequence[str], pattern: str) -> Sequence[FleetDevice]:
        """This machine, in no group. Raises UsageError for any word of an inventory, and for other names."""
        words = [word for word in inventory if word]
        if words:
            raise UsageError(f"this machine has no inventory: '{printable(words[0], 100)}'", "write local: alone")
        if pattern not in ("", "all", "*", NAME):
            raise UsageError(f"there is no device '{printable(pattern, 100)}'", f"this machine is called {NAME}")
        return (FleetDevice(NAME),)

    def run(
        self,
        script: str,
        tasks: Sequence[FleetTask],
        *,
        forks: int,
        timeout: float,
        reach: int | None = None,
        must_reach: bool = True,
    ) -> AbstractContextManager[FleetRun]:
        """As the contract says; several tasks run one after the other."""
        ours = {} if reach is None else {"port": str(reach)}
        return self._run(LocalRun(self._environ, script, tasks, {}, timeout, ours))

    def run_with_input(
        self,
        script: str,
        tasks: Sequence[FleetTask],
        inputs: Mapping[str, Callable[[], Iterable[bytes]]],
        *,
        forks: int,
        timeout: float,
    ) -> AbstractContextManager[FleetRun]:
        """As the contract says."""
        return self._run(LocalRun(self._environ, script, tasks, inputs, timeout, {}))

    @contextmanager
    def _run(self, run: LocalRun) -> Iterator[FleetRun]:
        try:
            yield run
        finally:
            run.end()
