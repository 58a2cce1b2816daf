"""The choice: exact before compatible before emulated, never a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from polyarch.selection.types import Candidate, EmulationPolicy, Match, Selection, Target, Verdict
from polyarch_platforms.architecture import get
from polyarch_platforms.compatibility import Rank, asked, rank
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

_NATIVE, _EMULATED = 0, 1


@dataclass(frozen=True, slots=True, order=True)
class _Key:
    """The order of usable candidates; the smallest wins.

    An unproven native entry ranks behind every proven native one, but before emulation: emulation is for where
    nothing native exists. The index's own order decides between equals (image-spec, image-index.md: the first match).
    """

    tier: int
    unproven: bool
    position: int
    order: int


def select(candidates: Sequence[Candidate], target: Target, policy: EmulationPolicy = "auto") -> Selection:
    """Which of `candidates` the target should take, and what became of each other one."""
    judged = [_judge(candidate, target, policy, order) for order, candidate in enumerate(candidates)]
    usable = sorted(((key, i) for i, (key, _) in enumerate(judged) if key is not None), key=lambda pair: pair[0])
    verdicts = [verdict for _, verdict in judged]
    if usable:
        best = verdicts[usable[0][1]]
        for _, i in usable[1:]:
            verdicts[i] = replace(verdicts[i], refused=_outranked(verdicts[i], best))
    return Selection(target, policy, tuple(verdicts), tuple(verdicts[i] for _, i in usable))


def _judge(candidate: Candidate, target: Target, policy: EmulationPolicy, order: int) -> tuple[_Key | None, Verdict]:
    platform = candidate.platform
    if platform is None:
        return None, Verdict(candidate, None, refused="neither the index nor its config says what platform it is for")
    native = rank(target.native, platform)
    if native is not None:
        match: Match = "exact" if _is_own(native, target) else "compatible"
        verdict = Verdict(candidate, match, unproven=not native.proven)
        return _Key(_NATIVE, not native.proven, native.position, order), verdict
    for position, emulation in enumerate(target.emulated):
        emulated = rank(asked(emulation.platform), platform)
        if emulated is None:
            continue
        if policy == "never":
            why = f"{platform} would need emulation ({emulation.emulator}), which is not allowed"
            return None, Verdict(candidate, None, refused=why)
        key = _Key(_EMULATED, not emulated.proven, position * 100 + emulated.position, order)
        return key, Verdict(candidate, "emulated", unproven=not emulated.proven, emulator=emulation.emulator)
    return None, Verdict(
        candidate, None, refused=_unfit(platform, target), lacks_emulator=_emulatable(platform, target)
    )


def _is_own(place: Rank, target: Target) -> bool:
    """True for the target's own platform, for a higher level of it, and for an entry that is taken for it unlabelled.

    A server that runs amd64/v3 is a linux/amd64 machine all the same: linux/amd64 fits it exactly.
    """
    own = rank(target.native, target.platform)
    return own is not None and place.proven and place.position <= own.position + 1


def _unfit(platform: Platform, target: Target) -> str:
    """Why nothing on the target runs `platform`."""
    systems = {native.os for native in target.native}
    if platform.os not in systems:
        return f"it is for {platform.os}, not for {' or '.join(sorted(systems))}"
    same = [native for native in target.native if native.architecture == platform.architecture]
    if same:
        return f"it needs {platform}, and {target.name} runs {same[0]} at most"
    if any(emulation.platform.architecture == platform.architecture for emulation in target.emulated):
        return f"the emulator on {target.name} does not know {platform}"
    here = ", and there is no emulator for them here" if target.here else ""
    return f"{target.name} does not run {platform.architecture} programs{here}"


def _emulatable(platform: Platform, target: Target) -> bool:
    architecture = get(platform.architecture)
    runs = {native.architecture for native in target.native}
    return target.here and platform.os == "linux" and architecture is not None and platform.architecture not in runs


def _outranked(verdict: Verdict, best: Verdict) -> str:
    """Why a usable candidate is not the best."""
    chosen, other = best.candidate.platform, verdict.candidate.platform
    if verdict.match == "emulated" and best.match != "emulated":
        return f"it would need emulation ({verdict.emulator}), and {chosen} runs natively"
    if chosen == other and verdict.unproven == best.unproven:
        return f"another entry for {chosen} stands before it"
    if verdict.unproven:
        return f"it states no variant, so that only its programs could prove that it runs; {chosen} is certain"
    if verdict.match == "emulated":
        return f"{chosen} is emulated at less cost"
    return f"it would run, but {chosen} is the better variant"
