"""From the facts of devices to a plan whose images are all here, whole and proven, before any device is touched."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from polyarch.contract.others import ChosenVariant, Verifier
from polyarch.contract.storage import HasBlobFiles, Image
from polyarch.events import Emit, PullStarted
from polyarch.fleet.facts import DeviceFacts
from polyarch.fleet.offers import Content
from polyarch.fleet.plan import Asked, make_plan, needed, summary_of, targets
from polyarch.fleet.planned import DevicePlan, ImagePlan, Plan, PlanSettings, Wish
from polyarch.fleet.reasons import FactsFault
from polyarch.oci.digest import Digest
from polyarch.reference import Reference, parse_reference
from polyarch.selection.types import Candidate, Verdict
from polyarch.transfer.staged import KeepsBlobs
from polyarch.unpack.limits import USUAL, Limits
from polyarch.verbs.fleet.offers import OF_AN_IMAGE, FleetOffers, Found
from polyarch.verbs.proof import entrypoint_of
from polyarch.verbs.pull import PullContext, pull_variant
from polyarch.verbs.rules import check_name, check_variant
from polyarch_platforms import architecture
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, normalise, parse

_USUAL_PAGE = 4096
"""Bytes. Programs are aligned to as much at least, whatever they say."""


@dataclass(frozen=True, slots=True)
class Contents:
    """A plan, and the contents that it was made with."""

    plan: Plan
    contents: Mapping[Digest, Content]


def plan_by_offers(asked: Collection[Asked], offers: FleetOffers, settings: PlanSettings) -> Contents:
    """What each device would get. The `held` of `settings` becomes what the storage had before.

    Raises what `FleetOffers.resolve` raises.
    """
    offers.resolve(targets(asked, settings))
    contents = offers.contents(needed(asked, offers.offers, settings))
    settings = replace(settings, held=offers.held(contents))
    return Contents(make_plan(asked, offers.offers, contents, settings), contents)


def plan_by_plan(
    plan: Plan, facts: Mapping[str, DeviceFacts | FactsFault], offers: FleetOffers, settings: PlanSettings
) -> Contents:
    """What a plan that was made earlier comes to now: exactly its manifests, for its devices with an entry in `facts`.

    Devices that it had nothing for stay as they were. What no longer fits, its registry or a device that is another
    now, becomes `cannot`. Raises StorageError, HostError, UsageError.
    """
    devices = [one for one in plan.devices if one.device in facts]
    lines = dict.fromkeys(line for device in devices for line in device.images)
    offers.pin(lines)
    contents = offers.contents(candidate for line in lines for candidate in offers.pinned(line).candidates)
    settings = replace(settings, held=offers.held(contents))
    alike: dict[tuple[ImagePlan, ...], list[Asked]] = {}
    for device in devices:
        if device.images:
            alike.setdefault(device.images, []).append((_wish(device), facts[device.device]))
    fitted = {device.device: device for device in plan.devices}
    for images, asked in alike.items():
        own = {line.reference: offers.pinned(line) for line in images}
        fitted.update((one.device, one) for one in make_plan(asked, own, contents, settings).devices)
    now = tuple(fitted[device.device] for device in devices)
    return Contents(Plan(now, summary_of(now, contents, settings.held)), contents)


def _wish(device: DevicePlan) -> Wish:
    """What a device in a plan was asked for."""
    override = parse(device.override) if device.override else None
    return Wish(device.device, tuple(line.reference for line in device.images), device.engine, override)


class FleetImages:
    """Brings what plans name into this machine's storage, each variant once, and proves it.

    images  what is here, by the manifest's digest; it grows, so that who was given it sees what is brought later
    """

    def __init__(
        self,
        offers: FleetOffers,
        storage: KeepsBlobs,
        storage_name: str,
        verifiers: Sequence[Verifier],
        *,
        max_connections: int,
        retries: int,
        emit: Emit,
        limits: Limits = USUAL,
    ) -> None:
        self._limits = limits
        self.images: dict[Digest, Image] = {}
        self._offers, self._storage, self._storage_name = offers, storage, storage_name
        self._verifiers, self._max_connections, self._retries, self._emit = verifiers, max_connections, retries, emit
        self._brought: set[tuple[str, Digest]] = set()
        self._checked: set[tuple[str, Digest]] = set()
        self._aligned: set[Digest] = set()
        self._downloaded = 0

    @property
    def blobs(self) -> HasBlobFiles:
        """Where the blobs of `images` are."""
        return self._storage

    @property
    def origin_bytes(self) -> int:
        """Bytes of configs and layers that have come from registries so far, those that were read for plans too."""
        return self._downloaded + self._offers.fetched

    def bring(
        self, plan: Callable[[], Contents], facts: Mapping[str, DeviceFacts | FactsFault], *, direct: bool = False
    ) -> Contents:
        """Make the plan, bring what its devices lack, and make it again where that brought something to light.

        Of a variant that is not what it promises, or cannot be had, the devices that were to get it are told; of one
        that states no variant of its own, its programs decide who can have it. With `direct` devices pull from the
        registry themselves: then only what has to be proven is brought, and of all else the documents are read; so they
        are of what devices have.
        Raises what `plan` raises, StorageError and HostError.
        """
        while True:
            made = plan()
            if not self._bring(made.plan, facts, direct):
                return made

    def _bring(self, plan: Plan, facts: Mapping[str, DeviceFacts | FactsFault], direct: bool) -> bool:
        """True where something came to light that the plan did not know."""
        news = False
        for line in _missing(plan):
            found, candidate = self._offers.variant(line)
            if direct and not line.unproven:
                news |= self._read_checked(line, found, candidate)
            elif (line.reference, candidate.manifest.digest) not in self._brought:
                news |= self._pull(line, found, candidate)
        for line in _present(plan):
            self._read(*self._offers.variant(line))
        here = {digest for _, digest in self._brought}
        for digest in (_on_large_pages(plan, facts) & here) - self._aligned:
            self._aligned.add(digest)
            news |= self._align(self.images[digest])
        return news

    def _read(self, found: Found, candidate: Candidate) -> None:
        """The documents alone; the plan that was made with them has read them already."""
        digest = candidate.manifest.digest
        if digest not in self.images:
            manifest = found.documents.manifest(candidate.reference, candidate.manifest)
            config = found.documents.config(candidate.reference, manifest)
            platform = candidate.platform or config.platform
            self.images[digest] = Image(candidate.reference, found.roots[digest], manifest, config, platform)

    def _read_checked(self, line: ImagePlan, found: Found, candidate: Candidate) -> bool:
        """The documents alone of what devices pull themselves, held against the rules here, once."""
        if (line.reference, candidate.manifest.digest) in self._checked:
            return False
        try:
            self._check(line, found, candidate)
        except OF_AN_IMAGE as error:
            self._offers.refute(candidate.manifest.digest, error)
            return True
        self._checked.add((line.reference, candidate.manifest.digest))
        self._read(found, candidate)
        return False

    def _check(self, line: ImagePlan, found: Found, candidate: Candidate) -> None:
        """Raises what a verifier raises that refuses the variant under the name that is wanted."""
        if not self._verifiers:
            return
        reference, root = parse_reference(line.reference), found.roots[candidate.manifest.digest]
        check_name(self._verifiers, reference, root)
        manifest = found.documents.manifest(candidate.reference, candidate.manifest)
        variant = ChosenVariant(reference, candidate.reference, root, manifest, found.documents.registry)
        check_variant(self._verifiers, variant)

    def _pull(self, line: ImagePlan, found: Found, candidate: Candidate) -> bool:
        """Bring one variant under its name, and prove it."""
        digest, roots = candidate.manifest.digest, found.roots
        name = self._name(found, candidate)
        self._emit(PullStarted(str(name), tag_defaulted=False))
        try:
            self._check(line, found, candidate)
            # For no target: what the programs are is told, and which devices can run them is the plan's.
            verdict = Verdict(candidate, line.match)
            result = pull_variant(self._context(found), name, verdict, roots, len(found.candidates))
        except OF_AN_IMAGE as error:
            self._offers.refute(digest, error)
            return True
        self._downloaded += result.downloaded_bytes
        self._brought.add((line.reference, digest))
        self.images[digest] = image = next(
            one for one in self._storage.find(result.name) if one.manifest.digest == digest
        )
        if candidate.platform is None or (
            not line.unproven and normalise(image.platform) == normalise(candidate.platform)
        ):
            return False
        self._offers.prove(digest, _certain(image.platform))
        return True

    def _name(self, found: Found, candidate: Candidate) -> Reference:
        """What a variant is kept under: its name, and where it was found by a convention, the name that it has there.

        Under one name only variants stay that are of one index.
        """
        return candidate.reference if candidate.source == "tag" else found.reference

    def _context(self, found: Found) -> PullContext:
        return PullContext(
            documents=found.documents,
            storage=self._storage,
            storage_name=self._storage_name,
            verifiers=(),  # asked already, under the name that is wanted
            max_connections=self._max_connections,
            retries=self._retries,
            emit=self._emit,
            limits=self._limits,
        )

    def _align(self, image: Image) -> bool:
        """Look at how the programs of an image are aligned; True where pages can be too large for them."""
        try:
            found = entrypoint_of(self._storage, image.manifest, image.config, self._limits)
        except OF_AN_IMAGE as error:
            self._offers.refute(image.manifest.digest, error)
            return True
        if found is None or not found.elf.max_p_align:
            return False
        self._offers.align(image.manifest.digest, max(found.elf.max_p_align, _USUAL_PAGE))
        return True


def _missing(plan: Plan) -> Iterator[ImagePlan]:
    """A line for each variant, under each of its names, that some device lacks and shall get.

    Where it is unproven for one kind of devices, that one's line.
    """
    lines: dict[tuple[str, Digest], ImagePlan] = {}
    for device in plan.devices:
        if device.verdict == "will-pull":
            for line in device.images:
                if line.manifest is None or not line.comes:
                    continue
                key = line.reference, line.manifest
                if line.unproven or key not in lines:
                    lines[key] = line
    yield from lines.values()


def _present(plan: Plan) -> list[ImagePlan]:
    """A line for each variant that some device has: it is compared there, if the device gets its turn."""
    lines = (line for device in plan.devices for line in device.images if line.present)
    return list({line.manifest: line for line in lines if line.manifest}.values())


def _on_large_pages(plan: Plan, facts: Mapping[str, DeviceFacts | FactsFault]) -> set[Digest]:
    """The manifests that devices whose kernel has unusually large pages shall get, to run natively."""
    found: set[Digest] = set()
    for device in plan.devices:
        known = facts.get(device.device)
        if isinstance(known, DeviceFacts) and (known.device.page_size or 0) > _USUAL_PAGE:
            found.update(line.manifest for line in device.images if line.manifest and line.match != "emulated")
    return found


def _certain(platform: Platform) -> Platform:
    """A platform that states a variant: where no program proved one, the one that everybody takes it for."""
    known = architecture.get(platform.architecture)
    if platform.variant or known is None:
        return normalise(platform)
    return normalise(replace(platform, variant=known.unlabelled_variant))
