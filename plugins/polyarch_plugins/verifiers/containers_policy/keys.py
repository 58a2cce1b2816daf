"""Public keys in PEM, and signatures over bytes by them.

Which algorithms there are, and that each but Ed25519 is over SHA-256, is as in containers/image
(signature/internal/sigstore_payload.go).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from polyarch.contract import HostError
from polyarch_plugins.verifiers.containers_policy import strict

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey: TypeAlias = EllipticCurvePublicKey | Ed25519PublicKey | RSAPublicKey

_PEM = re.compile(r"\s*+-----BEGIN ([A-Z0-9 ]++)-----\s++([A-Za-z0-9+/=\s]++)-----END \1-----\s*+", re.ASCII)


@contextmanager
def library(what: str = "the Python library cryptography") -> Iterator[None]:
    """Around imports of it: raises HostError where it is missing, or so old that it lacks what is imported."""
    try:
        yield
    except ImportError as error:
        raise HostError(
            f"the signature policy asks for sigstore signatures, and {what} is not here",
            "pip install 'polyarch[verify]'",
        ) from error


def load_keys(pems: Sequence[bytes]) -> tuple[PublicKey, ...]:
    """The public keys in PEM. Raises ValueError for what is none, HostError where the library is missing."""
    with library():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    found: list[PublicKey] = []
    for number, pem in enumerate(pems, 1):
        try:
            found.append(usable(load_pem_public_key(pem)))
        except UnsupportedAlgorithm as error:
            raise ValueError(f"public key {number} is none in PEM") from error
        except ValueError as error:
            raise ValueError(f"public key {number}: {error}") from error
    return tuple(found)


def load_log_keys(pems: Sequence[bytes]) -> tuple[PublicKey, ...]:
    """The keys of transparency logs, which are of ECDSA. Raises what `load_keys` raises."""
    keys = load_keys(pems)
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    if not all(isinstance(key, EllipticCurvePublicKey) for key in keys):
        raise ValueError("a log's key is not one of ECDSA")
    return keys


def usable(key: object) -> PublicKey:
    """`key`, if signatures by it can be checked. Raises ValueError."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey):
        raise ValueError("it is a key neither of ECDSA nor of RSA nor of Ed25519")
    return key


def fits(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """True if the key has made this signature over this message."""
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


def der_of(key: PublicKey) -> bytes:
    """The key as a SubjectPublicKeyInfo in DER."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def pem_block(text: str, what: str) -> bytes:
    """The bytes of the one block of PEM that `text` is (RFC 7468). Raises ValueError for what is more or less."""
    found = _PEM.fullmatch(text)
    if found is None:
        raise ValueError(f"{what} is not one block of PEM")
    return strict.bytes_of("".join(found[2].split()), what)
