"""Key pairs as cosign keeps them, and signatures by its format, with nothing of polyarch's code.

Source: cosign, specs/SIGNATURE_SPEC.md. Debian builds skopeo and podman without sigstore: they cannot sign so.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

MEDIA_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"


@dataclass(frozen=True, slots=True)
class CosignKey:
    """`secret` signs; `public` is the file of the other half."""

    secret: Any
    public: Path


def ecdsa_key(folder: Path, name: str) -> CosignKey:
    """The kind that cosign makes."""
    return _kept(ec.generate_private_key(ec.SECP256R1()), folder, name)


def rsa_key(folder: Path, name: str) -> CosignKey:
    return _kept(rsa.generate_private_key(65537, 2048), folder, name)


def ed25519_key(folder: Path, name: str) -> CosignKey:
    return _kept(ed25519.Ed25519PrivateKey.generate(), folder, name)


def payload(digest: str, reference: str, **critical: object) -> bytes:
    """What is signed; `critical` replaces parts of it."""
    said = {
        "type": "cosign container image signature",
        "image": {"docker-manifest-digest": digest},
        "identity": {"docker-reference": reference},
        **critical,
    }
    return json.dumps({"critical": said, "optional": None}).encode()


def sign(key: CosignKey, content: bytes) -> str:
    """The signature over bytes, as the annotation has it."""
    return base64.b64encode(raw_signature(key.secret, content)).decode()


def raw_signature(secret: Any, content: bytes) -> bytes:
    if isinstance(secret, ec.EllipticCurvePrivateKey):
        return secret.sign(content, ec.ECDSA(hashes.SHA256()))
    if isinstance(secret, rsa.RSAPrivateKey):
        return secret.sign(content, padding.PKCS1v15(), hashes.SHA256())
    return bytes(secret.sign(content))


def log_bundle(
    log: CosignKey,
    signer: bytes,
    content: bytes,
    signature: str,
    record: Mapping[str, object],
    time: int = 1_700_000_000,
) -> str:
    """What a transparency log answers for an entry (rekor's hashedrekord) of a key or a certificate in PEM; `record`
    replaces parts of its spec, `time` is in seconds of 1970.
    """
    spec = {
        "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(content).hexdigest()}},
        "signature": {
            "content": signature,
            "publicKey": {"content": base64.b64encode(signer).decode()},
        },
        **record,
    }
    body = json.dumps({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}).encode()
    entry = {
        "body": base64.b64encode(body).decode(),
        "integratedTime": time,
        "logIndex": 7,
        "logID": "c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d",
    }
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    stamp = base64.b64encode(raw_signature(log.secret, canonical)).decode()
    return json.dumps({"SignedEntryTimestamp": stamp, "Payload": entry})


def _kept(secret: Any, folder: Path, name: str) -> CosignKey:
    public = folder / f"{name}.pub"
    shape = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    public.write_bytes(secret.public_key().public_bytes(*shape))
    return CosignKey(secret, public)
