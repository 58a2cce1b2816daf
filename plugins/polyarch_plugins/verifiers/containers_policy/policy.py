"""What a policy.json says, read as strictly as podman does (containers-policy.json(5), as of containers/image 5.37)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

from polyarch.contract import UsageError, parse_reference
from polyarch_plugins.verifiers.containers_policy import strict

IdentityKind: TypeAlias = Literal[
    "matchRepoDigestOrExact", "matchExact", "matchRepository", "exactReference", "exactRepository", "remapIdentity"
]

T = TypeVar("T")

_KEY_TYPES = ("GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs")

# The domain and the whole name of a reference, for the two prefixes of remapIdentity.
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-*)[a-z0-9]+)*"
_PREFIX = re.compile(rf"{_DOMAIN}(?:/{_PART}(?:/{_PART})*)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Identity:
    """`signedIdentity`: what name a signature has to be for. `first` and `second` are its two texts, if it has any."""

    kind: IdentityKind = "matchRepoDigestOrExact"
    first: str = ""
    second: str = ""


@dataclass(frozen=True, slots=True)
class Keys:
    """Where keys are: in files, or in the policy itself."""

    paths: tuple[str, ...] = ()
    datas: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Accept:
    """`insecureAcceptAnything`."""

    kind: str = "insecureAcceptAnything"


@dataclass(frozen=True, slots=True)
class Reject:
    """`reject`."""

    kind: str = "reject"


@dataclass(frozen=True, slots=True)
class SignedBy:
    """`signedBy`: a GPG signature by one of `keys`."""

    keys: Keys
    identity: Identity
    kind: str = "signedBy"


@dataclass(frozen=True, slots=True)
class Fulcio:
    """`fulcio`: certificates of these authorities, for the holder of this address who logged in at this issuer."""

    roots: Keys
    issuer: str
    email: str


@dataclass(frozen=True, slots=True)
class Authority:
    """`pki`: certificates of these roots, perhaps by way of `between`, for an address or a host, "" for any."""

    roots: Keys
    between: Keys
    email: str
    hostname: str


@dataclass(frozen=True, slots=True)
class SigstoreSigned:
    """`sigstoreSigned` by public keys, or by those of certificates; `rekor` are the keys of the transparency log that
    has to know the signature, None where none has to.
    """

    signers: Keys | Fulcio | Authority
    rekor: Keys | None
    identity: Identity
    kind: str = "sigstoreSigned"


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A requirement that is well written and that polyarch cannot check: `what` in words. No image keeps it here."""

    kind: str
    what: str


Requirement: TypeAlias = Accept | Reject | SignedBy | SigstoreSigned | Unsupported
Requirements: TypeAlias = tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """`scopes` has those of each transport; the scope "" is for all of that transport that no other fits."""

    default: Requirements
    scopes: Mapping[str, Mapping[str, Requirements]]


def policy_of(value: object) -> Policy:
    """The policy that is written so. Raises ValueError, whose text says where the fault is."""
    document = strict.object_of(value, ["default"], ["transports"])
    default = _at("default", _requirements, document["default"])
    scopes = {
        transport: {
            scope: _at(f"transports: {transport}: {scope!r}", _requirements, value)
            for scope, value in strict.any_object(scopes).items()
        }
        for transport, scopes in strict.any_object(document.get("transports", {})).items()
    }
    return Policy(default, scopes)


def _at(where: str, read: Callable[[object], T], value: object) -> T:
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _requirements(value: object) -> Requirements:
    if not isinstance(value, list):
        raise ValueError("a list of requirements is wanted")
    if not value:
        raise ValueError("the list of requirements is empty")
    return tuple(_at(f"requirement {i}", _requirement, each) for i, each in enumerate(value, 1))


def _requirement(value: object) -> Requirement:
    found = strict.any_object(value)
    kind = found.get("type")
    if kind == "insecureAcceptAnything":
        strict.object_of(found, ["type"])
        return Accept()
    if kind == "reject":
        strict.object_of(found, ["type"])
        return Reject()
    if kind == "signedBy":
        return _signed_by(found)
    if kind == "sigstoreSigned":
        return _sigstore_signed(found)
    if kind == "signedBaseLayer":
        strict.object_of(found, ["type", "baseLayerIdentity"])
        _at("baseLayerIdentity", _identity, found["baseLayerIdentity"])
        return Unsupported("signedBaseLayer", "signatures of base layers")
    raise ValueError(f"there is no type of requirement {kind!r}")


def _signed_by(found: Mapping[str, object]) -> Requirement:
    strict.object_of(found, ["type", "keyType"], ["keyPath", "keyPaths", "keyData", "signedIdentity"])
    kind = strict.text(found, "keyType")
    if kind not in _KEY_TYPES:
        raise ValueError(f"there is no keyType {kind!r}")
    keys = _keys(found, "keyPath", "keyPaths", "keyData", "")
    if keys is None:
        raise ValueError("one of keyPath, keyPaths and keyData is wanted")
    identity = _signed_identity(found)
    if kind != "GPGKeys":
        return Unsupported("signedBy", f"signatures with keys of the type {kind}")
    return SignedBy(keys, identity)


