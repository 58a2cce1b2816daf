"""What the verbs answer. `to_json` has the keys that the command line promises to scripts."""

from __future__ import annotations

from typing import Literal

from polyarch.oci.document import Document
from polyarch.reference import Reference
from polyarch.resolution.resolve import Resolution
from polyarch.selection.types import Candidate, Match, Verdict
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class LayerResult:
    """How a layer came: over the network, over it in part, or not at all. `reused_bytes` did not travel."""

    digest: str
    size: int
    status: Literal["downloaded", "resumed", "exists", "missing"]
    served_by: str | None = None
    reused_bytes: int = 0

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        return {
            "digest": self.digest,
            "size": self.size,
            "status": self.status,
            "reused_bytes": self.reused_bytes,
        }


@dataclass(frozen=True, slots=True)
class PullResult:
    """What a pull of one variant did: `name` is what it is kept under (other than `reference` where that is a file).

    `served_by` is the host that the manifest was asked of; None where that was nobody, or a source without hosts.
    `prepared` is the form in which its layers are ready to be run; None where that was not asked for.
    """

    reference: Reference
    name: Reference
    root: Document
    candidate: Candidate
    platform: str
    match: Match
    emulator: str | None
    status: Literal["downloaded", "up-to-date", "planned"]
    layers: tuple[LayerResult, ...]
    downloaded_bytes: int
    reused_bytes: int
    storage: str
    served_by: str | None = None
    prepared: Literal["erofs", "unpacked"] | None = None

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        layers = [layer.to_json() for layer in self.layers]
        if len({self.served_by, *(layer.served_by for layer in self.layers)} - {None}) > 1:
            layers = [{**layer.to_json(), "served_by": layer.served_by} for layer in self.layers]
        return {
            "reference": str(self.reference),
            "name": str(self.name),
            "digest": self.root.digest,
            "manifest": self.candidate.manifest.digest,
            "platform": self.platform,
            "match": self.match,
            "source": self.candidate.source,
            "tag": tag_of(self.candidate, self.reference),
            "emulator": self.emulator,
            "status": self.status,
            "layers": layers,
            "downloaded_bytes": self.downloaded_bytes,
            "reused_bytes": self.reused_bytes,
            "storage": self.storage,
            "served_by": self.served_by,
            "prepared": self.prepared,
        }


def resolution_json(resolution: Resolution) -> dict[str, object]:
    """A resolution for one JSON line."""
    reference = resolution.reference
    return {
        "reference": str(reference),
        "digest": resolution.root.digest,
        "device": resolution.selection.target.name,
        "served_by": resolution.served_by,
        "chosen": {
            "platform": _platform(resolution.chosen),
            "manifest": resolution.chosen.candidate.manifest.digest,
            "match": resolution.chosen.match,
            "source": resolution.chosen.candidate.source,
            "tag": tag_of(resolution.chosen.candidate, reference),
            "size": resolution.manifest.size,
            "emulator": resolution.chosen.emulator,
        },
        "candidates": [
            {
                "platform": _platform(verdict),
                "manifest": verdict.candidate.manifest.digest,
                "source": verdict.candidate.source,
                "tag": tag_of(verdict.candidate, reference),
                "size": resolution.manifest.size if verdict == resolution.chosen else verdict.candidate.size,
                "match": verdict.match,
                "unproven": verdict.unproven,
                "refused": verdict.refused,
            }
            for verdict in resolution.selection.verdicts
        ],
    }


def tag_of(candidate: Candidate, reference: Reference) -> str:
    """The tag that a candidate was found under; the whole name where it is in another repository."""
    found = candidate.reference
    return found.tag if found.name == reference.name else found.familiar


def _platform(verdict: Verdict) -> str | None:
    return str(verdict.candidate.platform) if verdict.candidate.platform else None


@dataclass(frozen=True, slots=True)
class VerifiedImage:
    """What reading a stored image again gave. `problems` is empty for a sound one; `policy` is what verifiers ask of
    its name, in words, "" if there are none or it has no name. `repaired` are the digests of the blobs under its name
    that were brought again before, and sentences that tell of more than a blob. `hint` is what helps where a verifier
    refuses a sound image, which nothing that is brought again does.
    """

    reference: Reference
    platform: str
    manifest: str
    blobs: int
    bytes: int
    problems: tuple[str, ...]
    policy: str = ""
    repaired: tuple[str, ...] = ()
    hint: str | None = None

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        return {
            "reference": str(self.reference),
            "platform": self.platform,
            "manifest": self.manifest,
            "blobs": self.blobs,
            "bytes": self.bytes,
            "problems": list(self.problems),
            "policy": self.policy,
            "repaired": list(self.repaired),
        }
