"""The storage `containerd` keeps every promise of the kit, against a real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from polyarch.contract import StorageServices
from polyarch.serve.loopback import offered
from polyarch.testing.conformance.loader import LoaderConformance
from polyarch.testing.conformance.loader_base import LoaderOpener
from polyarch_plugins.storages.containerd.plugin import polyarch_storages
from support.containerd_engine import ContainerdEngine

pytestmark = pytest.mark.system


class TestContainerd(LoaderConformance):
    several_platforms = True

    @pytest.fixture
    def open_loader(self, containerd: ContainerdEngine, tmp_path: Path) -> LoaderOpener:
        (plugin,) = polyarch_storages()
        assert plugin.several_platforms == self.several_platforms
        services = StorageServices(
            tmp_path,
            environ={"PATH": os.environ["PATH"], **containerd.environ},
            offer=offered,
            temporary=lambda: tmp_path,
        )
        return lambda: plugin.factory(services)
