"""The search APIs of well-known registries, and the services that plugins are handed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.contract import RegistryServices
from polyarch.events import ignore
from polyarch.registry.services import registry_services
from polyarch.settings import Settings
from support.search_apis import SearchApis


@pytest.fixture
def apis() -> Iterator[SearchApis]:
    """A server without any page yet."""
    server = SearchApis()
    yield server
    server.stop()


@pytest.fixture
def services_with(tmp_path: Path) -> Iterator[Callable[..., RegistryServices]]:
    """The options of a plugin -> what its factories are handed."""
    settings = Settings(root=tmp_path, home=tmp_path, runtime_directory=tmp_path / "run", retries=0)
    with ExitStack() as opened:
        services = opened.enter_context(registry_services(settings, ignore))
        yield lambda **options: replace(services, options=options)
