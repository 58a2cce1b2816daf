"""Registers the fleet engine `local`."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import FleetEngine, FleetEnginePlugin, PluginServices, hookimpl


def _engine(services: PluginServices) -> FleetEngine:
    from polyarch_plugins.fleet_engines.local.engine import LocalEngine

    return LocalEngine(services)


@hookimpl
def polyarch_fleet_engines() -> Iterable[FleetEnginePlugin]:
    """This machine alone: what a fleet does, without SSH."""
    return [FleetEnginePlugin("local", "this machine as one device, localhost", _engine)]
