"""Looks for the signatures of one image, and holds them against one requirement.

Signatures belong to the manifest of one platform, not to the index that leads to it: what is copied is the manifest
(containers/image, copy/single.go). Any one of them may fulfil a requirement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from polyarch.contract import (
    OCI_MANIFEST,
    ChosenVariant,
    Descriptor,
    HasPlaces,
    IntegrityError,
    Manifest,
    NotFoundError,
    Reference,
    Registry,
    StorageError,
    UsageError,
    VerifierServices,
    digest_of,
    read_bounded,
)
from polyarch_plugins.verifiers.containers_policy import gpg, sigstore
from polyarch_plugins.verifiers.containers_policy.certificates import load_authorities
from polyarch_plugins.verifiers.containers_policy.identities import matches
from polyarch_plugins.verifiers.containers_policy.keys import load_keys, load_log_keys
from polyarch_plugins.verifiers.containers_policy.lookaside import Places, default_place, read_places, signatures_at
from polyarch_plugins.verifiers.containers_policy.payload import (
    ATOMIC,
    COSIGN,
    MAX_SIGNATURE,
    MAX_SIGNATURES,
    parse_payload,
)
from polyarch_plugins.verifiers.containers_policy.policy import (
    Authority,
    Fulcio,
    Identity,
    Keys,
    SignedBy,
    SigstoreSigned,
)

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

T = TypeVar("T")

_MAX_KEY = 4 << 20
_NONE = "a signature is wanted, and there is none"


class Signatures:
    """Those of one image in a registry, none of them looked at yet. An image elsewhere has none.

    Where a mirror has the image, they are the mirror's, under the name that it has there (containers/image,
    docker/docker_image_src.go); rules and names are those of the name that was asked for.
    """

    def __init__(self, variant: ChosenVariant, services: VerifierServices) -> None:
        self.variant, self.services = variant, services

    @cached_property
    def beside(self) -> Sequence[bytes | sigstore.Attachment]:
        """Those that are kept beside the registry. Raises what reading them raises."""
        if self.variant.found.scheme:
            return ()
        name, _ = self._place
        base = self._places.lookaside(name) or default_place(self.services.home)
        return tuple(signatures_at(base, name, self.variant.manifest.digest, self.services.http()))

    @cached_property
    def attached(self) -> Sequence[sigstore.Attachment]:
        """Those that are attached in the registry, where registries.d says that there may be some."""
        if self.variant.found.scheme:
            return ()
        name, registry = self._place
        if not self._places.attachments(name):
            return ()
        algorithm, _, encoded = self.variant.manifest.digest.partition(":")
        tag = name.with_tag(f"{algorithm}-{encoded}.sig")
        try:
            document = registry.get(tag)
        except NotFoundError:
            return ()
        if not isinstance(document, Manifest) or document.media_type != OCI_MANIFEST:
            raise IntegrityError(f"{tag.familiar}: {document.media_type} came, and an OCI manifest attaches signatures")
        layers = [layer for layer in document.layers if layer.media_type == sigstore.MEDIA_TYPE]
        if len(layers) > MAX_SIGNATURES:
            raise IntegrityError(f"{tag.familiar}: more than {MAX_SIGNATURES} signatures of one image")
        return tuple(_attachment(registry, tag, layer) for layer in layers)

    @cached_property
    def _places(self) -> Places:
        return read_places(self.services.home)

    @cached_property
    def _place(self) -> tuple[Reference, Registry]:
        variant = self.variant
        if isinstance(variant.registry, HasPlaces):
            return variant.registry.place_of(variant.found, variant.root.digest)
        return variant.found, variant.registry


def _attachment(registry: Registry, tag: Reference, layer: Descriptor) -> sigstore.Attachment:
    where = f"{tag.familiar}: {layer.digest}"
    if layer.size > MAX_SIGNATURE:
        raise IntegrityError(f"{where}: {layer.size} bytes are more than a signature may have ({MAX_SIGNATURE})")
    payload = bytearray()
    with registry.open_blob(tag, layer) as stream:
        for chunk in stream.chunks:
            payload += chunk
            if len(payload) > layer.size:
                break
    if len(payload) != layer.size or digest_of(bytes(payload), layer.digest.partition(":")[0]) != layer.digest:
        raise IntegrityError(f"{where}: a signature came that is not what was promised")
    return sigstore.Attachment(layer.media_type, bytes(payload), layer.annotations)


def held(requirement: SignedBy | SigstoreSigned, signatures: Signatures) -> None:
    """Raises ValueError, which says why, unless a signature fulfils the requirement; HostError where that cannot be
    found out here, and what reading signatures raises.
    """
    if isinstance(requirement, SignedBy):
        _by_gpg(requirement, signatures)
    else:
        _by_sigstore(requirement, signatures)


def _by_gpg(requirement: SignedBy, signatures: Signatures) -> None:
    found = [each for each in signatures.beside if isinstance(each, bytes)]
    if not found:
        raise ValueError(_NONE)
    services = signatures.services
    with gpg.keyring(services.environ, services.temporary(), _bytes_of(requirement.keys)) as ring:
        if not ring.keys:
            raise ValueError("there is no public key in what the policy names as keys")

        def check(signature: bytes) -> None:
            try:
                content = ring.signed(signature)
            except gpg.Refused as error:
                raise ValueError(str(error)) from error
            _fits(signatures.variant, requirement.identity, content, ATOMIC)

        _any(check, found)


def _by_sigstore(requirement: SigstoreSigned, signatures: Signatures) -> None:
    beside = [each for each in signatures.beside if isinstance(each, sigstore.Attachment)]
    found = [each for each in (*beside, *signatures.attached) if each.media_type == sigstore.MEDIA_TYPE]
    signers = _signers(requirement)
    if not found:
        raise ValueError(_NONE)

    def check(attachment: sigstore.Attachment) -> None:
        content = sigstore.signed(attachment, signers)
        _fits(signatures.variant, requirement.identity, content, COSIGN)

    _any(check, found)


def _signers(requirement: SigstoreSigned) -> sigstore.Signers:
    by = requirement.signers
    logs = None if requirement.rekor is None else load_log_keys(_bytes_of(requirement.rekor))
    if isinstance(by, Fulcio):
        assert logs is not None  # a policy without a log is refused when it is read
        return sigstore.by_fulcio(_certificates(by.roots), by.issuer, by.email, logs)
    if isinstance(by, Authority):
        return sigstore.by_authority(_certificates(by.roots), _certificates(by.between), by.email, by.hostname)
    return sigstore.by_keys(load_keys(_bytes_of(by)), logs)


def _certificates(found: Keys) -> list[Certificate]:
    return [each for pem in _bytes_of(found) for each in load_authorities(pem)]


def _any(check: Callable[[T], None], found: Sequence[T]) -> None:
    """Raises ValueError, with all reasons, unless one passes."""
    reasons = []
    for each in found:
        try:
            check(each)
        except ValueError as error:
            reasons.append(str(error))
        else:
            return
    raise ValueError("; ".join(dict.fromkeys(reasons)))


def _fits(variant: ChosenVariant, identity: Identity, content: bytes, kind: str) -> None:
    """Raises ValueError unless what was signed is this image under this name."""
    try:
        payload = parse_payload(content, kind)
    except ValueError as error:
        raise ValueError(f"what was signed is no signature of an image: {error}") from error
    if digest_of(variant.manifest.raw, payload.digest.partition(":")[0]) != payload.digest:
        raise ValueError(f"the signature is of another image ({payload.digest})")
    if not matches(identity, variant.found, payload.reference):
        raise ValueError(f"the signature is for another name ({payload.reference})")


def _bytes_of(keys: Keys) -> list[bytes]:
    return [*_files(keys.paths), *keys.datas]


def _files(paths: Iterable[str]) -> Iterator[bytes]:
    for path in paths:
        try:
            yield read_bounded(Path(path), _MAX_KEY)
        except OSError as error:
            raise UsageError(f"{path}, which the signature policy names: {error.strerror}") from error
        except StorageError as error:
            raise UsageError(f"{path}, which the signature policy names: {error.message}") from error
