"""One image offered to an engine of this machine, as a registry on loopback, for as long as the engine takes it in.

It is what engines are best at: they ask for several layers at once, and only for those that they do not have.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from polyarch.contract.storage import HasBlobFiles, Image, OfferedImage
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.document import Document, Index
from polyarch.serve.address import LOOPBACK, format_address
from polyarch.serve.one_time import OneTimeServer
from polyarch_platforms.platform import Platform


@contextlib.contextmanager
def offered(image: Image, blobs: HasBlobFiles) -> Iterator[OfferedImage]:
    """Offer `image` while the body runs: what its name points at, its manifest, its config and the blobs of `blobs`.

    Where a file could not be read, that is raised at the end of the body, for it is why the body failed.
    Raises HostError where nothing can listen on loopback.
    """
    root, platform = _named(image)
    with OneTimeServer() as server:
        path = server.admit([image], blobs, root=root)
        try:
            yield OfferedImage(format_address(LOOPBACK, server.port), path, root, platform)
        finally:
            if (fault := server.fault(path)) is not None:
                raise fault


def _named(image: Image) -> tuple[Document, Platform]:
    """What a tag points at, and the platform that leads from there to the manifest and to nothing else.

    The index itself, if it does. Not so where another entry is of the same platform, or of none that is stated (which
    containerd takes for every one), or where the manifest stands in an index within the index.
    """
    root, manifest = image.root, image.manifest
    if isinstance(root, Index):
        own = [entry for entry in root.manifests if entry.digest == manifest.digest]
        others = [entry for entry in root.manifests if entry.digest != manifest.digest]
        platform = own[0].platform if own else None
        if platform is not None and not any(_leads(entry, platform) for entry in others):
            return root, platform
    return manifest, image.config.platform


def _leads(entry: Descriptor, platform: Platform) -> bool:
    """True if an engine that looks for `platform` may take this entry of an index."""
    return entry.platform is None or _key(entry.platform) == _key(platform)


def _key(platform: Platform) -> tuple[str, str, str]:
    # containerd/platforms, database.go, normalizeArch: arm without a variant is v7.
    variant = platform.variant or ("v7" if platform.architecture == "arm" else "")
    return platform.os, platform.architecture, variant
