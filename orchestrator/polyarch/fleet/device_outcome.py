"""From how a task went and what the device answered to what became of the device. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from polyarch.contract.fleet import FleetResult
from polyarch.errors import printable
from polyarch.fleet.outcomes import DeviceOutcome, ImageOutcome, Transport
from polyarch.fleet.planned import DevicePlan, ImagePlan
from polyarch.fleet.pull_answer import ImageAnswer, PullAnswer, parse_pull_answer, reason_of
from polyarch.fleet.reasons import FactsFault, ReasonCode
from polyarch.oci.digest import Digest
from polyarch_platforms.lazy_dataclass import dataclass

# Where a temporary name is told, in an address of HTTP, too. It is of no use to whoever reads it.
_TEMPORARY = re.compile(r"127\.0\.0\.1:[0-9]{1,5}/(v2/)?polyarch/[0-9a-f]{32}")

_NO_CAUSE = re.compile(r"tar: (Exiting with failure status|Error is not recoverable)")
"""What tar says at the end, whatever it was."""

_SIGNALLED = 128
"""A shell ends with this and the signal's number where one ended it, or what it did last (POSIX, 2.8.2)."""

Fault = tuple[ReasonCode, str]
"""A reason code and a sentence."""

_WORDS: Mapping[ReasonCode, str] = {
    "offline": "nothing answers there",
    "unreachable": "the connection broke",
    "unauthorized": "the device let nobody in",
    "host-key": "the device shows another key than the one that is known, or none is known",
    "no-forwarding": "the device lets no port be forwarded",
    "timeout": "it took longer than it may",
    "interrupted": "it was ended from here",
}


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to come of each image, by number in the plan.

    digests  what its engine will tell of it: any of these is right
    known    what became of it before the device was asked
    """

    digests: Mapping[int, frozenset[Digest]]
    known: Mapping[int, ImageOutcome]
    check: bool = False


def read_answer(result: FleetResult, nonce: str) -> tuple[PullAnswer, Fault | None]:
    """What a device answered, and why it is not all that was to come."""
    fault = _engine_fault(result)
    try:
        answer = parse_pull_answer(result.device, result.output, nonce)
    except FactsFault as error:
        return PullAnswer(), fault or (error.reason_code, error.reason)
    if answer.held is not None:
        holder = answer.held or "nobody says who"
        return answer, fault or ("held", f"another rollout is at the device: {holder}")
    if answer.refused is not None:
        code = reason_of(answer.refused)
        return answer, fault or (code, f"the device cannot be locked: {answer.refused}")
    if answer.ended == "timeout":
        return answer, fault or ("timeout", _WORDS["timeout"])
    if not answer.whole or answer.ended is not None:
        return answer, fault or ("unreachable", "its answer was cut short")
    return answer, None if result.status == "failed" else fault


def _engine_fault(result: FleetResult) -> Fault | None:
    said = printable(result.error.strip().rpartition("\n")[2].strip(), 500)
    if result.status in ("done", "skipped"):
        return None
    if result.status == "failed":
        if result.code is not None and not said and (result.code < 0 or result.code > _SIGNALLED):
            signal = f" (signal {result.code - _SIGNALLED})" if result.code > 0 else ""
            return "unreachable", f"its shell was killed{signal}"
        ended = f"its shell ended with {result.code}" if result.code is not None else "its shell did not do it"
        return reason_of(said) if said else "internal", f"{ended}: {said}" if said else ended
    return next((code, said or words) for code, words in _WORDS.items() if code == result.status)


def outcome_of(
    plan: DevicePlan,
    result: FleetResult,
    read: tuple[PullAnswer, Fault | None],
    expected: Expected,
    *,
    transport: Transport,
    sent: int,
    began: float,
) -> DeviceOutcome:
    """The outcome of a device in one attempt; `sent` are the bytes that went to it, `began` is when it did."""
    if result.status == "skipped":
        return skipped(plan, transport)
    answer, fault = read
    images = tuple(
        expected.known.get(number) or _image(line, answer.images.get(number), fault, expected.digests.get(number))
        for number, line in enumerate(plan.images)
    )
    bad = next((image for image in images if image.status == "failed"), None)
    if fault is None and bad is not None and bad.reason_code is not None:
        several = f"{bad.reference}: " if len(images) > 1 else ""
        fault = bad.reason_code, f"{several}{bad.error}"
    if fault is None and expected.check:
        fault = _check(answer)
    pulled = any(image.status == "pulled" for image in images)
    status = ("offline" if fault[0] == "offline" else "failed") if fault else ("pulled" if pulled else "up-to-date")
    return DeviceOutcome(
        device=plan.device,
        platform=plan.platform,
        status=status,  # type: ignore[arg-type]
        images=images,
        bytes=sent,
        seconds=max(0.0, result.ended - began),
        reason_code=fault[0] if fault else None,
        error=printable(fault[1], 1000) if fault else None,
        engine=plan.engine,
        transport=transport,
        attempts=1,
        began=began,
        ended=result.ended,
    )


def skipped(plan: DevicePlan, transport: Transport | None = None) -> DeviceOutcome:
    """The outcome of a device that was not begun with."""
    why = "its turn had not come when it was stopped"
    images = tuple(image_outcome(line, "skipped", ("stopped", why)) for line in plan.images)
    return DeviceOutcome(plan.device, plan.platform, "skipped", images, 0, 0, "stopped", why, plan.engine, transport)


def failed(plan: DevicePlan, fault: Fault, at: float) -> DeviceOutcome:
    """The outcome of a device that cannot be begun with."""
    images = tuple(image_outcome(line, "failed", fault) for line in plan.images)
    return DeviceOutcome(plan.device, plan.platform, "failed", images, 0, 0, *fault, plan.engine, None, 0, 1, at, at)


def image_outcome(
    line: ImagePlan, status: str, fault: Fault | None = None, at_hand: Digest | None = None
) -> ImageOutcome:
    """The outcome of one image."""
    code, why = fault or (None, None)
    return ImageOutcome(
        line.reference,
        status,  # type: ignore[arg-type]
        line.manifest,
        line.platform,
        line.match,
        at_hand,
        code,
        why,
    )


def _image(
    line: ImagePlan, answer: ImageAnswer | None, fault: Fault | None, wanted: frozenset[Digest] | None
) -> ImageOutcome:
    if answer is None:
        return image_outcome(line, "failed", fault or ("integrity", "the device says nothing of it"))
    if answer.status == "failed":
        causes = [line for line in answer.words if not _NO_CAUSE.match(line)] or answer.words
        said = causes[-1] if causes else "its engine does not have it, and says nothing of why"
        said = _TEMPORARY.sub("(here)", said)
        return image_outcome(line, "failed", (reason_of("\n".join(answer.words)), said))
    if answer.status == "differs" or not wanted or answer.at_hand not in wanted:
        why = f"the device has {answer.at_hand or 'another image'} under this name"
        return image_outcome(line, "failed", ("integrity", why), answer.at_hand)
    return image_outcome(line, answer.status, None, answer.at_hand)


def _check(answer: PullAnswer) -> Fault | None:
    if answer.check is None:
        return "check", "the check did not end"
    code, words = answer.check
    if code == 0:
        return None
    return "check", f"the check ended with {code}" + (f": {words[-1]}" if words else "")
