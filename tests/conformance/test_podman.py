"""The storage `podman` keeps every promise of the kit, against the real program and against its service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch.contract import StorageServices
from polyarch.registry.local import LocalHttp
from polyarch.serve.loopback import offered
from polyarch.testing.conformance.loader import LoaderConformance
from polyarch.testing.conformance.loader_base import LoaderOpener
from polyarch_plugins.storages.podman.plugin import polyarch_storages
from support.podman_engine import PodmanEngine

pytestmark = pytest.mark.system


class TestPodman(LoaderConformance):
    several_platforms = False

    @pytest.fixture
    def open_loader(self, podman: PodmanEngine, tmp_path: Path) -> LoaderOpener:
        (plugin,) = polyarch_storages()
        assert plugin.several_platforms == self.several_platforms
        services = StorageServices(
            tmp_path,
            environ={"PATH": os.environ["PATH"]},
            options={"command": list(podman.command)},
            offer=offered,
            temporary=lambda: tmp_path,
        )
        return lambda: plugin.factory(services)


class TestPodmanService(LoaderConformance):
    several_platforms = False

    @pytest.fixture
    def open_loader(self, podman: PodmanEngine, tmp_path: Path) -> Iterator[LoaderOpener]:
        (plugin,) = polyarch_storages()
        opened: list[LocalHttp] = []

        def http_at(socket: Path) -> LocalHttp:
            opened.append(LocalHttp(socket))
            return opened[-1]

        yield lambda: plugin.factory(StorageServices(tmp_path, str(podman.serve()), http_at=http_at))
        for http in opened:
            http.close()
