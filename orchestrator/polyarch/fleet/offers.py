"""What the images asked for consist of, as far as a plan needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from polyarch.fleet.reasons import ReasonCode
from polyarch.oci.config import ImageConfig
from polyarch.oci.digest import Digest
from polyarch.oci.document import Manifest
from polyarch.reference import Reference
from polyarch.selection.types import Candidate
from polyarch_platforms.lazy_dataclass import dataclass

# What gzip and zstd make of images: a layer is unpacked to some two and a half times its size.
_GROWTH = 2.5


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer: digest and size as it travels, diff ID, and some bytes that it has when it is unpacked."""

    digest: Digest
    size: int
    diff_id: Digest
    unpacked: int


@dataclass(frozen=True, slots=True)
class Content:
    """A variant: its manifest's and its config's digest, the config's size, the layers, bottom first."""

    manifest: Digest
    config: Digest
    config_size: int
    layers: tuple[Layer, ...]


def content_of(manifest: Manifest, config: ImageConfig) -> Content:
    """The content of a variant. Where the config does not have as many diff IDs as there are layers they are ""."""
    layers = manifest.layers
    diff_ids = config.diff_ids if len(config.diff_ids) == len(layers) else ("",) * len(layers)
    return Content(
        manifest.digest,
        manifest.config.digest,
        manifest.config.size,
        tuple(
            Layer(layer.digest, layer.size, diff_id, _unpacked(layer.media_type, layer.size))
            for layer, diff_id in zip(layers, diff_ids, strict=True)
        ),
    )


def _unpacked(media_type: str, size: int) -> int:
    """An estimate: the sizes of unpacked layers are written nowhere."""
    return size if media_type.endswith(("tar", "nondistributable")) else int(size * _GROWTH)


@dataclass(frozen=True, slots=True)
class Offer:
    """An image name, resolved once.

    reference   what devices keep it under
    candidates  its variants; of those that state none, what their programs are where that is proven
    roots       the digest that the name stands for, for each variant by its manifest's digest, as in the next two
    faults      why a variant cannot be had, reason code and words
    page_sizes  the largest pages, in bytes, that a variant's programs can be loaded with, where that was looked at
    fault       why the name could not be resolved; then there are no candidates
    """

    reference: Reference
    candidates: tuple[Candidate, ...] = ()
    roots: Mapping[Digest, Digest] = field(default_factory=dict)
    faults: Mapping[Digest, tuple[ReasonCode, str]] = field(default_factory=dict)
    page_sizes: Mapping[Digest, int] = field(default_factory=dict)
    fault: tuple[ReasonCode, str] | None = None
