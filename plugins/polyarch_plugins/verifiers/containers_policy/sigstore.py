"""Signatures as cosign makes them, judged by public keys or by certificates.

A signature is an attachment of its own: the payload, and in annotations the signature over its bytes, the certificate
of the one who signed it, and what a transparency log said of it (cosign, specs/SIGNATURE_SPEC.md). Which of them a
policy needs is as in containers/image (signature/policy_eval_sigstore.go).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from polyarch_plugins.verifiers.containers_policy import certificates, strict
from polyarch_plugins.verifiers.containers_policy.keys import der_of, fits, pem_block
from polyarch_plugins.verifiers.containers_policy.log import Entry, logged

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from polyarch_plugins.verifiers.containers_policy.keys import PublicKey

MEDIA_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_BUNDLE = "dev.sigstore.cosign/bundle"
_CERTIFICATE = "dev.sigstore.cosign/certificate"
_CHAIN = "dev.sigstore.cosign/chain"


@dataclass(frozen=True, slots=True)
class Attachment:
    """One signature, not looked at yet."""

    media_type: str
    payload: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(repr=False)

    def said(self, annotation: str, why: str = "") -> str:
        """The text of an annotation. Raises ValueError if there is none."""
        found = self.annotations.get(annotation)
        if found is None:
            raise ValueError(f"the annotation {annotation} is missing{why}")
        return found

    def signature(self) -> bytes:
        """The signature over the payload. Raises ValueError."""
        return strict.bytes_of(self.said(_SIGNATURE), _SIGNATURE)


Signers: TypeAlias = "Callable[[Attachment], Sequence[PublicKey]]"
"""The keys that may have signed an attachment. Raises ValueError, which says why there is none."""


def signed(attachment: Attachment, signers: Signers) -> bytes:
    """The payload, if one of the signers has signed it. Raises ValueError, which says why not."""
    signature = attachment.signature()
    if not any(fits(key, signature, attachment.payload) for key in signers(attachment)):
        raise ValueError("no key of the policy has signed it")
    return attachment.payload


def by_keys(keys: Sequence[PublicKey], logs: Sequence[PublicKey] | None) -> Signers:
    """These keys; unless `logs` is None, the one whose signature one of these logs holds."""

    def signers(attachment: Attachment) -> Sequence[PublicKey]:
        if logs is None:
            return keys
        entry = _entry(attachment, logs)
        same = [key for key in keys if der_of(key) == entry.signer]
        if not same:
            raise ValueError("the log's entry is by another key")
        return same

    return signers


def by_fulcio(roots: Sequence[Certificate], issuer: str, email: str, logs: Sequence[PublicKey]) -> Signers:
    """The key of a certificate that Fulcio issued to somebody who had logged in, and that held when a log took the
    signature in: keyless, because nobody needs the key for longer.
    """

    def signers(attachment: Attachment) -> Sequence[PublicKey]:
        entry = _entry(attachment, logs)
        text = attachment.said(_CERTIFICATE)
        if pem_block(text, "the certificate") != entry.signer:
            raise ValueError("the log's entry is by another certificate")
        signer = certificates.load_signer(text)
        between = certificates.load_chain(attachment.annotations.get(_CHAIN, ""))
        key = certificates.key_of(signer, roots, between, entry.time, email=email)
        certificates.check_issuer(signer, issuer)
        return [key]

    return signers


def by_authority(roots: Sequence[Certificate], known: Sequence[Certificate], email: str, hostname: str) -> Signers:
    """The key of a certificate that holds now; `known` are further authorities on the way to the roots."""

    def signers(attachment: Attachment) -> Sequence[PublicKey]:
        signer = certificates.load_signer(attachment.said(_CERTIFICATE))
        between = (*known, *certificates.load_chain(attachment.annotations.get(_CHAIN, "")))
        return [certificates.key_of(signer, roots, between, None, email=email, hostname=hostname)]

    return signers


def _entry(attachment: Attachment, logs: Sequence[PublicKey]) -> Entry:
    bundle = attachment.said(_BUNDLE, ", and the policy wants the log's word")
    return logged(bundle.encode(), logs, attachment.signature(), attachment.payload)
