"""What a transparency log said of a signature when it took it in, as cosign attaches it to the signature.

What has to fit is as in containers/image (signature/internal/rekor_set.go): the log has signed its answer, and that is
for this signature, this payload and this signer. The log itself is not asked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from polyarch_plugins.verifiers.containers_policy import strict
from polyarch_plugins.verifiers.containers_policy.keys import fits, pem_block

if TYPE_CHECKING:
    from polyarch_plugins.verifiers.containers_policy.keys import PublicKey


@dataclass(frozen=True, slots=True)
class Entry:
    """That somebody's signature was known to the log at a time. `signer` is the key or the certificate, in DER."""

    signer: bytes
    time: datetime


def logged(bundle: bytes, logs: Sequence[PublicKey], signature: bytes, payload: bytes) -> Entry:
    """The entry, if one of `logs` signed that it has it, and it is for this signature over this payload.

    Raises ValueError, which says why not. Whose the signature is has yet to be compared.
    """
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
    if not any(fits(key, stamp, canonical) for key in logs):
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
    signer = strict.bytes_of(strict.text(strict.any_object(said.get("publicKey")), "content"), "content")
    return Entry(pem_block(signer.decode(), "the signer in the log's entry"), _time(entry["integratedTime"]))


def _time(seconds: object) -> datetime:
    assert isinstance(seconds, int)
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError("the log's time is none") from error
