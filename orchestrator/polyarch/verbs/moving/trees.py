"""All that a name at a registry leads to: manifests, indexes within indexes, and what refers to any of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from polyarch.contract.registry import ListsReferrers, Registry
from polyarch.errors import IntegrityError, NotFoundError, NoVariantError, UsageError
from polyarch.events import Emit, Warned
from polyarch.limits import MAX_NESTING
from polyarch.oci.digest import Digest
from polyarch.oci.document import Document, Index, is_attestation
from polyarch.oci.joined import narrowed
from polyarch.oci.media_types import CONFIGS
from polyarch.reference import Reference
from polyarch.registry.referrers import referrers_tag
from polyarch.resolution.documents import Documents
from polyarch.transfer.threads import at_once
from polyarch.verbs.moving.moved import MovedManifest
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

COSIGN_ENDINGS = ("sig", "att", "sbom")
"""What cosign's tags end with: `sha256-….sig` (sigstore/cosign, specs/SIGNATURE_SPEC.md)."""

_MAX_TAGS = 1000
"""Tags of a repository that are listed to find cosign's; where there are more, each is asked for."""

_MAX_REFERRERS = 1000
"""Referrers of one image that are followed, those of referrers too."""


@dataclass(frozen=True, slots=True)
class Referring:
    """Something that refers to an image: under `tag`, or by its digest where that is "" """

    tag: str
    document: Document


def tree_of(documents: Documents, reference: Reference, root: Document, depth: int = 1) -> list[Document]:
    """The documents that a root names, each once, and the root; what others name comes before them.

    Raises IntegrityError where indexes nest too deep, and what reading raises.
    """
    found: dict[Digest, Document] = {}
    for entry in root.manifests if isinstance(root, Index) else ():
        if depth > MAX_NESTING:
            raise IntegrityError(f"{reference.familiar}: indexes nest deeper than {MAX_NESTING} levels")
        if entry.digest not in found:
            below = documents.by_descriptor(reference, entry)
            found.update((each.digest, each) for each in tree_of(documents, reference, below, depth + 1))
    found[root.digest] = root
    return list(found.values())


def read_ahead(documents: Documents, reference: Reference, root: Document, most: int) -> None:
    """Read the manifests of an index, several at once. Raises what reading raises."""
    if isinstance(root, Index):
        at_once(lambda entry: documents.by_descriptor(reference, entry), root.manifests, most)


def moved_manifests(documents: Documents, reference: Reference, root: Document) -> tuple[MovedManifest, ...]:
    """The images among what a root names, with their platforms."""
    if not isinstance(root, Index):
        if root.config.media_type not in CONFIGS:
            return ()
        return (MovedManifest(root.digest, str(documents.config(reference, root).platform), root.size),)
    found: list[MovedManifest] = []
    for entry in root.manifests:
        document = documents.by_descriptor(reference, entry)
        if is_attestation(entry) or entry.artifact_type:
            continue
        if isinstance(document, Index):
            found += moved_manifests(documents, reference, document)
        elif document.config.media_type in CONFIGS:
            platform = entry.platform or documents.config(reference, document).platform
            found.append(MovedManifest(document.digest, str(platform), document.size))
    return tuple(found)


def some_of(documents: Documents, reference: Reference, root: Document, platforms: Collection[Platform]) -> Document:
    """The root with its entries for these platforms, and what attests them. Raises NoVariantError, UsageError."""
    if not isinstance(root, Index):
        there = documents.config(reference, root).platform
        if set(platforms) != {there}:
            raise NoVariantError(f"{reference.familiar} is one manifest, for {there}")
        return root
    known = {
        entry.digest: entry.platform or documents.config(reference, documents.manifest(reference, entry)).platform
        for entry in root.manifests
        if not is_attestation(entry) and not entry.artifact_type
    }
    wanted = {digest for digest, platform in known.items() if platform in platforms}
    if missing := [platform for platform in platforms if platform not in known.values()]:
        there_are = ", ".join(str(platform) for platform in known.values())
        raise NoVariantError(f"{reference.familiar} has no variant for {missing[0]} (there are: {there_are})")
    return narrowed(root, wanted)


def referring(
    registry: Registry, documents: Documents, reference: Reference, digests: Iterable[Digest], most: int, emit: Emit
) -> list[Referring]:
    """What refers to any of these digests, or to what does: by its subject, or under one of cosign's tags.

    What others name comes before them. What is listed and is not there is told, and passed over. Raises what reading
    raises, UsageError for more than anybody needs.
    """
    found: dict[tuple[str, Digest], Referring] = {}
    seen = set(digests)
    waiting = list(seen)
    while waiting:
        following: list[Digest] = []
        for listed in at_once(lambda digest: list(_listed(registry, reference, digest)), waiting, most):
            for digest in listed:
                if digest in seen:
                    continue
                seen.add(digest)
                try:
                    document = documents.root(reference.with_digest(digest))
                except NotFoundError as error:
                    emit(Warned(f"{error.message}, though it is listed among what refers to the image"))
                    continue
                following.append(digest)
                for each in tree_of(documents, reference, document):
                    found.setdefault(("", each.digest), Referring("", each))
        for tag in _cosign_tags(registry, documents, reference, waiting, most):
            document = documents.root(reference.with_tag(tag))
            for each in tree_of(documents, reference, document)[:-1]:
                found.setdefault(("", each.digest), Referring("", each))
            found[tag, document.digest] = Referring(tag, document)
        if len(found) > _MAX_REFERRERS:
            raise UsageError(f"{reference.familiar}: more than {_MAX_REFERRERS} documents refer to it")
        waiting = following
    return list(found.values())


def _listed(registry: Registry, reference: Reference, digest: Digest) -> Iterator[Digest]:
    if isinstance(registry, ListsReferrers):
        try:
            yield from (entry.digest for entry in registry.referrers(reference.with_digest(digest)))
        except NotFoundError:
            return


def _cosign_tags(
    registry: Registry, documents: Documents, reference: Reference, digests: Collection[Digest], most: int
) -> list[str]:
    if not isinstance(registry, ListsReferrers):
        return []
    wanted = [f"{referrers_tag(digest)}.{ending}" for digest in digests for ending in COSIGN_ENDINGS]
    tags, all_of_them = documents.tags(reference, _MAX_TAGS)
    if all_of_them:
        return [tag for tag in wanted if tag in tags]

    def there(tag: str) -> bool:
        try:
            registry.head(reference.with_tag(tag))
        except NotFoundError:
            return False
        return True

    return [tag for tag, found in zip(wanted, at_once(there, wanted, most), strict=True) if found]
