"""The storage `containerd` keeps every promise of the kit, against a real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from polyarch.contract import ImageLoader, LoadsEarly, StorageError, StorageServices
from polyarch.serve.loopback import offered
from polyarch.testing.conformance.images import BlobFiles, SampleImages
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

    def test_an_image_that_is_not_proven_is_not_seen(
        self, loader: ImageLoader, sample: SampleImages, containerd: ContainerdEngine
    ) -> None:
        """LoadsEarly: nothing is left of it but layers, which another image may need."""
        assert isinstance(loader, LoadsEarly)
        made, before = sample.image(), containerd.images()

        def refuse() -> None:
            raise StorageError("not what it says")

        with pytest.raises(StorageError, match="not what it says"):
            loader.load_early(made.named(sample.name()), BlobFiles(made.files), refuse)
        assert not loader.has(made.named(sample.name()))
        assert containerd.images() == before

    def test_an_image_is_seen_when_it_is_proven(self, loader: ImageLoader, sample: SampleImages) -> None:
        """LoadsEarly: the proof comes when all files were asked for, and before the name."""
        assert isinstance(loader, LoadsEarly)
        made = sample.image()
        image, files = made.named(sample.name()), BlobFiles(made.files)
        seen: list[bool] = []
        loader.load_early(image, files, lambda: seen.append(loader.has(image)))
        assert seen == [False]
        assert {layer.digest for layer in image.manifest.layers} <= set(files.asked)
        assert loader.has(image)
