"""Registers the signature policy of podman's files."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import Verifier, VerifierPlugin, VerifierServices, hookimpl

POLYARCH_CONTRACT = "1.2"


def _policy(services: VerifierServices) -> Verifier:
    from polyarch_plugins.verifiers.containers_policy.verifier import ContainersPolicy

    return ContainersPolicy(services)


@hookimpl
def polyarch_verifiers() -> Iterable[VerifierPlugin]:
    """One rule."""
    return [VerifierPlugin("containers-policy", "signatures, as podman's policy.json asks for them", _policy)]
