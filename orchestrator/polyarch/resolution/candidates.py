"""Which variants there are of a name: entries of its index, the single manifest, or names by convention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from polyarch.contract.others import TagConvention
from polyarch.contract.registry import ListsTags
from polyarch.errors import IntegrityError, NotFoundError, PolyarchError, UnauthorizedError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.document import Document, Index, Manifest, is_attestation
from polyarch.oci.media_types import CONFIGS, INDEXES, MANIFESTS
from polyarch.reference import Reference
from polyarch.resolution.documents import Documents
from polyarch.selection.types import Candidate, Source
from polyarch_platforms.platform import Platform

MAX_NESTING = 4
"""How deep indexes may stand within indexes."""

MAX_TAGS = 20_000
"""How many tags of a repository are looked through for a convention."""

MAX_PROBES = 24
"""How many names of other repositories are asked for at most."""


@dataclass(frozen=True, slots=True)
class Found:
    """A candidate, and the document that its name pointed at."""

    candidate: Candidate
    root: Document


def candidates_of(
    documents: Documents, reference: Reference, document: Document, source: Source | None = None
) -> Iterator[Candidate]:
    """The variants that `document`, read under `reference`, holds. Attestations and other artifacts are none.

    Entries without a platform get their config's. `source` overrides how they are said to be found.
    Raises IntegrityError: nested deeper than MAX_NESTING.
    """
    if isinstance(document, Manifest):
        if document.config.media_type in CONFIGS:
            yield _single(documents, reference, document, source or "manifest")
        return
    for entry in _entries(documents, reference, document):
        if entry.platform is not None:
            yield Candidate(entry.platform, entry, reference, source or "index")
        else:
            manifest = documents.manifest(reference, entry)
            if manifest.config.media_type in CONFIGS:
                yield _single(documents, reference, manifest, source or "index")


def _entries(documents: Documents, reference: Reference, index: Index) -> Iterator[Descriptor]:
    """The manifests of an index and of the indexes in it, each digest once."""
    seen: set[str] = {index.digest}

    def walk(current: Index, depth: int) -> Iterator[Descriptor]:
        for entry in current.manifests:
            if entry.digest in seen or is_attestation(entry) or entry.artifact_type:
                continue
            seen.add(entry.digest)
            if entry.media_type in MANIFESTS:
                yield entry
            elif entry.media_type in INDEXES:
                if depth == MAX_NESTING:
                    raise IntegrityError(f"{reference.familiar}: indexes nest deeper than {MAX_NESTING} levels")
                nested = documents.by_descriptor(reference, entry)
                if isinstance(nested, Index):
                    yield from walk(nested, depth + 1)

    return walk(index, 1)


def _single(documents: Documents, reference: Reference, manifest: Manifest, source: Source) -> Candidate:
    platform = documents.config(reference, manifest).platform
    return Candidate(platform if platform.architecture else None, manifest.descriptor, reference, source, manifest.size)


def probe_conventions(
    documents: Documents, reference: Reference, conventions: Iterable[TagConvention], platforms: Sequence[Platform]
) -> Iterator[Found]:
    """The variants for `platforms`, best first, that stand under names by convention.

    Names in the same repository cost one request (its tag list); of others at most MAX_PROBES are asked for.
    """
    proposals = [
        proposal.reference
        for platform in platforms
        for convention in conventions
        for proposal in convention.propose(reference, platform)
    ]
    names = [name for name in dict.fromkeys(proposals) if name != reference]
    tags = _tags(documents, reference) if any(name.name == reference.name for name in names) else None
    asked = 0
    for name in names:
        if name.name == reference.name and tags is not None:
            if name.tag not in tags:
                continue
        else:
            asked += 1
            if asked > MAX_PROBES:
                continue
        try:
            root = documents.root(name, known=True)
        except (
            NotFoundError,
            UnauthorizedError,
        ):  # a registry hides what does not exist behind 401, as Docker Hub does
            continue
        for candidate in candidates_of(documents, name, root, "tag"):
            yield Found(candidate, root)


def _tags(documents: Documents, reference: Reference) -> frozenset[str] | None:
    """The repository's tags; None where the registry cannot tell."""
    if not isinstance(documents.registry, ListsTags):
        return None
    try:
        return frozenset(islice(documents.registry.tags(reference), MAX_TAGS))
    except NotFoundError:
        return frozenset()
    except PolyarchError:
        return None
