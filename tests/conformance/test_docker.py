"""The storage `docker` keeps every promise of the kit, against a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch.contract import StorageServices
from polyarch.registry.local import LocalHttp
from polyarch.testing.conformance.loader import LoaderConformance
from polyarch.testing.conformance.loader_base import LoaderOpener
from polyarch_plugins.storages.docker.plugin import polyarch_storages
from support.dockerd import Dockerd

pytestmark = pytest.mark.system


class TestDocker(LoaderConformance):
    several_platforms = False

    @pytest.fixture
    def open_loader(self, dockerd: Dockerd, tmp_path: Path) -> Iterator[LoaderOpener]:
        (plugin,) = polyarch_storages()
        assert plugin.several_platforms == self.several_platforms
        opened: list[LocalHttp] = []

        def http_at(socket: Path) -> LocalHttp:
            opened.append(LocalHttp(socket))
            return opened[-1]

        yield lambda: plugin.factory(StorageServices(tmp_path, str(dockerd.socket), http_at=http_at))
        for http in opened:
            http.close()
