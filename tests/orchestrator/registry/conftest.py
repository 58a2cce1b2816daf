"""A client of the real settings, cut off from the user's own files; the pauses between its tries are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from polyarch.contract.registry import Endpoint
from polyarch.events import Event
from polyarch.reference import Reference
from polyarch.registry import retry
from polyarch.registry.client import DistributionRegistry
from polyarch.registry.http_client import HttpClient, no_words
from polyarch.registry.services import registry_services
from polyarch.settings import Settings
from support.registry_client import Connect, Connected


def _where_the_name_says(reference: Reference) -> Endpoint:
    return Endpoint(reference.registry, reference.repository, reference.registry)


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """Settings and `certificates` (directories like /etc/docker/certs.d) -> `Connected`, closed after the test."""
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with ExitStack() as opened:

        def make(
            certificates: tuple[Path, ...] = (), login_words: Callable[[str], str] = no_words, **settings: object
        ) -> Connected:
            events: list[Event] = []
            alone = {"root": tmp_path, "home": tmp_path, "runtime_directory": tmp_path / "run", "read_timeout": 20.0}
            services = opened.enter_context(
                registry_services(Settings(**{**alone, **settings}), events.append, certificates, login_words)  # type: ignore[arg-type]
            )
            client = services.distribution(_where_the_name_says)
            assert isinstance(client, DistributionRegistry)
            assert isinstance(services.http, HttpClient)
            return Connected(services.http, client, events)

        yield make
