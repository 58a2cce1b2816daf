"""Fixtures that every test may use; what they do stands in tests/support."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.certificates import tls_settings
from support.docker_registry import DockerRegistry
from support.layout_files import Layout
from support.registry_auth import TokenServer, basic_settings

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_cache() -> Path:
    """A folder kept between runs: $POLYARCH_TEST_CACHE, else .cache/tests in the checkout."""
    folder = Path(os.environ.get("POLYARCH_TEST_CACHE") or CHECKOUT / ".cache" / "tests").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def foreign_busybox(test_cache: Path) -> Callable[[str], Path]:
    """Debian's name of an architecture -> the path of Debian's static busybox for it (fetched once)."""
    from polyarch.testing.debian_busybox import ARCHITECTURES, debian_busybox

    def path(architecture: str) -> Path:
        return debian_busybox(ARCHITECTURES, test_cache)[architecture]

    return path


@pytest.fixture(scope="session")
def sample_layout(foreign_busybox: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI image layout with all sample images of `polyarch.testing`. Read it only; copy it to change it."""
    from polyarch.testing.sample_images import PLATFORMS, write_layout

    directory = tmp_path_factory.mktemp("sample") / "layout"
    write_layout(directory, {architecture: foreign_busybox(architecture) for architecture in PLATFORMS})
    return directory


@pytest.fixture(scope="session")
def registry(sample_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """A real registry on loopback that holds every sample image. Push under names of your own only."""
    server = DockerRegistry(tmp_path_factory.mktemp("registry"))
    server.fill(Layout(sample_layout))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def authed_registry(registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """The same images in a registry with Basic authentication: `USERNAME`, `PASSWORD` of support.registry_auth."""
    folder = tmp_path_factory.mktemp("authed-registry")
    shutil.copytree(registry.storage, folder / "storage")
    server = DockerRegistry(folder, basic_settings(folder))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    """The token server of `token_registry`. Everybody may pull `busybox`; the other repositories need `USERNAME`."""
    server = TokenServer(tmp_path_factory.mktemp("token-server"), frozenset({"busybox"}))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def token_registry(
    registry: DockerRegistry, token_server: TokenServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DockerRegistry]:
    """The same images in a registry that asks for a bearer token of `token_server`."""
    folder = tmp_path_factory.mktemp("token-registry")
    shutil.copytree(registry.storage, folder / "storage")
    server = DockerRegistry(folder, token_server.settings())
    yield server
    server.stop()


@pytest.fixture(scope="session")
def tls_registry(registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """The same images over HTTPS, for bearers of a client certificate only: see `tls_settings` for the files."""
    folder = tmp_path_factory.mktemp("tls-registry")
    shutil.copytree(registry.storage, folder / "storage")
    settings, context = tls_settings(folder)
    server = DockerRegistry(folder, settings, context=context)
    yield server
    server.stop()
