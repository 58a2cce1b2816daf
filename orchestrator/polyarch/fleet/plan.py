"""What each device of a fleet would get: a pure function of facts, images and settings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from polyarch.errors import printable
from polyarch.fleet.at_hand import AtHand
from polyarch.fleet.device_pull import cannot_name, fit_in
from polyarch.fleet.facts import DeviceFacts, Engine, EngineKind
from polyarch.fleet.offers import Content, Offer
from polyarch.fleet.outcomes import Transport
from polyarch.fleet.planned import (
    MATCHES,
    VERDICTS,
    DevicePlan,
    FleetVerdict,
    ImagePlan,
    Plan,
    PlanSettings,
    PlanSummary,
    Wish,
)
from polyarch.fleet.reasons import FactsFault, ReasonCode
from polyarch.fleet.transports import NoWay, choose_transport
from polyarch.oci.digest import Digest
from polyarch.selection.errors import no_choice
from polyarch.selection.select import select
from polyarch.selection.targets import target_for_platform
from polyarch.selection.types import Candidate, EmulationPolicy, Selection, Target, Verdict, target_of

UNKNOWN = "unknown"
"""The platform of devices that there are no facts of."""
_NAMED = 3

Asked: TypeAlias = tuple[Wish, DeviceFacts | FactsFault]
Fault: TypeAlias = tuple[ReasonCode, str]


def targets(asked: Iterable[Asked], settings: PlanSettings) -> dict[str, tuple[Target, ...]]:
    """The kinds of devices that want each image, by its name: what it has to be resolved for."""
    found: dict[str, dict[Target, None]] = {}
    for wish, facts in asked:
        for name in wish.images:
            kinds = found.setdefault(name, {})
            if not isinstance(facts, FactsFault):
                kinds[_target(wish, facts, settings)] = None
    return {name: tuple(kinds) for name, kinds in found.items()}


def needed(asked: Iterable[Asked], offers: Mapping[str, Offer], settings: PlanSettings) -> tuple[Candidate, ...]:
    """The variants that some device would get, each once: those whose content `make_plan` must be given."""
    choices = _Choices(offers, settings.emulation)
    found: dict[Digest, Candidate] = {}
    for wish, facts in asked:
        if isinstance(facts, FactsFault):
            continue
        for choice in choices.of(_target(wish, facts, settings), facts.device.page_size, wish.images):
            if choice.chosen is not None:
                found.setdefault(choice.chosen.candidate.manifest.digest, choice.chosen.candidate)
    return tuple(found.values())


def make_plan(
    asked: Iterable[Asked], offers: Mapping[str, Offer], contents: Mapping[Digest, Content], settings: PlanSettings
) -> Plan:
    """The plan. `offers` has each name that is wished for, `contents` each manifest that `needed` tells.

    `asked` is gone through once: facts of thousands of devices need not be in memory together. Raises KeyError for an
    offer or a content that is not there.
    """
    planner = _Planner(offers, contents, settings)
    devices = tuple(planner.device(wish, facts) for wish, facts in asked)
    return Plan(devices, summary_of(devices, contents, settings.held))


def summary_of(
    devices: Iterable[DevicePlan], contents: Mapping[Digest, Content], held: Collection[Digest]
) -> PlanSummary:
    """The totals. From the origin comes the whole of each variant that some device lacks, less what is `held` here."""
    count, transfer = 0, 0
    platforms: dict[str, dict[FleetVerdict, int]] = {}
    coming: set[Digest] = set()
    for device in devices:
        count += 1
        platforms.setdefault(device.platform or UNKNOWN, dict.fromkeys(VERDICTS, 0))[device.verdict] += 1
        if device.verdict == "will-pull":
            transfer += device.missing_bytes
            coming.update(line.manifest for line in device.images if line.comes and line.manifest is not None)
    blobs: dict[Digest, int] = {}
    for content in map(contents.__getitem__, coming):
        blobs[content.config] = content.config_size
        blobs.update((layer.digest, layer.size) for layer in content.layers)
    origin = sum(size for digest, size in blobs.items() if digest not in held)
    return PlanSummary(count, {name: platforms[name] for name in sorted(platforms)}, origin, transfer)


def _target(wish: Wish, facts: DeviceFacts, settings: PlanSettings) -> Target:
    """A kind of devices, not one of them: so that what is chosen for one is chosen for all that are alike."""
    override = settings.platform or wish.platform
    if override is not None:
        return target_for_platform(override, facts.device)
    return replace(target_of(facts.device), name=str(facts.device.platform))


class _Choice:
    """What an image is for a kind of devices: the line of one that has nothing of it, and what was chosen."""

    def __init__(self, line: ImagePlan, chosen: Verdict | None = None) -> None:
        self.line, self.chosen = line, chosen
        self._lines: dict[tuple[bool, int] | Fault, ImagePlan] = {}

    def of(self, present: bool, missing_bytes: int) -> ImagePlan:
        """The line of a device where it is so. A fleet has thousands of equal ones: they are one object."""
        key = (present, missing_bytes)
        if key not in self._lines:
            self._lines[key] = replace(self.line, present=present, missing_bytes=missing_bytes)
        return self._lines[key]

    def without(self, fault: Fault) -> ImagePlan:
        """The line of a device that cannot have it."""
        if fault not in self._lines:
            self._lines[fault] = replace(self.line, reason=printable(fault[1]), reason_code=fault[0])
        return self._lines[fault]


class _Choices:
    """Selections, one for each image and kind of devices."""

    def __init__(self, offers: Mapping[str, Offer], policy: EmulationPolicy) -> None:
        self._offers, self._policy = offers, policy
        self._made: dict[tuple[Target, int | None], dict[str, _Choice]] = {}

    def of(self, target: Target, page_size: int | None, names: Iterable[str]) -> list[_Choice]:
        """What a device of the kind `target`, with pages of so many bytes, gets under each name."""
        made = self._made.setdefault((target, page_size), {})
        for name in names:
            if name not in made:
                made[name] = self._choice(self._offers[name], target, page_size)
        return [made[name] for name in names]

    def _choice(self, offer: Offer, target: Target, page_size: int | None) -> _Choice:
        name = str(offer.reference)
        if offer.fault is not None:
            code, why = offer.fault
            return _Choice(ImagePlan(name, reason=printable(why), reason_code=code))
        selection = select(offer.candidates, target, self._policy)
        chosen = selection.chosen
        if chosen is None:
            why = no_choice(offer.reference, selection).message
            return _Choice(ImagePlan(name, reason=why, reason_code="no-variant"))
        manifest = chosen.candidate.manifest.digest
        platform = str(chosen.candidate.platform)
        fault = offer.faults.get(manifest) or _unloadable(offer.page_sizes.get(manifest), page_size, chosen)
        if fault is not None:
            code, why = fault
            return _Choice(ImagePlan(name, platform=platform, reason=printable(why), reason_code=code))
        line = ImagePlan(
            reference=name,
            digest=offer.roots.get(manifest, manifest),
            manifest=manifest,
            repository=chosen.candidate.reference.name,
            platform=platform,
            match=chosen.match,
            emulator=chosen.emulator,
            unproven=chosen.unproven,
            reason=_why(chosen, selection),
        )
        return _Choice(line, chosen)


def _unloadable(largest: int | None, page_size: int | None, chosen: Verdict) -> tuple[ReasonCode, str] | None:
    """Why the device's kernel cannot load the variant's programs; None where it can, or it is not known."""
    if largest is None or page_size is None or page_size <= largest or chosen.match == "emulated":
        return None
    aligned = f"{largest // 1024}K, and the device's pages are {page_size // 1024}K"
    return "no-variant", f"the programs of its variant for {chosen.candidate.platform} are aligned to {aligned}"


def _why(chosen: Verdict, selection: Selection) -> str | None:
    """What there is to say of a choice that is not the obvious one."""
    own, count = selection.target.platform, len(selection.verdicts)
    if chosen.match == "emulated":
        return f"no variant runs natively; {chosen.candidate.platform} runs by {chosen.emulator}"
    if chosen.unproven:
        return "it states no variant, so that only its programs can prove that it runs"
    if chosen.match == "compatible":
        return f"runs natively on {own}, best of {count}" if count > 1 else f"runs natively on {own}"
    return None


class _Planner:
    """Plans device by device."""

    def __init__(self, offers: Mapping[str, Offer], contents: Mapping[Digest, Content], settings: PlanSettings) -> None:
        self._settings, self._contents = settings, contents
        self._choices = _Choices(offers, settings.emulation)

    def device(self, wish: Wish, facts: DeviceFacts | FactsFault) -> DevicePlan:
        """The plan of one device."""
        override = self._settings.platform or wish.platform
        said = None if override is None else str(override)
        if isinstance(facts, FactsFault):
            return DevicePlan(
                wish.device, None, said, None, None, (), None, 0, "cannot", facts.reason, facts.reason_code
            )
        kind = self._settings.engine or wish.engine
        engine = facts.engine(kind)
        usable = engine if engine is not None and not engine.refused else None
        way = self._way(facts, usable) if usable else None
        lines, coming, changed = self._images(wish, facts, usable, way)
        verdict, reason, code = _verdict(lines, changed)
        if verdict == "ready" and lines and self._settings.check:
            verdict, reason = "will-pull", "all is at hand, and the check is to be made"
        need = sum(size + unpacked for size, unpacked in coming.values())
        free = usable.free if usable else None
        if usable is None:
            verdict, reason, code = "cannot", _no_engine(engine, kind), "no-engine"
        elif verdict == "will-pull" and free is not None and need > free:
            verdict, code = "cannot", "no-space"
            reason = f"its images need some {_size(need)}, and {_size(free)} are free in {usable.place}"
        elif verdict == "will-pull" and isinstance(way, NoWay):
            verdict, reason, code = "cannot", way.reason, way.reason_code
        elif verdict == "will-pull" and not fit_in(lines, usable):
            verdict, code = "cannot", "no-engine"
            reason = f"{len(lines)} images are more than a device can be told of at once: ask for fewer at a time"
        matches = [line.match for line in lines if line.match is not None]
        return DevicePlan(
            device=wish.device,
            platform=str(facts.device.platform),
            override=said,
            match=max(matches, key=MATCHES.index, default=None),
            engine=engine.kind if engine else None,
            images=lines,
            disk_free=free,
            disk_needed=need,
            verdict=verdict,
            reason=reason,
            reason_code=code,
        )

    def _way(self, facts: DeviceFacts, engine: Engine) -> Transport | NoWay:
        settings = self._settings
        return choose_transport(
            engine.kind,
            forwarding=facts.forwarding,
            sends_input=settings.sends_input,
            asked=settings.transport,
        )

    def _images(
        self, wish: Wish, facts: DeviceFacts, engine: Engine | None, way: Transport | NoWay | None
    ) -> tuple[tuple[ImagePlan, ...], dict[Digest, tuple[int, int]], list[str]]:
        """The lines of a device; the blobs that have to come, with their sizes and what they need unpacked; and the
        names of the images that it has, but not as they should be.
        """
        target = _target(wish, facts, self._settings)
        at_hand = AtHand(engine) if engine else None
        coming: dict[Digest, tuple[int, int]] = {}
        lines, changed = [], []
        choices = self._choices.of(target, facts.device.page_size, wish.images)
        for name, choice in zip(wish.images, choices, strict=True):
            line = choice.line
            if engine and at_hand and line.manifest is not None and line.digest is not None:
                content = self._contents[line.manifest]
                if at_hand.holds(name, line.digest, content):
                    line = choice.of(True, 0)
                elif isinstance(way, str) and (fault := cannot_name(line, engine, way)):
                    line = choice.without(fault)
                else:
                    missing = 0
                    for blob, size, unpacked in at_hand.lacks(content):
                        if blob not in coming:
                            coming[blob] = size, unpacked
                            missing += size
                    line = choice.of(False, missing)
                    if at_hand.has_name(name):
                        changed.append(name)
            lines.append(line)
        return tuple(lines), coming, changed


def _verdict(lines: tuple[ImagePlan, ...], changed: list[str]) -> tuple[FleetVerdict, str, ReasonCode | None]:
    """What is to be done on the device. Where some of its images cannot be, the others come all the same."""
    bad = next((line for line in lines if line.reason_code is not None), None)
    missing = [line.reference for line in lines if line.comes and line.reference not in changed]
    parts = []
    if missing:
        parts.append(f"{_listed(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    if changed:
        parts.append(f"{_listed(changed)} at hand {'is another' if len(changed) == 1 else 'are others'}")
    if bad is not None and parts:
        parts.append(f"without {bad.reference}: {bad.reason or bad.reason_code}")
        return "will-pull", "; ".join(parts), bad.reason_code
    if bad is not None:
        return "cannot", bad.reason or str(bad.reason_code), bad.reason_code
    if parts:
        return "will-pull", "; ".join(parts), None
    return "ready", "all is at hand" if lines else "no image is asked for", None


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _no_engine(engine: Engine | None, asked: EngineKind | None) -> str:
    if engine is not None:
        return f"{engine.kind} cannot be used: {printable(engine.refused)}"
    if asked is not None:
        return f"{asked} is asked for, and the device does not have it"
    return "no engine was found: neither docker nor podman nor containerd, nor an OCI layout"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
