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
    EmulatorServices,
    EmulatorSource,
    FetchesEmulators,
    FleetDevice,
    FleetEngine,
    FleetResult,
    ImageFiles,
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
    printable,
)
from polyarch.events import Event
from polyarch.files import disk_error, make_directory, read_bounded, sync_directory, write_in_one_step
from polyarch.oci.config import MAX_CONFIG_SIZE, ImageConfig, parse_config
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, digest_of, is_digest
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Document, Index, Manifest, is_attestation, parse_document
from polyarch.oci.layout import Layout
from polyarch.oci.media_types import CONFIGS, DOCUMENTS, INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST, is_layer
from polyarch.reference import Reference, parse_reference
from polyarch_platforms.architecture import Architecture
from polyarch_platforms.architecture import get as architecture_named
from polyarch_platforms.platform import Platform
from polyarch_platforms.qemu import QemuBinary
from polyarch_platforms.qemu import find as find_qemu

__all__ = [
    "CONFIGS",
    "CONTRACT_VERSION",
    "DOCUMENTS",
    "INDEXES",
    "MANIFESTS",
    "MAX_CONFIG_SIZE",
    "MAX_DOCUMENT_SIZE",
    "OCI_INDEX",
    "OCI_MANIFEST",
    "Architecture",
    "BlobStream",
    "BlobWriter",
    "Descriptor",
    "Digest",
    "Document",
    "EmulatorPlugin",
    "EmulatorServices",
    "EmulatorSource",
    "Endpoint",
    "Event",
    "FetchesEmulators",
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
    "ImageFiles",
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
    "architecture_named",
    "digest_of",
    "disk_error",
    "find_qemu",
    "hookimpl",
    "is_attestation",
    "is_digest",
    "is_layer",
    "make_directory",
    "parse_config",
    "parse_document",
    "parse_reference",
    "printable",
    "read_bounded",
    "sync_directory",
    "write_in_one_step",
]
