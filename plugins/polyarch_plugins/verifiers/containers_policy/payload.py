"""What a signature says: which image it is for, under which name.

Both kinds have the same document, but for its type: containers/image, docs/containers-signature.5.md; cosign,
specs/SIGNATURE_SPEC.md, "Simple Signing". Neither is read before the signature over its bytes was found to be right.
"""

from __future__ import annotations

from dataclasses import dataclass

from polyarch.contract import Digest, is_digest
from polyarch_plugins.verifiers.containers_policy import strict

ATOMIC = "atomic container signature"
COSIGN = "cosign container image signature"
MAX_SIGNATURE = 4 << 20
"""Bytes of one signature that are read."""

MAX_SIGNATURES = 128
"""Signatures of one image that are looked at; more are taken for a fault of the server."""


@dataclass(frozen=True, slots=True)
class Payload:
    """The digest of the manifest that was signed, and the name that it was signed for."""

    digest: Digest
    reference: str


def parse_payload(raw: bytes, kind: str) -> Payload:
    """The document of a signature of this kind. Raises ValueError."""
    document = strict.object_of(strict.parse(raw), ["critical", "optional"])
    optional = document["optional"]
    if optional is not None or kind != COSIGN:  # cosign writes null
        _check_optional(optional)
    critical = strict.object_of(document["critical"], ["type", "image", "identity"])
    stated = strict.text(critical, "type")
    if stated != kind:
        raise ValueError(f"its type is {stated!r}, not {kind!r}")
    digest = strict.text(strict.object_of(critical["image"], ["docker-manifest-digest"]), "docker-manifest-digest")
    if not is_digest(digest):
        raise ValueError(f"{digest!r} is no digest")
    identity = strict.object_of(critical["identity"], ["docker-reference"])
    return Payload(digest, strict.text(identity, "docker-reference"))


def _check_optional(optional: object) -> None:
    found = strict.any_object(optional)
    if "creator" in found:
        strict.text(found, "creator")
    stamp = found.get("timestamp", 0)
    whole = isinstance(stamp, int) and not isinstance(stamp, bool)
    if not whole and not (isinstance(stamp, float) and stamp.is_integer()):
        raise ValueError("'timestamp' is no whole number")
