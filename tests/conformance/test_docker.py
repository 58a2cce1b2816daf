"""The storage `docker` keeps every promise of the kit, against a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch.contract import ImageLoader, LoadsEarly, StorageError, StorageServices
from polyarch.registry.local import LocalHttp
from polyarch.testing.conformance.images import BlobFiles, SampleImages
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

    def test_an_image_that_is_not_proven_is_not_loaded(
        self, loader: ImageLoader, dockerd: Dockerd, sample: SampleImages
    ) -> None:
        """LoadsEarly: all of it has been sent but for its name, when the pull ends."""
        assert isinstance(loader, LoadsEarly)
        made, before = sample.image(), _listed(dockerd)

        def refuse() -> None:
            raise StorageError("not what it says")

        with pytest.raises(StorageError, match="not what it says"):
            loader.load_early(made.named(sample.name()), BlobFiles(made.files), refuse)
        assert not loader.has(made.named(sample.name()))
        assert _listed(dockerd) == before

    def test_an_image_that_is_proven_while_it_loads_is_here(self, loader: ImageLoader, sample: SampleImages) -> None:
        """LoadsEarly: the proof comes when all files were asked for, and before the name."""
        assert isinstance(loader, LoadsEarly)
        made = sample.image()
        image, files = made.named(sample.name()), BlobFiles(made.files)
        seen: list[tuple[int, bool]] = []
        loader.load_early(image, files, lambda: seen.append((len(files.asked), loader.has(image))))
        assert seen == [(len(image.manifest.layers), False)]
        assert loader.has(image)


def _listed(dockerd: Dockerd) -> set[str]:
    """Its images, those without a name too, of which there may be several."""
    return set(dockerd.docker("image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines())
