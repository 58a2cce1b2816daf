"""The registry with signed images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.docker_registry import DockerRegistry
from support.signed_cases import fill_cosign, fill_gpg
from support.signed_images import SignedSite


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignedSite]:
    """Images with and without signatures: see support.signed_cases. Read it only."""
    folder = tmp_path_factory.mktemp("signed")
    registry = DockerRegistry(folder / "registry")
    try:
        made = SignedSite(registry, folder)
        try:
            fill_gpg(made)
            fill_cosign(made)
            yield made
        finally:
            made.stop()
    finally:
        registry.stop()
