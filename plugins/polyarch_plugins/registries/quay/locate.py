"""Where Quay keeps its images: where their names say, below a namespace (docs.redhat.com, "About Red Hat Quay")."""

from __future__ import annotations

from polyarch.contract import Endpoint, NotFoundError, Reference


def locate(reference: Reference) -> Endpoint:
    """The host and repository of the reference itself. Raises NotFoundError for a name that cannot be there."""
    if "/" not in reference.repository:
        raise NotFoundError(
            f"{reference.registry} has no repository {reference.repository}",
            f"names there are {reference.registry}/NAMESPACE/REPOSITORY",
        )
    return Endpoint(reference.registry, reference.repository, reference.registry)
