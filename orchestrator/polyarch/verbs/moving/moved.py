"""What moving images answers. `to_json` has the keys that the command line promises to scripts."""

from __future__ import annotations

from collections.abc import Mapping

from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Document
from polyarch.reference import Reference
from polyarch.transfer.send import Sent
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class MovedManifest:
    """One variant that a name at a registry leads to now."""

    digest: Digest
    platform: str
    size: int


@dataclass(frozen=True, slots=True)
class PushResult:
    """What came to a registry: `root` is what `reference` points at there now.

    `made` says that `root` is an index that was written for this. `referrers` are the digests of what came along
    because it refers to something of it: signatures, SBOMs, attestations.
    """

    reference: Reference
    source: str
    root: Document
    made: bool
    manifests: tuple[MovedManifest, ...]
    blobs: tuple[Sent, ...]
    referrers: tuple[Digest, ...] = ()

    @property
    def uploaded_bytes(self) -> int:
        """Bytes of blobs that went over the network to the registry."""
        return sum(blob.sent for blob in self.blobs)

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        only = self.manifests[0] if len(self.manifests) == 1 else None
        return {
            "reference": str(self.reference),
            "source": self.source,
            "digest": self.root.digest,
            "media_type": self.root.media_type,
            "made": self.made,
            "platform": only.platform if only else None,
            "manifests": [
                {"digest": each.digest, "platform": each.platform, "size": each.size} for each in self.manifests
            ],
            "referrers": list(self.referrers),
            "blobs": [
                {"digest": each.descriptor.digest, "size": each.descriptor.size, "status": each.status}
                for each in self.blobs
            ],
            "uploaded_bytes": self.uploaded_bytes,
        }


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One entry of an index. `platform` is "" where it states none; `about` is the digest that an attestation is of."""

    descriptor: Descriptor
    platform: str
    about: Digest = ""

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        return {
            "digest": self.descriptor.digest,
            "size": self.descriptor.size,
            "media_type": self.descriptor.media_type,
            "platform": self.platform or None,
            "annotations": dict(self.descriptor.annotations),
            "attests": self.about or None,
        }


@dataclass(frozen=True, slots=True)
class IndexResult:
    """An index at a registry as it is, or as it was made. `pushed` is False for a dry run and where it was only read.

    `blobs` are those that had to come into its repository.
    """

    reference: Reference
    digest: Digest
    media_type: str
    annotations: Mapping[str, str]
    entries: tuple[IndexEntry, ...]
    pushed: bool = False
    blobs: tuple[Sent, ...] = ()

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        return {
            "reference": str(self.reference),
            "digest": self.digest,
            "media_type": self.media_type,
            "annotations": dict(self.annotations),
            "manifests": [entry.to_json() for entry in self.entries],
            "pushed": self.pushed,
            "blobs": [
                {"digest": each.descriptor.digest, "size": each.descriptor.size, "status": each.status}
                for each in self.blobs
            ],
            "uploaded_bytes": sum(each.sent for each in self.blobs),
        }
