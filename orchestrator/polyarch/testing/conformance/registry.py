"""What a registry promises, a test for each promise. See `polyarch.testing.conformance` for how to use it."""

from __future__ import annotations

from polyarch.testing.conformance.registry_blobs import RegistryBlobs
from polyarch.testing.conformance.registry_documents import RegistryDocuments


class RegistryConformance(RegistryDocuments, RegistryBlobs):
    """Subclass it as `Test…`, and give the fixture `source`: a `Source`, the registry and what it holds.

    Nothing is written, and the registry stays open: what takes long to start belongs into a fixture of the module.
    """
