"""Digests, by the OCI image-spec, descriptor.md, "Digests"."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from polyarch.errors import IntegrityError

if TYPE_CHECKING:
    from hashlib import _Hash

# The registered algorithms of the image-spec that Python's own hashlib has everywhere.
_HEX_LENGTH = {"sha256": 64, "sha512": 128}
_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]+)", re.ASCII)

Digest = str
"""A digest is a plain, validated string: `sha256:` and 64 lower-case hexadecimal digits, or sha512 and 128."""


def is_digest(text: object) -> bool:
    """True if `text` is a digest of a registered algorithm, in lower-case hex of the right length."""
    if not isinstance(text, str) or not (match := _DIGEST.fullmatch(text)):
        return False
    return len(match[2]) == _HEX_LENGTH[match[1]]


def check_digest(text: object, where: str) -> Digest:
    """`text` if it is a digest; else IntegrityError, naming `where` it was found."""
    if isinstance(text, str) and is_digest(text):
        return text
    raise IntegrityError(f"{where}: {str(text)[:100]!r} is not a digest (sha256 or sha512 in lower-case hex)")


def digest_of(data: bytes, algorithm: str = "sha256") -> Digest:
    """The digest of `data`."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def hasher(digest: Digest) -> _Hash:
    """A fresh hash object of the digest's algorithm."""
    return hashlib.new(digest.partition(":")[0])


def hex_of(digest: Digest) -> str:
    """The hexadecimal part."""
    return digest.partition(":")[2]


def short(digest: Digest) -> str:
    """The first twelve hexadecimal digits, as docker prints them."""
    return hex_of(digest)[:12]
