"""Signatures as cosign makes them, judged with public keys.

A signature is an attachment of its own: the payload, and in annotations the signature over its bytes and what a
transparency log said of it (cosign, specs/SIGNATURE_SPEC.md). Which algorithms there are, and what of the log's answer
has to fit, is as in containers/image (signature/internal: sigstore_payload.go, rekor_set.go).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from polyarch.contract import HostError
from polyarch_plugins.verifiers.containers_policy import strict

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey: TypeAlias = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey

MEDIA_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_BUNDLE = "dev.sigstore.cosign/bundle"
_LIBRARY = "the signature policy asks for sigstore signatures, and the Python library cryptography is not here"


@dataclass(frozen=True, slots=True)
class Attachment:
    """One signature, not looked at yet."""

    media_type: str
    payload: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(repr=False)


def load_keys(pems: Sequence[bytes]) -> tuple[PublicKey, ...]:
    """The public keys in PEM. Raises ValueError for what is none, HostError where the library is missing."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise HostError(_LIBRARY, "pip install 'polyarch[verify]'") from error
    found: list[PublicKey] = []
    for number, pem in enumerate(pems, 1):
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError(f"public key {number} is none in PEM") from error
        if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
            raise ValueError(f"public key {number} is neither ECDSA nor RSA nor Ed25519")
        found.append(key)
    return tuple(found)


def signed(attachment: Attachment, keys: Sequence[PublicKey], logs: Sequence[PublicKey] | None) -> bytes:
    """The payload, if one of `keys` signed it and, unless `logs` is None, one of these logs holds that signature.

    Raises ValueError, which says why not.
    """
    encoded = attachment.annotations.get(_SIGNATURE)
    if encoded is None:
        raise ValueError(f"the annotation {_SIGNATURE} is missing")
    signature = strict.bytes_of(encoded, _SIGNATURE)
    if logs is not None:
        bundle = attachment.annotations.get(_BUNDLE)
        if bundle is None:
            raise ValueError(f"the annotation {_BUNDLE} is missing, and the policy wants the log's word")
        keys = tuple(_in_log(bundle.encode(), logs, keys, signature, attachment.payload))
    if not any(_fits(key, signature, attachment.payload) for key in keys):
        raise ValueError("no key of the policy has signed it")
    return attachment.payload


def _fits(key: PublicKey, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _in_log(
    bundle: bytes, logs: Sequence[PublicKey], keys: Sequence[PublicKey], signature: bytes, payload: bytes
) -> Iterator[PublicKey]:
    """Of `keys` the one that the log's entry is of, which is for this signature and payload. Raises ValueError."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    found = strict.object_of(strict.parse(bundle), ["SignedEntryTimestamp", "Payload"])
    stamp = strict.bytes_of(strict.text(found, "SignedEntryTimestamp"), "SignedEntryTimestamp")
    entry = strict.object_of(found["Payload"], ["body", "integratedTime", "logIndex", "logID"])
    for key in ("integratedTime", "logIndex"):
        if type(entry[key]) is not int:
            raise ValueError(f"{key!r} is no whole number")
    # RFC 8785: of strings and small whole numbers in one object, that is the keys in order and no space.
    body, log = strict.text(entry, "body"), strict.text(entry, "logID")
    if not (body.isascii() and log.isascii()):
        raise ValueError("the log's answer has letters beyond ASCII")
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    if not any(_fits(key, stamp, canonical) for key in logs):
        raise ValueError("no log of the policy has signed its answer")
    record = strict.any_object(strict.parse(strict.bytes_of(body, "body")))
    if record.get("kind") != "hashedrekord" or record.get("apiVersion") != "0.0.1":
        raise ValueError("the log's entry is no hashedrekord 0.0.1")
    spec = strict.any_object(record.get("spec"))
    said = strict.any_object(spec.get("signature"))
    if strict.bytes_of(strict.text(said, "content"), "content") != signature:
        raise ValueError("the log's entry is for another signature")
    digest = strict.any_object(strict.any_object(spec.get("data")).get("hash"))
    if digest.get("algorithm") != "sha256" or digest.get("value") != sha256(payload).hexdigest():
        raise ValueError("the log's entry is for another payload")
    pem = strict.text(strict.any_object(said.get("publicKey")), "content")
    (logged,) = load_keys([strict.bytes_of(pem, "content")])
    shape = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    same = [key for key in keys if key.public_bytes(*shape) == logged.public_bytes(*shape)]
    if not same:
        raise ValueError("the log's entry is by another key")
    yield from same
