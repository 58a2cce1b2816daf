"""The images that a fleet is to get: each name resolved once, for all kinds of devices that want it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace

from polyarch.contract.others import TagConvention
from polyarch.contract.registry import Registry
from polyarch.errors import (
    IntegrityError,
    NotFoundError,
    NoVariantError,
    PolyarchError,
    UnauthorizedError,
    UnreachableError,
    UsageError,
)
from polyarch.fleet.offers import Content, Offer, content_of
from polyarch.fleet.planned import ImagePlan
from polyarch.fleet.reasons import ReasonCode
from polyarch.lock.locked import LockedImage
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Document, Manifest
from polyarch.reference import Reference, parse_reference
from polyarch.resolution.resolve import gather_for
from polyarch.selection.types import Candidate, EmulationPolicy, Target
from polyarch.transfer.staged import KeepsBlobs
from polyarch.transfer.threads import at_once
from polyarch.verbs.fleet.documents import FleetDocuments
from polyarch.verbs.locked_pull import check_root, locked_candidates
from polyarch.verbs.stored import find_whole
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

Fault = tuple[ReasonCode, str]
"""A reason code and words."""

REASON_OF: Mapping[type[PolyarchError], ReasonCode] = {
    NotFoundError: "not-found",
    NoVariantError: "no-variant",
    UnauthorizedError: "unauthorized",
    UnreachableError: "unreachable",
    IntegrityError: "integrity",
}
"""What is a matter of one image, so that the others go on. All other errors are this machine's, or the caller's."""

OF_AN_IMAGE = tuple(REASON_OF)

_AT_ONCE = 8
"""Names, or variants, that registries are asked for at a time."""


@dataclass(frozen=True, slots=True)
class ImageParts:
    """What images are resolved with.

    `registry` gives that of a name, and is called by the thread that calls; what it gives is used by several.
    """

    registry: Callable[[Reference], Registry]
    storage: KeepsBlobs
    conventions: Sequence[TagConvention]
    retries: int


@dataclass(slots=True)
class Found:
    """A name, and what is known of it; `roots` has what the name of each variant points at, by the manifest's digest.

    `targets` are the kinds of devices that it was resolved for.
    """

    reference: Reference
    documents: FleetDocuments
    targets: tuple[Target, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    roots: dict[Digest, Document] = field(default_factory=dict)
    fault: Fault | None = None
    resolved: bool = False

    def take(self, found: Iterable[tuple[Candidate, Document]]) -> None:
        """Candidates with what their names point at; of a manifest that was found twice, the first counts."""
        for candidate, root in found:
            self.roots.setdefault(candidate.manifest.digest, root)
            if candidate not in self.candidates:
                self.candidates += (candidate,)

    def fail(self, error: PolyarchError) -> None:
        """It could not be looked up, or not for further kinds of devices: then what was found before is good."""
        if not self.candidates:
            self.fault = fault_of(error)


def fault_of(error: PolyarchError) -> Fault:
    """Reason code and words for one of `OF_AN_IMAGE`."""
    return next(code for kind, code in REASON_OF.items() if isinstance(error, kind)), error.message


class FleetOffers:
    """What there is of each image; grows as more names, and more kinds of devices, come up. Used by one thread.

    A name that stood for something stands for it to the end. Every method may raise StorageError and HostError.
    """

    def __init__(
        self,
        parts: ImageParts,
        policy: EmulationPolicy,
        locked: Mapping[str, LockedImage] | None = None,
        stood: Mapping[str, Digest] | None = None,
    ) -> None:
        """`locked` are whole names and what each was locked to: then those manifests alone are candidates. `stood` are
        names, and what `stands` said of them earlier: that holds, wherever they moved.
        """
        self._parts, self._policy, self._locked, self._stood = parts, policy, locked or {}, stood or {}
        self._names: dict[str, Found] = {}
        self._pinned: dict[tuple[str, Digest], Found] = {}
        self._blobs: dict[Digest, tuple[Descriptor, ...]] = {}
        self._had: dict[Digest, bool] = {}
        self._faults: dict[Digest, Fault] = {}
        self._platforms: dict[Digest, Platform] = {}
        self._page_sizes: dict[Digest, int] = {}

    def resolve(self, wanted: Mapping[str, Sequence[Target]]) -> None:
        """Look these names up, whole ones as wishes have them, for these kinds of devices.

        What is wrong with one stands in its offer. Raises IntegrityError for one that moved since it was locked;
        UsageError for one that is in no registry.
        """
        due: list[Found] = []
        for name, targets in wanted.items():
            found = self._names.get(name)
            if found is None:
                found = self._names[name] = self._unresolved(parse_reference(name))
            more = tuple(dict.fromkeys((*found.targets, *targets)))
            if not found.resolved or more != found.targets:
                found.targets, found.resolved = more, True
                due.append(found)
        at_once(self._resolve, due, _AT_ONCE)

    def pin(self, lines: Iterable[ImagePlan]) -> None:
        """Look exactly the manifests up that lines of a plan name; `pinned` has their offers."""
        due: list[tuple[Found, ImagePlan]] = []
        for line in lines:
            if line.manifest is not None and (line.reference, line.manifest) not in self._pinned:
                found = self._unresolved(parse_reference(f"{line.repository}@{line.manifest}"))
                self._pinned[line.reference, line.manifest] = found
                due.append((found, line))
        at_once(lambda pair: self._pin(*pair), due, _AT_ONCE)

    @property
    def offers(self) -> dict[str, Offer]:
        """The offer of each name that was looked up, with all that is known of its variants by now."""
        return {name: self._offer(found, found.reference) for name, found in self._names.items()}

    def pinned(self, line: ImagePlan) -> Offer:
        """The offer of a line of a plan: its manifest and no other, or why it had none. `pin` has seen it."""
        reference = parse_reference(line.reference)
        if line.manifest is None:
            return Offer(reference, fault=(line.reason_code or "internal", line.reason or "the plan names no manifest"))
        offer = self._offer(self._pinned[line.reference, line.manifest], reference)
        return replace(offer, roots={line.manifest: line.digest or line.manifest})

    def contents(self, candidates: Iterable[Candidate]) -> dict[Digest, Content]:
        """The content of each variant, by its manifest's digest.

        One that cannot be had is left out, and from now on the offers tell why: `needed` has it no more.
        """
        wanted = {one.manifest.digest: one for one in candidates if one.manifest.digest not in self._faults}
        homes = {digest: found for found in self._all() for digest in found.roots}
        read = at_once(lambda one: self._content(homes[one.manifest.digest], one), wanted.values(), _AT_ONCE)
        return {content.manifest: content for content in read if content is not None}

    def held(self, contents: Iterable[Digest]) -> frozenset[Digest]:
        """Of the configs and layers of variants whose content was read, those that the storage had before all this."""
        blobs = {blob.digest: blob for manifest in contents for blob in self._blobs[manifest]}
        fetched = {digest for found in self._all() for digest in found.documents.fetched}
        for digest, blob in blobs.items():
            if digest not in self._had:
                self._had[digest] = digest not in fetched and self._parts.storage.has_blob(blob)
        return frozenset(digest for digest in blobs if self._had[digest])

    def variant(self, line: ImagePlan) -> tuple[Found, Candidate]:
        """Where the variant of a planned line comes from. KeyError where no offer has it."""
        found = self._pinned.get((line.reference, line.manifest or "")) or self._names[line.reference]
        for candidate in found.candidates:
            if candidate.manifest.digest == line.manifest:
                return found, candidate
        raise KeyError(line.manifest)

    @property
    def stands(self) -> dict[str, Digest]:
        """What each name that was looked up stands for, names by convention too."""
        return {name: digest for found in self._names.values() for name, digest in found.documents.stands.items()}

    @property
    def fetched(self) -> int:
        """Bytes of configs that came from registries for all this."""
        return sum(sum(found.documents.fetched.values()) for found in self._all())

    # What turns out when a variant is brought.

    def refute(self, manifest: Digest, error: PolyarchError) -> None:
        """A variant cannot be had, or is not what it says; the error is one of `OF_AN_IMAGE`."""
        self._faults[manifest] = fault_of(error)

    def prove(self, manifest: Digest, platform: Platform) -> None:
        """What the programs of a variant are for."""
        self._platforms[manifest] = platform

    def align(self, manifest: Digest, page_size: int) -> None:
        """The largest pages, in bytes, with which the programs of a variant can be loaded."""
        self._page_sizes[manifest] = page_size

    def _all(self) -> tuple[Found, ...]:
        return (*self._names.values(), *self._pinned.values())

    def _unresolved(self, reference: Reference) -> Found:
        if reference.scheme:
            raise UsageError(f"{reference} is no name in a registry", "devices know images by names in registries")
        registry = self._parts.registry(reference)
        return Found(reference, FleetDocuments(registry, self._parts.storage, self._parts.retries, self._stood))

    def _resolve(self, found: Found) -> None:
        documents, reference = found.documents, found.reference
        locked = self._locked.get(str(reference))
        known = bool(find_whole(self._parts.storage, reference))
        found.fault = None
        try:
            if locked is None:
                each = gather_for(
                    documents, reference, found.targets, self._policy, self._parts.conventions, known=known
                )
                found.take((one.candidate, one.root) for one in each)
                return
            root = documents.root(reference, known=known)
        except OF_AN_IMAGE as error:
            found.fail(error)
            return
        check_root(locked, root)  # nothing goes on where a name moved
        try:
            found.take(locked_candidates(documents, locked, root))
        except OF_AN_IMAGE as error:
            found.fail(error)

    def _pin(self, found: Found, line: ImagePlan) -> None:
        try:
            root = found.documents.root(found.reference)
            if not isinstance(root, Manifest):
                raise IntegrityError(f"{found.reference} is no manifest")
        except OF_AN_IMAGE as error:
            code, words = fault_of(error)
            found.fault = code, f"the plan no longer fits the registry: {words}"
            return
        # As it is stated: an arm without a variant stays one.
        system, architecture, variant = (*(line.platform or "").split("/"), "", "", "")[:3]
        found.take(
            [(Candidate(Platform(system, architecture, variant), root.descriptor, found.reference, "manifest"), root)]
        )

    def _offer(self, found: Found, reference: Reference) -> Offer:
        if found.fault is not None:
            return Offer(reference, fault=found.fault)
        own = [one.manifest.digest for one in found.candidates]
        return Offer(
            reference,
            tuple(
                replace(one, platform=self._platforms.get(one.manifest.digest, one.platform))
                for one in found.candidates
            ),
            {digest: root.digest for digest, root in found.roots.items()},
            {digest: self._faults[digest] for digest in own if digest in self._faults},
            {digest: self._page_sizes[digest] for digest in own if digest in self._page_sizes},
        )

    def _content(self, found: Found, candidate: Candidate) -> Content | None:
        try:
            manifest = found.documents.manifest(candidate.reference, candidate.manifest)
            content = content_of(manifest, found.documents.config(candidate.reference, manifest))
        except OF_AN_IMAGE as error:
            self.refute(candidate.manifest.digest, error)
            return None
        self._blobs[content.manifest] = manifest.blobs
        return content
