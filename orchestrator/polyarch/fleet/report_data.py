"""What a report of a rollout shows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Literal, TypeAlias

from polyarch.errors import printable
from polyarch.fleet.outcomes import (
    SUCCEEDED,
    DeviceOutcome,
    DeviceStatus,
    ImageOutcome,
)
from polyarch.fleet.plan import UNKNOWN
from polyarch.fleet.planned import DevicePlan, ImagePlan
from polyarch.fleet.record import RolloutRecord
from polyarch.fleet.report_advice import ADVICE
from polyarch.version import __version__

ReportStatus: TypeAlias = DeviceStatus | Literal["waiting"]
STATUSES: tuple[ReportStatus, ...] = ("failed", "offline", "skipped", "waiting", "pulled", "up-to-date")
"""What needs somebody's eye first. `waiting` has a device that nothing became of: the rollout is not at its end."""

_ONE_TIME = re.compile(r"(/polyarch/)[0-9a-f]{32}")
_LONGEST = 2000


def status_of(record: RolloutRecord, device: str) -> ReportStatus:
    """What became of a device."""
    outcome = record.outcomes.get(device)
    return outcome.status if outcome else "waiting"


def headline(record: RolloutRecord) -> str:
    """The one sentence: how many devices have what they should."""
    good = sum(status_of(record, one.device) in SUCCEEDED for one in record.plan.devices)
    total = len(record.plan.devices)
    so_far = "" if record.ended else " so far"
    if total == 1:
        return f"{good} of 1 device has what it should{so_far}"
    many = f"All {total:,}" if good == total else f"{good:,} of {total:,}"
    return f"{many} devices have what they should{so_far}"


def report_document(record: RolloutRecord) -> dict[str, object]:
    """What the page is made of, as JSON values. Texts from devices are made printable; what could open something, the
    one-time path of a rollout or a password in an address, is left out.

    Images are written once each (`images`), and so is each list of them (`stacks`): a fleet has many equal ones.
    """
    kept_texts = _KeptTexts()
    devices = [_device(record, plan, kept_texts) for plan in record.plan.devices]
    return {
        "id": shown(record.id),
        "version": __version__,
        "began": record.began,
        "ended": record.ended,
        "phase": record.phase,
        "batch": str(record.settings.batch),
        "max_fail": str(record.settings.max_fail),
        "totals": _totals(record),
        "reasons": _reasons(record),
        "waves": [[wave.number, len(wave.devices), wave.began, wave.ended] for wave in record.waves],
        "stops": [[stop.platform and shown(stop.platform), shown(stop.reason), stop.at] for stop in record.stops],
        "images": kept_texts.images,
        "stacks": kept_texts.stacks,
        "columns": list(_COLUMNS),
        "devices": devices,
    }


def shown(text: str) -> str:
    """A text as it may be seen by everybody."""
    return printable(_ONE_TIME.sub(r"\1…", text[: 2 * _LONGEST]), _LONGEST)


def _totals(record: RolloutRecord) -> dict[str, object]:
    statuses: Counter[ReportStatus] = Counter()
    platforms: dict[str, Counter[ReportStatus]] = {}
    alone = direct = 0
    for plan in record.plan.devices:
        status = status_of(record, plan.device)
        statuses[status] += 1
        platforms.setdefault(shown(plan.platform or UNKNOWN), Counter())[status] += 1
        if status == "pulled":
            alone += plan.missing_bytes
            direct += plan.missing_bytes if record.outcomes[plan.device].transport == "direct" else 0
    return {
        "devices": len(record.plan.devices),
        "good": sum(statuses[status] for status in SUCCEEDED),
        "statuses": statuses,
        "platforms": {name: platforms[name] for name in sorted(platforms)},
        "origin_bytes": record.summary.origin_bytes + direct,
        "bytes": record.summary.bytes,
        "alone_bytes": alone,
        "seconds": record.summary.seconds,
    }


def _reasons(record: RolloutRecord) -> list[dict[str, object]]:
    """Reason codes of devices, the most frequent first, and what to do."""
    codes = Counter(outcome.reason_code for outcome in record.outcomes.values() if outcome.reason_code)
    return [
        {"code": code, "count": count, "meaning": ADVICE[code].meaning, "next": ADVICE[code].next}
        for code, count in codes.most_common()
    ]


_COLUMNS = (
    *("device", "platform", "override", "status", "match", "engine", "transport", "code", "error", "bytes", "seconds"),
    *("wave", "attempts", "began", "ended", "verdict", "reason", "disk_free", "disk_needed", "stack"),
)


def _device(record: RolloutRecord, plan: DevicePlan, kept_texts: _KeptTexts) -> list[object]:
    """A row, in the order of `_COLUMNS`."""
    outcome = record.outcomes.get(plan.device)
    mine = outcome or DeviceOutcome(plan.device, plan.platform, "skipped")
    error = mine.error or (plan.reason if mine.reason_code and plan.verdict == "cannot" else None)
    return [
        shown(plan.device),
        shown(plan.platform or UNKNOWN),
        plan.override and shown(plan.override),
        status_of(record, plan.device),
        plan.match,
        mine.engine or plan.engine,
        mine.transport,
        mine.reason_code,
        error and shown(error),
        mine.bytes,
        round(mine.seconds, 2),
        mine.wave,
        mine.attempts,
        round(mine.began, 2),
        round(mine.ended, 2),
        plan.verdict,
        shown(plan.reason),
        plan.disk_free,
        plan.disk_needed,
        kept_texts.stack(_images(plan, mine)),
    ]


def _images(plan: DevicePlan, outcome: DeviceOutcome) -> Iterator[tuple[ImagePlan, ImageOutcome | None]]:
    became = {image.reference: image for image in outcome.images}
    return ((image, became.get(image.reference)) for image in plan.images)


class _KeptTexts:
    """Images and lists of them, each once."""

    def __init__(self) -> None:
        self.images: list[dict[str, object]] = []
        self.stacks: list[list[int]] = []
        self._images: dict[tuple[ImagePlan, ImageOutcome | None], int] = {}
        self._stacks: dict[tuple[int, ...], int] = {}

    def stack(self, images: Iterator[tuple[ImagePlan, ImageOutcome | None]]) -> int:
        """The number of the list of these images."""
        key = tuple(map(self._image, images))
        if key not in self._stacks:
            self._stacks[key] = len(self.stacks)
            self.stacks.append(list(key))
        return self._stacks[key]

    def _image(self, key: tuple[ImagePlan, ImageOutcome | None]) -> int:
        if key not in self._images:
            self._images[key] = len(self.images)
            self.images.append(_image(*key))
        return self._images[key]


def _image(plan: ImagePlan, outcome: ImageOutcome | None) -> dict[str, object]:
    error = outcome.error if outcome else None
    return {
        "reference": shown(plan.reference),
        "status": outcome.status if outcome else None,
        "platform": plan.platform and shown(plan.platform),
        "match": plan.match,
        "emulator": plan.emulator and shown(plan.emulator),
        "unproven": plan.unproven,
        "repository": plan.repository and shown(plan.repository),
        "digest": plan.digest,
        "manifest": plan.manifest,
        "at_hand": outcome.at_hand if outcome else None,
        "missing_bytes": plan.missing_bytes,
        "present": plan.present,
        "reason": plan.reason and shown(plan.reason),
        "code": (outcome and outcome.reason_code) or plan.reason_code,
        "error": error and shown(error),
    }
