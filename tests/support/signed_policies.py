"""Policies over the registry with signed images, and pulls under them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.signed_images import SignedSite

Json = dict[str, Any]

ACCEPT: Json = {"type": "insecureAcceptAnything"}
REJECT: Json = {"type": "reject"}


def gpg(site: SignedSite) -> Json:
    return {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(site.gpg_keys["good"].public)}


def cosign(site: SignedSite) -> Json:
    return {"type": "sigstoreSigned", "keyPath": str(site.cosign_keys["good"].public)}


def only(site: SignedSite, *asks: Json) -> Path:
    """A policy for all images of the registry; all others are accepted."""
    return site.policy({"default": [ACCEPT], "transports": {"docker": {site.address: list(asks)}}})


def pulled(site: SignedSite, policy: Path | str, root: Path, name: str, **how: Any) -> None:
    with site.session(policy, root) as session:
        session.pull(site.ref(name), platform="linux/amd64", **how)
