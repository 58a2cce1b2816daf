"""Whether a signature is for the name that was asked for (containers-policy.json(5), `signedIdentity`)."""

from __future__ import annotations

from polyarch.contract import Reference, UsageError, parse_reference
from polyarch_plugins.verifiers.containers_policy.policy import Identity, has_tag_or_digest
from polyarch_plugins.verifiers.containers_policy.scopes import intended_name


def matches(identity: Identity, intended: Reference, signed: str) -> bool:
    """True if a signature for the name `signed` is one for `intended`, the name in a registry that is taken."""
    found = _read(signed)
    if found is None:
        return False
    name, whole = found
    if identity.kind == "matchRepository":
        return name == intended.name
    if identity.kind == "exactRepository":
        wanted = _read(identity.first)
        return wanted is not None and name == wanted[0]
    if identity.kind == "exactReference":
        wanted = _read(identity.first)
        return wanted is not None and whole != "" and whole == wanted[1]
    if identity.kind == "matchExact":
        return whole != "" and whole == intended_name(intended)
    if identity.kind == "remapIdentity":
        moved = _remapped(intended, identity.first, identity.second)
        return moved is not None and _repo_digest_or_exact(moved, name, whole)
    return _repo_digest_or_exact(intended, name, whole)


def _repo_digest_or_exact(intended: Reference, name: str, whole: str) -> bool:
    """By digest the repository is enough: what the digest is of is held against the signature anyway."""
    if not whole:
        return False
    return name == intended.name if intended.digest else whole == intended_name(intended)


def _read(text: str) -> tuple[str, str] | None:
    """The repository of a reference, and all of it with tag and digest, "" without either; None if it is none."""
    try:
        reference = parse_reference(text)
    except UsageError:
        return None
    return reference.name, str(reference) if has_tag_or_digest(text) else ""


def _remapped(intended: Reference, prefix: str, signed: str) -> Reference | None:
    """`intended` with `signed` in the place of `prefix`, if it begins so; None if that is no whole name."""
    if intended.name != prefix and not intended.name.startswith(f"{prefix}/"):
        return intended
    text = signed + intended_name(intended)[len(prefix) :]
    try:
        moved = parse_reference(text)
    except UsageError:
        return None
    return moved if intended_name(moved) == text else None
