"""Where a registry keeps a reference, unless somebody knows better: where its name says."""

from __future__ import annotations

from polyarch.contract import Endpoint, Reference


def locate(reference: Reference) -> Endpoint:
    """The host and repository of the reference itself."""
    return Endpoint(reference.registry, reference.repository, reference.registry)
