"""One reference and one target give a choice with all its reasons."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract.others import TagConvention
from polyarch.errors import NotFoundError
from polyarch.oci.document import Document, Manifest
from polyarch.reference import Reference
from polyarch.resolution.candidates import Found, candidates_of, probe_conventions
from polyarch.resolution.documents import Documents
from polyarch.selection.errors import no_choice
from polyarch.selection.select import select
from polyarch.selection.types import EmulationPolicy, Selection, Target, Verdict
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a reference means for a target. `root_of` has, for each candidate's digest, what its name points at.

    `served_by` is the host that it was asked of; None where that was nobody, or a source that has no hosts.
    """

    reference: Reference
    selection: Selection
    chosen: Verdict
    manifest: Manifest
    root_of: dict[str, Document]
    served_by: str | None = None

    @property
    def root(self) -> Document:
        """What the name of the chosen variant points at."""
        return self.root_of[self.chosen.candidate.manifest.digest]


def resolve(
    documents: Documents,
    reference: Reference,
    target: Target,
    policy: EmulationPolicy,
    conventions: Iterable[TagConvention],
    *,
    known: bool = False,
) -> Resolution:
    """The variant of `reference` for `target`.

    Names by convention are looked for where the tag does not exist, or holds a single manifest that is not native.
    Raises NotFoundError, NoVariantError, HostError and what reading raises.
    """
    found = gather(documents, reference, target, policy, conventions, known=known)
    selection = select([each.candidate for each in found], target, policy)
    if selection.chosen is None:
        raise no_choice(reference, selection)
    candidate = selection.chosen.candidate
    manifest = documents.manifest(candidate.reference, candidate.manifest)
    roots = {each.candidate.manifest.digest: each.root for each in found}
    served_by = documents.served_by(manifest, roots[manifest.digest])
    return Resolution(reference, selection, selection.chosen, manifest, roots, served_by)


def gather(
    documents: Documents,
    reference: Reference,
    target: Target,
    policy: EmulationPolicy,
    conventions: Iterable[TagConvention],
    *,
    known: bool = False,
) -> list[Found]:
    """The candidates of `reference`. Raises NotFoundError if neither the name nor one by convention exists."""
    return gather_for(documents, reference, [target], policy, conventions, known=known)


def gather_for(
    documents: Documents,
    reference: Reference,
    targets: Iterable[Target],
    policy: EmulationPolicy,
    conventions: Iterable[TagConvention],
    *,
    known: bool = False,
) -> list[Found]:
    """As `gather`, for targets of several kinds: the name is read once, those by convention for each kind."""
    missing: NotFoundError | None = None
    found: list[Found] = []
    try:
        root = documents.root(reference, known=known)
        found = [Found(candidate, root) for candidate in candidates_of(documents, reference, root)]
        if not isinstance(root, Manifest) or reference.digest:
            return found
    except NotFoundError as error:
        if reference.digest:
            raise
        missing = error
    conventions, own = list(conventions), tuple(found)
    for target in targets:
        if _native(own, target):
            continue
        platforms = list(target.native)
        if policy == "auto":
            platforms += [emulation.platform for emulation in target.emulated]
        found += probe_conventions(documents, reference, conventions, platforms)
    if missing and not found:
        raise missing
    return found


def _native(found: Iterable[Found], target: Target) -> bool:
    chosen = select([each.candidate for each in found], target, "never").chosen
    return chosen is not None
