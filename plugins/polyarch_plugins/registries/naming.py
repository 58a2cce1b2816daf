"""What repositories are called at registries that have a rule for it."""

from __future__ import annotations

from polyarch.contract import Endpoint, NotFoundError, Reference


def locate(parts: int, form: str, reference: Reference) -> Endpoint:
    """The host and repository of the reference itself. Raises NotFoundError for a name of too few parts to be there.

    The registry would answer such a name as one that is only closed to us. `form` is what its names are.
    """
    if reference.repository.count("/") + 1 < parts:
        raise NotFoundError(f"{reference.registry} has no repository {reference.repository}", f"names there are {form}")
    return Endpoint(reference.registry, reference.repository, reference.registry)
