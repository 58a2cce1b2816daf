"""The storage `s3` keeps every promise of the kit, and so does the source over the same bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from polyarch.contract import RegistryServices, StorageServices
from polyarch.reference import parse_reference
from polyarch.testing.conformance import Content, LoaderConformance, RegistryConformance, Source
from polyarch.testing.conformance.loader_base import LoaderOpener
from polyarch_plugins.storages.objects.plugin import polyarch_registries
from polyarch_plugins.storages.objects.storage import ObjectStorage
from support.s3_server import S3Server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def place(s3: S3Server, polyarch_content: Content) -> str:
    """The content's layout in a bucket."""
    place = f"{s3.bucket()}/content"
    for path in polyarch_content.layout.rglob("*"):
        if path.is_file():
            s3.put(f"/{place}/{path.relative_to(polyarch_content.layout)}", path.read_bytes())
    return place


class TestS3(LoaderConformance):
    forks = False  # the threads of obstore do not live on in a fork
    most_held = 16 << 20  # a part of an upload has at least 5 MiB

    @pytest.fixture
    def open_loader(self, tmp_path: Path, s3: S3Server) -> LoaderOpener:
        location = f"//{s3.bucket()}/images/of the test"
        return partial(ObjectStorage, "s3", StorageServices(tmp_path, location, environ=s3.environ))


class TestS3Source(RegistryConformance):
    @pytest.fixture
    def source(
        self, s3: S3Server, place: str, polyarch_content: Content, polyarch_registry_services: RegistryServices
    ) -> Source:
        (plugin,) = [plugin for plugin in polyarch_registries() if plugin.name == "s3"]
        names = {name: parse_reference(f"s3://{place}:{name}", {"s3"}) for name in polyarch_content.names}
        return Source(plugin.factory(replace(polyarch_registry_services, environ=s3.environ)), names)
