"""Registers the fleet engine `ansible`."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import FleetEngine, FleetEnginePlugin, PluginServices, hookimpl


def _engine(services: PluginServices) -> FleetEngine:
    from polyarch_plugins.fleet_engines.ansible.engine import AnsibleEngine

    return AnsibleEngine(services)


@hookimpl
def polyarch_fleet_engines() -> Iterable[FleetEnginePlugin]:
    """The devices of Ansible's inventories, by SSH or whatever else Ansible reaches them by."""
    return [FleetEnginePlugin("ansible", "the devices of an Ansible inventory", _engine)]
