"""What plugin authors import, and nothing else is promised: hooks, protocols, types, errors, events and the version."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from polyarch.contract.builders import Build, BuildBase, Builder, BuilderServices, RunsEmulated
from polyarch.contract.deprecation import Deprecated, deprecated_names
from polyarch.contract.fleet import (
    MAX_OUTPUT,
    FleetDevice,
    FleetEngine,
    FleetResult,
    FleetRun,
    FleetStarted,
    FleetStatus,
    FleetTask,
    SendsInput,
)
from polyarch.contract.hooks import (
    BuilderPlugin,
    EmulatorPlugin,
    FleetEnginePlugin,
    ObserverPlugin,
    RegistryPlugin,
    StoragePlugin,
    TagConventionPlugin,
    VerifierPlugin,
    hookimpl,
)
from polyarch.contract.http import Http, HttpResponse, get_json
from polyarch.contract.others import (
    Certainty,
    ChosenVariant,
    EmulatorServices,
    EmulatorSource,
    ExplainsRules,
    FetchesEmulators,
    ImageFiles,
    Observer,
    PluginServices,
    ReadsTags,
    TagConvention,
    TagProposal,
    TagReading,
    Verifier,
    VerifierServices,
    VerifiesVariants,
)
from polyarch.contract.registry import (
    BlobStream,
    Endpoint,
    HasPlaces,
    ListsReferrers,
    ListsRepositories,
    ListsTags,
    NamesImages,
    ReadsRanges,
    Registry,
    RegistryServices,
    Search,
    SearchResult,
    TakesImages,
)
from polyarch.contract.storage import (
    BlobWriter,
    ForgetsBlobs,
    HasBlobFiles,
    Image,
    ImageLoader,
    ImageSummary,
    KeepsUnnamed,
    ListsImages,
    LoadsEarly,
    OfferedImage,
    ReadsBack,
    ReadsBlobs,
    RemovesImages,
    Storage,
    StorageServices,
    SummarisesImages,
)
from polyarch.contract.version import CONTRACT_VERSION
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
from polyarch.events import Emit, Event, Warned
from polyarch.files import (
    absolute_path,
    disk_error,
    is_there,
    make_directory,
    read_bounded,
    sync_directory,
    write_in_one_step,
)
from polyarch.locks import Patience, locked, open_locked, try_lock
from polyarch.oci.config import MAX_CONFIG_SIZE, ImageConfig, parse_config
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, digest_of, is_digest
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Document, Index, Manifest, is_attestation, parse_document
from polyarch.oci.layout import Layout, index_json, marker_json
from polyarch.oci.media_types import CONFIGS, DOCUMENTS, INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST, is_layer
from polyarch.redaction import keep_secret
from polyarch.reference import Reference, parse_reference
from polyarch_platforms.architecture import Architecture
from polyarch_platforms.architecture import get as architecture_named
from polyarch_platforms.platform import Platform

if TYPE_CHECKING:
    from polyarch.contract.held import HeldImages, Located, locate_file
    from polyarch.contract.layout_images import LayoutImages, NewEntries
    from polyarch.contract.layout_reader import LayoutReader, VerifiedPlace
    from polyarch.contract.layout_summaries import LayoutSummaries
    from polyarch.oci.compression import decompressed
    from polyarch.oci.docker_archive import DockerArchive
    from polyarch.oci.held import CONTAINERD_NAME, HeldImage, ImagePlace, blob_name, held_images, names_of
    from polyarch.oci.json import mapping_of, parse_json, strings
    from polyarch.oci.oci_archive import OciArchive
    from polyarch.oci.tar_stream import OtherSize, TarMember, bytes_member, file_member, tar_chunks
    from polyarch_platforms.qemu import QemuBinary
    from polyarch_platforms.qemu import find as find_qemu

__all__ = [
    "CONFIGS",
    "CONTAINERD_NAME",
    "CONTRACT_VERSION",
    "DOCUMENTS",
    "INDEXES",
    "MANIFESTS",
    "MAX_CONFIG_SIZE",
    "MAX_DOCUMENT_SIZE",
    "MAX_OUTPUT",
    "OCI_INDEX",
    "OCI_MANIFEST",
    "Architecture",
    "BlobStream",
    "BlobWriter",
    "Build",
    "BuildBase",
    "Builder",
    "BuilderPlugin",
    "BuilderServices",
    "Certainty",
    "ChosenVariant",
    "Descriptor",
    "Digest",
    "DockerArchive",
    "Document",
    "Emit",
    "EmulatorPlugin",
    "EmulatorServices",
    "EmulatorSource",
    "Endpoint",
    "Event",
    "ExplainsRules",
    "FetchesEmulators",
    "FleetDevice",
    "FleetEngine",
    "FleetEnginePlugin",
    "FleetResult",
    "FleetRun",
    "FleetStarted",
    "FleetStatus",
    "FleetTask",
    "ForgetsBlobs",
    "HasBlobFiles",
    "HasPlaces",
    "HeldImage",
    "HeldImages",
    "HostError",
    "Http",
    "HttpResponse",
    "Image",
    "ImageConfig",
    "ImageFiles",
    "ImageLoader",
    "ImagePlace",
    "ImageSummary",
    "Index",
    "IntegrityError",
    "KeepsUnnamed",
    "Layout",
    "LayoutImages",
    "LayoutReader",
    "LayoutSummaries",
    "ListsImages",
    "ListsReferrers",
    "ListsRepositories",
    "ListsTags",
    "LoadsEarly",
    "Located",
    "Manifest",
    "NamesImages",
    "NewEntries",
    "NotFoundError",
    "Observer",
    "ObserverPlugin",
    "OciArchive",
    "OfferedImage",
    "OtherSize",
    "Patience",
    "Platform",
    "PluginServices",
    "PolyarchError",
    "QemuBinary",
    "ReadsBack",
    "ReadsBlobs",
    "ReadsRanges",
    "ReadsTags",
    "Reference",
    "Registry",
    "RegistryPlugin",
    "RegistryServices",
    "RemovesImages",
    "RunsEmulated",
    "Search",
    "SearchResult",
    "SendsInput",
    "Storage",
    "StorageError",
    "StoragePlugin",
    "StorageServices",
    "SummarisesImages",
    "TagConvention",
    "TagConventionPlugin",
    "TagProposal",
    "TagReading",
    "TakesImages",
    "TarMember",
    "UnauthorizedError",
    "UnreachableError",
    "UsageError",
    "VerifiedPlace",
    "Verifier",
    "VerifierPlugin",
    "VerifierServices",
    "VerifiesVariants",
    "Warned",
    "absolute_path",
    "architecture_named",
    "blob_name",
    "bytes_member",
    "decompressed",
    "digest_of",
    "disk_error",
    "file_member",
    "find_qemu",
    "get_json",
    "held_images",
    "hookimpl",
    "index_json",
    "is_attestation",
    "is_digest",
    "is_layer",
    "is_there",
    "keep_secret",
    "locate_file",
    "locked",
    "make_directory",
    "mapping_of",
    "marker_json",
    "names_of",
    "open_locked",
    "parse_config",
    "parse_document",
    "parse_json",
    "parse_reference",
    "printable",
    "read_bounded",
    "strings",
    "sync_directory",
    "tar_chunks",
    "try_lock",
    "write_in_one_step",
]

_LATER = {
    "HeldImages": "polyarch.contract.held:HeldImages",
    "Located": "polyarch.contract.held:Located",
    "locate_file": "polyarch.contract.held:locate_file",
    "LayoutImages": "polyarch.contract.layout_images:LayoutImages",
    "LayoutSummaries": "polyarch.contract.layout_summaries:LayoutSummaries",
    "LayoutReader": "polyarch.contract.layout_reader:LayoutReader",
    "NewEntries": "polyarch.contract.layout_images:NewEntries",
    "VerifiedPlace": "polyarch.contract.layout_reader:VerifiedPlace",
    "decompressed": "polyarch.oci.compression:decompressed",
    "DockerArchive": "polyarch.oci.docker_archive:DockerArchive",
    "CONTAINERD_NAME": "polyarch.oci.held:CONTAINERD_NAME",
    "HeldImage": "polyarch.oci.held:HeldImage",
    "ImagePlace": "polyarch.oci.held:ImagePlace",
    "blob_name": "polyarch.oci.held:blob_name",
    "held_images": "polyarch.oci.held:held_images",
    "mapping_of": "polyarch.oci.json:mapping_of",
    "parse_json": "polyarch.oci.json:parse_json",
    "strings": "polyarch.oci.json:strings",
    "names_of": "polyarch.oci.held:names_of",
    "OciArchive": "polyarch.oci.oci_archive:OciArchive",
    "OtherSize": "polyarch.oci.tar_stream:OtherSize",
    "TarMember": "polyarch.oci.tar_stream:TarMember",
    "bytes_member": "polyarch.oci.tar_stream:bytes_member",
    "file_member": "polyarch.oci.tar_stream:file_member",
    "tar_chunks": "polyarch.oci.tar_stream:tar_chunks",
    "QemuBinary": "polyarch_platforms.qemu:QemuBinary",
    "find_qemu": "polyarch_platforms.qemu:find",
}
"""What few plugins need and is dear to load comes when it is asked for: name -> MODULE:NAME."""

_DEPRECATED: dict[str, Deprecated] = {}
_deprecated = deprecated_names(__name__, _DEPRECATED)
if not TYPE_CHECKING:  # a type checker is to tell a name that is not there

    def __getattr__(name: str) -> object:
        if name in _LATER:
            module, _, there = _LATER[name].partition(":")
            return getattr(import_module(module), there)
        return _deprecated(name)
