"""The storage `s3` keeps every promise of the kit, and so does the source over the same bucket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch.contract import StorageServices
from polyarch.testing.conformance.loader import LoaderConformance
from polyarch.testing.conformance.loader_base import LoaderOpener
from polyarch_plugins.storages.objects.storage import ObjectStorage
from support.s3_server import S3Server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


class TestS3(LoaderConformance):
    forks = False  # the threads of obstore do not live on in a fork

    @pytest.fixture
    def open_loader(self, tmp_path: Path, s3: S3Server) -> LoaderOpener:
        location = f"//{s3.bucket()}/images/of the test"
        return lambda: ObjectStorage("s3", StorageServices(tmp_path, location, environ=s3.environ))
