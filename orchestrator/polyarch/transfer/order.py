"""In which order the blobs of an image are asked for."""

from __future__ import annotations

from collections.abc import Sequence

from polyarch.oci.descriptor import Descriptor
from polyarch.oci.document import Manifest

SMALL = 1 << 20
"""Bytes up to which a blob costs a round trip rather than a share of the line."""


def in_order(missing: Sequence[Descriptor], manifest: Manifest, connections: int) -> list[Descriptor]:
    """The blobs that are `missing`, the first to be asked for first.

    The config is the first one. All connections but one then bring large blobs, the largest first, so that they end
    together. The last one brings what is small, since layers are read from the top down while they come: small layers
    are mostly the upper ones, and would be waited for if they came last. Among those of about a size the upper ones are
    first: among sizes with the same first three bits.
    """
    height = {blob.digest: number for number, blob in enumerate(manifest.blobs)}
    config = [blob for blob in missing if blob.digest == manifest.config.digest]
    layers = [blob for blob in missing if blob.digest != manifest.config.digest]
    small = sorted((blob for blob in layers if blob.size <= SMALL), key=lambda blob: -height[blob.digest])
    large = sorted(
        (blob for blob in layers if blob.size > SMALL),
        key=lambda blob: (-blob.size.bit_length(), -(blob.size >> blob.size.bit_length() - 3), -height[blob.digest]),
    )
    return [*config, *large[: connections - 1], *small, *large[connections - 1 :]]
