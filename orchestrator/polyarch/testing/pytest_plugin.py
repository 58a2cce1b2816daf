"""polyarch's pytest plugin: fixtures for the conformance kit.

It is loaded by every pytest that runs where polyarch is installed, so it imports nothing until a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from polyarch.contract import RegistryServices, StorageServices
    from polyarch.testing.conformance.content import Content

pytest.register_assert_rewrite("polyarch.testing.conformance")


@pytest.fixture(scope="session")
def polyarch_content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """The images that a registry is to offer: `.layout` is the folder of an OCI image layout. Read it only."""
    from polyarch.testing.conformance.content import write_content

    return write_content(tmp_path_factory.mktemp("polyarch-content") / "layout")


@pytest.fixture(scope="session")
def polyarch_registry_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServices]:
    """What polyarch hands to the factory of a registry: real HTTP, without anybody's credentials and settings."""
    from polyarch.events import ignore
    from polyarch.registry.services import registry_services
    from polyarch.settings import Settings

    folder = tmp_path_factory.mktemp("polyarch-services")
    with registry_services(Settings(root=folder, home=folder), ignore) as services:
        yield services


@pytest.fixture
def polyarch_storage_services(
    tmp_path: Path, polyarch_registry_services: RegistryServices
) -> Callable[..., StorageServices]:
    """A location ("" for none) -> what polyarch hands to the factory of a storage; the root is this test's own."""
    from polyarch.contract import StorageServices
    from polyarch.serve.loopback import offered

    def services(location: str = "") -> StorageServices:
        given = polyarch_registry_services
        return StorageServices(
            tmp_path / "polyarch", location, http_at=given.http_at, offer=offered, temporary=given.temporary
        )

    return services