def _sigstore_signed(found: Mapping[str, object]) -> Requirement:
    rekor_names = ("rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas")
    key_names = ("keyPath", "keyPaths", "keyData", "keyDatas")
    strict.object_of(found, ["type"], [*key_names, *rekor_names, "fulcio", "pki", "signedIdentity"])
    keys, rekor = _keys(found, *key_names), _keys(found, *rekor_names)
    if (keys is not None) + ("fulcio" in found) + ("pki" in found) != 1:
        raise ValueError("exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki is wanted")
    identity = _signed_identity(found)
    if "fulcio" in found:
        if rekor is None:
            raise ValueError("with fulcio, a rekorPublicKey… is wanted")
        return SigstoreSigned(_at("fulcio", _fulcio, found["fulcio"]), rekor, identity)
    if "pki" in found:
        if rekor is not None:
            raise ValueError("pki and a rekorPublicKey… cannot both be given")
        return SigstoreSigned(_at("pki", _pki, found["pki"]), None, identity)
    assert keys is not None
    return SigstoreSigned(keys, rekor, identity)


def _fulcio(value: object) -> Fulcio:
    found = strict.object_of(value, ["oidcIssuer", "subjectEmail"], ["caPath", "caData"])
    roots = _keys(found, "caPath", "", "caData", "")
    issuer, email = strict.text(found, "oidcIssuer"), strict.text(found, "subjectEmail")
    if not issuer or not email:
        raise ValueError("oidcIssuer and subjectEmail are wanted")
    if roots is None:
        raise ValueError("one of caPath and caData is wanted")
    return Fulcio(roots, issuer, email)


def _pki(value: object) -> Authority:
    root_names = ("caRootsPath", "caRootsData")
    between_names = ("caIntermediatesPath", "caIntermediatesData")
    subject_names = ("subjectEmail", "subjectHostname")
    found = strict.object_of(value, [], [*root_names, *between_names, *subject_names])
    roots = _keys(found, root_names[0], "", root_names[1], "")
    between = _keys(found, between_names[0], "", between_names[1], "")
    email, hostname = (strict.text(found, name) if name in found else "" for name in subject_names)
    if roots is None:
        raise ValueError("one of caRootsPath and caRootsData is wanted")
    if not email and not hostname:
        raise ValueError("subjectEmail or subjectHostname is wanted")
    return Authority(roots, between or Keys(), email, hostname)


def _keys(found: Mapping[str, object], path: str, paths: str, data: str, datas: str) -> Keys | None:
    """The keys under one of these names; None if none is there. Raises ValueError for several."""
    there = [name for name in (path, paths, data, datas) if name and name in found]
    if not there:
        return None
    if len(there) > 1:
        raise ValueError(f"{there[0]} and {there[1]} cannot both be given")
    name = there[0]
    if name == path:
        keys = Keys(paths=(strict.text(found, path),))
    elif name == paths:
        keys = Keys(paths=strict.texts(found, paths))
    elif name == data:
        keys = Keys(datas=(strict.bytes_of(strict.text(found, data), data),))
    else:
        keys = Keys(datas=tuple(strict.bytes_of(each, datas) for each in strict.texts(found, datas)))
    if not all((*keys.paths, *keys.datas)) or not (keys.paths or keys.datas):
        raise ValueError(f"{name} is empty")
    return keys


def _signed_identity(found: Mapping[str, object]) -> Identity:
    return _at("signedIdentity", _identity, found["signedIdentity"]) if "signedIdentity" in found else Identity()


def _identity(value: object) -> Identity:
    found = strict.any_object(value)
    kind = found.get("type")
    if kind == "matchRepoDigestOrExact" or kind == "matchExact" or kind == "matchRepository":
        strict.object_of(found, ["type"])
        return Identity(kind)
    if kind == "exactReference":
        strict.object_of(found, ["type", "dockerReference"])
        reference = strict.text(found, "dockerReference")
        if not has_tag_or_digest(_checked_reference(reference)):
            raise ValueError(f"dockerReference {reference!r} has neither a tag nor a digest")
        return Identity(kind, reference)
    if kind == "exactRepository":
        strict.object_of(found, ["type", "dockerRepository"])
        return Identity(kind, _checked_reference(strict.text(found, "dockerRepository")))
    if kind == "remapIdentity":
        strict.object_of(found, ["type", "prefix", "signedPrefix"])
        prefix, signed = strict.text(found, "prefix"), strict.text(found, "signedPrefix")
        for each in (prefix, signed):
            if not _PREFIX.fullmatch(each):
                raise ValueError(f"{each!r} is no prefix of a reference")
        return Identity(kind, prefix, signed)
    raise ValueError(f"there is no type of signedIdentity {kind!r}")


def has_tag_or_digest(text: str) -> bool:
    """True if the reference `text` names more than a repository."""
    name, at, _ = text.partition("@")
    return bool(at) or ":" in name.rpartition("/")[2]


def _checked_reference(text: str) -> str:
    try:
        parse_reference(text)
    except UsageError as error:
        raise ValueError(error.message) from error
    return text
