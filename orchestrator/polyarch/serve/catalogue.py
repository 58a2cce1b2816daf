"""Which repositories a storage offers, under which names.

An image of docker.io/library/busybox is found as `busybox`, as `library/busybox` (what docker and containerd ask a
mirror for) and, beyond doubt, as `docker.io/library/busybox`; one of ghcr.io/owner/app as `ghcr.io/owner/app` and as
`owner/app`. Where two repositories claim a name, docker.io's has it; if neither is docker.io's, nobody has.

What a repository name may not hold (the distribution-spec's grammar has no colon and no upper case) is written
otherwise in a registry's name: `localhost:5000` is `localhost_5000`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from sys import intern

from polyarch.contract.storage import Image
from polyarch.oci.digest import Digest
from polyarch.reference import DEFAULT_REGISTRY, Reference
from polyarch.serve.offer import Servable, offer_of
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Repository:
    """One repository: its tags, and the references whose images hold a document or a blob."""

    name: str
    familiar_name: str
    tags: Mapping[str, Reference]
    documents: Mapping[Digest, Reference]
    blobs: frozenset[Digest]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All repositories by each name that they are offered under, and one name of each for `_catalog`."""

    repositories: Mapping[str, Repository]
    names: tuple[str, ...]

    def find(self, name: str, registry: str | None = None) -> Repository | None:
        """The repository offered as `name`; with `registry`, as `name` of that registry (containerd's `ns`)."""
        return self.repositories.get(f"{_as_component(registry)}/{name}" if registry else name)


def catalogue_of(storage: Servable) -> Catalogue:
    """The catalogue of what is in `storage` now. References with a plugin's own scheme have no name to be served by."""
    images: dict[Reference, list[Image]] = {}
    for image in storage.images():
        if not image.reference.scheme:
            images.setdefault(image.reference, []).append(image)
    by_name: dict[str, list[Reference]] = {}
    for reference in images:
        by_name.setdefault(reference.name, []).append(reference)
    repositories = [_repository(references, images, storage) for references in by_name.values()]
    offered = _names(repositories)
    shown = (
        repository.familiar_name if offered.get(repository.familiar_name) is repository else full_name(repository)
        for repository in repositories
    )
    return Catalogue(offered, tuple(sorted(name for name in shown if name in offered)))


def _repository(
    references: Iterable[Reference], images: Mapping[Reference, list[Image]], storage: Servable
) -> Repository:
    tags: dict[str, Reference] = {}
    documents: dict[Digest, Reference] = {}
    blobs: set[Digest] = set()
    for reference in references:
        offer = offer_of(images[reference], storage)
        if reference.tag:
            tags[reference.tag] = reference
        for digest in offer.digests:
            documents.setdefault(intern(digest), reference)
        blobs.update(map(intern, offer.blobs))
    first = next(iter(references))
    return Repository(first.name, first.familiar_name, tags, documents, frozenset(blobs))


def full_name(repository: Repository) -> str:
    """The name with its registry, in the grammar of repository names."""
    registry, _, rest = repository.name.partition("/")
    return f"{_as_component(registry)}/{rest}"


def _as_component(registry: str) -> str:
    """A registry's host and port as one component of a repository name (distribution-spec, "Pulling manifests")."""
    text = re.sub(r"[^a-z0-9.-]", "_", registry.lower())
    return re.sub(r"_{3,}", "__", text).strip("._-")


def _names(repositories: Iterable[Repository]) -> dict[str, Repository]:
    """Each name with the one repository that has the best claim to it: its full name, docker.io's path, any path."""
    claims: dict[str, list[tuple[int, Repository]]] = {}
    for repository in repositories:
        registry, _, path = repository.name.partition("/")
        claims.setdefault(full_name(repository), []).append((0, repository))
        if registry == DEFAULT_REGISTRY:
            for name in {path, repository.familiar_name}:
                claims.setdefault(name, []).append((1, repository))
        else:
            claims.setdefault(path, []).append((2, repository))
    offered: dict[str, Repository] = {}
    for name, claimants in claims.items():
        best = min(rank for rank, _ in claimants)
        holders = [repository for rank, repository in claimants if rank == best]
        if len(holders) == 1:
            offered[name] = holders[0]
    return offered
