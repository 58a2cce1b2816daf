"""What plugin authors import, and nothing else is promised: hooks, protocols, types, errors, events and the version."""

from __future__ import annotations

from polyarch.contract.hooks import (
    CONTRACT_VERSION,
    EmulatorPlugin,
    FleetEnginePlugin,
    ObserverPlugin,
    RegistryPlugin,
    StoragePlugin,
    TagConventionPlugin,
    VerifierPlugin,
    hookimpl,
)
from polyarch.contract.http import Http, HttpResponse
from polyarch.contract.others import (
    EmulatorSource,
    FleetDevice,
    FleetEngine,
    FleetResult,
    Observer,
    TagConvention,
    TagProposal,
    Verifier,
)
from polyarch.contract.registry import BlobStream, Endpoint, ListsTags, Registry, RegistryServices
from polyarch.contract.storage import (
    BlobWriter,
    HasBlobFiles,
    Image,
    ListsImages,
    ReadsBlobs,
    RemovesImages,
    Storage,
    StorageServices,
)
from polyarch.errors import (
    HostError,
    IntegrityError,
    NotFoundError,
    PolyarchError,
    StorageError,
    UnauthorizedError,
    UnreachableError,
    UsageError,
)
from polyarch.events import Event
from polyarch.oci.config import ImageConfig, parse_config
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.oci.document import Document, Index, Manifest, parse_document
from polyarch.oci.layout import Layout
from polyarch.reference import Reference
from polyarch_platforms.platform import Platform
from polyarch_platforms.qemu import QemuBinary

__all__ = [
    "CONTRACT_VERSION",
    "BlobStream",
    "BlobWriter",
    "Descriptor",
    "Document",
    "EmulatorPlugin",
    "EmulatorSource",
    "Endpoint",
    "Event",
    "FleetDevice",
    "FleetEngine",
    "FleetEnginePlugin",
    "FleetResult",
    "HasBlobFiles",
    "HostError",
    "Http",
    "HttpResponse",
    "Image",
    "ImageConfig",
    "Index",
    "IntegrityError",
    "Layout",
    "ListsImages",
    "ListsTags",
    "Manifest",
    "NotFoundError",
    "Observer",
    "ObserverPlugin",
    "Platform",
    "PolyarchError",
    "QemuBinary",
    "ReadsBlobs",
    "Reference",
    "Registry",
    "RegistryPlugin",
    "RegistryServices",
    "RemovesImages",
    "Storage",
    "StorageError",
    "StoragePlugin",
    "StorageServices",
    "TagConvention",
    "TagConventionPlugin",
    "TagProposal",
    "UnauthorizedError",
    "UnreachableError",
    "UsageError",
    "Verifier",
    "VerifierPlugin",
    "digest_of",
    "hookimpl",
    "parse_config",
    "parse_document",
]
