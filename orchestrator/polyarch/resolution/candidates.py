"""Which variants there are of a name: entries of its index, the single manifest, or names by convention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from polyarch.contract.others import TagConvention
from polyarch.errors import IntegrityError, NotFoundError, UnauthorizedError
from polyarch.limits import MAX_INDEX_ENTRIES, MAX_NESTING
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.document import Document, Index, Manifest, is_attestation
from polyarch.oci.media_types import CONFIGS, INDEXES, MANIFESTS
from polyarch.reference import Reference
from polyarch.resolution.conventions import leads
from polyarch.resolution.documents import Documents
from polyarch.selection.types import Candidate, Source
from polyarch_platforms.compatibility import rank
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

MAX_TAGS = 20_000
"""How many tags of a repository are looked through for a convention."""

MAX_FOUND = 48
"""How many tags of the repository that may be for the device are opened at most."""

MAX_PROBES = 24
"""How many names that are in no list of tags are asked for at most."""


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
    Raises IntegrityError: nested deeper than MAX_NESTING, or of more than MAX_INDEX_ENTRIES in all.
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
            if len(seen) > MAX_INDEX_ENTRIES + 1:
                raise IntegrityError(f"{reference.familiar}: its indexes have more than {MAX_INDEX_ENTRIES} entries")
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

    Names in the same repository cost one request (its tag list), and at most MAX_FOUND of them are opened. Others, and
    all where the registry cannot list tags or has more than MAX_TAGS, are asked for one by one: MAX_PROBES of them,
    and none for a platform that is no better than what was found already; the same holds for guesses everywhere. What
    a name holds is what its config says, not the convention.
    """
    conventions = list(conventions)
    tags, whole = documents.tags(reference, MAX_TAGS) if conventions else (frozenset[str](), True)
    wanted = leads(reference, conventions, platforms, tags)
    listed, unlisted = [], []
    for lead in wanted:
        own = lead.reference.name == reference.name
        if own and lead.reference.tag in tags:
            listed.append(lead)
        elif not (own and whole):
            unlisted.append(lead)
    best = len(platforms)
    for names, most in ((listed, MAX_FOUND), (unlisted, MAX_PROBES)):
        opened = 0
        for lead in names:
            if lead.place >= best and (lead.weight.guess or names is unlisted):
                continue
            if opened == most:
                break
            opened += 1
            for found in _opened(documents, lead.reference):
                best = min(best, _place(found.candidate, platforms))
                yield found


def _opened(documents: Documents, name: Reference) -> Iterator[Found]:
    """What a name holds; nothing where it does not exist."""
    try:
        root = documents.root(name, known=True)
    except (NotFoundError, UnauthorizedError):  # a registry hides what does not exist behind 401, as Docker Hub does
        return
    for candidate in candidates_of(documents, name, root, "tag"):
        yield Found(candidate, root)


def _place(candidate: Candidate, platforms: Sequence[Platform]) -> int:
    """Where the candidate's platform stands among `platforms`; behind them all if it is none of them."""
    held = rank(platforms, candidate.platform) if candidate.platform else None
    return held.position // 2 if held and held.proven else len(platforms)
