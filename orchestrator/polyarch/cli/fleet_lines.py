"""A fleet in lines: what happens in a rollout, and the tables of plans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from polyarch.cli.output import columns, human_size, short_id
from polyarch.events import Event
from polyarch.fleet.outcomes import SUCCEEDED, DeviceOutcome
from polyarch.fleet.plan import UNKNOWN
from polyarch.fleet.plan_event import FleetPlanned
from polyarch.fleet.planned import VERDICTS, DevicePlan, FleetVerdict, Plan
from polyarch.fleet.record import RolloutRecord
from polyarch.fleet.rollout_events import (
    DeviceFinished,
    DeviceTried,
    Pausing,
    PlatformStopped,
    RolloutBegun,
    RolloutEnded,
    WaitingForOffline,
    WaveBegun,
)
from polyarch.reference import parse_reference
from polyarch.verbs.fleet.status import DeviceState, ImageState

MOST_LINES = 50
"""Devices that a table shows each in a line of its own; of more, a line a platform, and those that need an eye."""
_NAMED = 3
_GAP, _LAST = 3, 20


def outcome_line(outcome: DeviceOutcome) -> str:
    """`pi-7  linux/arm/v6  pulled  12.3MB  4.2s`, `pi-8  linux/arm/v6  failed  no-space: …`."""
    return "  ".join([*_who(outcome), outcome.status, *_result(outcome)])


def _who(outcome: DeviceOutcome) -> tuple[str, str]:
    return outcome.device, outcome.platform or UNKNOWN


def _result(outcome: DeviceOutcome) -> list[str]:
    parts = [human_size(outcome.bytes), brief(outcome.seconds)] if outcome.status == "pulled" else []
    if outcome.attempts > 1:
        parts.append(f"{outcome.attempts} attempts")
    if outcome.status not in SUCCEEDED:
        code = outcome.reason_code if outcome.reason_code != outcome.status else None
        parts += [": ".join(part for part in (code, outcome.error) if part)] if code or outcome.error else []
    return parts


def event_line(event: Event) -> str | None:
    """The line of what happened in a rollout; None where there is nothing to say."""
    match event:
        case FleetPlanned():
            return _totals(event.plan)
        case RolloutBegun():
            how = "goes on" if event.resumed else "begins"
            return f"rollout {event.rollout} {how}: {_devices(event.devices)}, {_count(event.waves, 'wave')}"
        case WaveBegun():
            return f"wave {event.wave}: {_devices(len(event.members))}"
        case DeviceFinished():
            return outcome_line(event.outcome)
        case DeviceTried():
            return "  ".join([*_who(event.outcome), "again", *_result(event.outcome)])
        case PlatformStopped():
            return f"stopped: {event.platform or 'all platforms'}: {event.reason}"
        case RolloutEnded() if event.cancelled:
            return f"rollout {event.rollout} was ended from here; it can be gone on with: polyarch fleet pull --resume"
        case _:
            return waiting_line(event)


def waiting_line(event: Event) -> str | None:
    """What is waited for, where something is."""
    match event:
        case Pausing():
            return f"{'the next wave begins' if event.why == 'pause' else 'trying again'} in {brief(event.seconds)}"
        case WaitingForOffline():
            until = datetime.fromtimestamp(event.until).strftime("%H:%M:%S")
            return f"waiting until {until} for {_devices(event.devices)} that {_be(event.devices)} offline"
        case _:
            return None


def brief(seconds: float) -> str:
    """`4.2s`, `2m10s`, `3h5m`."""
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m" if minutes else f"{hours}h"


def record_line(record: RolloutRecord) -> str:
    """What a rollout came to: `12 devices: 10 pulled, 2 failed; 4.2MB from the origin, 50MB to devices, 31.0s`."""
    summary = record.summary
    counts = ", ".join(f"{number:,} {status}" for status, number in summary.statuses.items() if number)
    sizes = f"{human_size(summary.origin_bytes)} from the origin, {human_size(summary.bytes)} to devices"
    return f"{_devices(summary.devices)}: {counts or 'none'}; {sizes}, {brief(summary.seconds)}"


def plan_table(plan: Plan, width: int | None = None) -> Iterator[str]:
    """The lines of a plan. Of more than `MOST_LINES` devices a line a platform, and those that cannot get their images:
    who is alike, and cannot for the same reason, in one line.
    """
    if len(plan.devices) <= MOST_LINES:
        yield from _device_lines(plan, width)
    else:
        yield from _platform_lines(plan, width)
        cannot = [device for device in plan.devices if device.verdict == "cannot" or device.reason_code]
        if cannot:
            yield ""
            yield from _folded(cannot, width)
        yield ""
        yield "A line for each device: --format json"
    yield _totals(plan)


def _device_lines(plan: Plan, width: int | None) -> list[str]:
    rows = [
        {
            "DEVICE": device.device,
            "PLATFORM": _platform(device),
            "VARIANT": _variant(device),
            "MATCH": device.match or "-",
            "ENGINE": device.engine or "-",
            "MISSING": human_size(device.missing_bytes) if device.missing_bytes else "-",
            "FREE": human_size(device.disk_free) if device.disk_free is not None else "-",
            "VERDICT": device.verdict,
            "REASON": _why(device),
        }
        for device in plan.devices
    ]
    return _fitted(rows, width, spare=("FREE", "MATCH"))


def _fitted(rows: Sequence[Mapping[str, str]], width: int | None, spare: Sequence[str]) -> list[str]:
    """A table with a column a key; without the `spare` ones where it is too wide with a last column of `_LAST`."""
    if not rows:
        return []
    titles = list(rows[0])
    sizes = [max(len(title), *(len(row[title]) for row in rows)) for title in titles]
    if width is not None and sum(sizes[:-1]) + _GAP * len(sizes[:-1]) + min(sizes[-1], _LAST) > width:
        titles = [title for title in titles if title not in spare]
    lines = columns([titles, *([row[title] for title in titles] for row in rows)], width)
    return [line for line in lines if line.strip()]  # a last cell that is empty needs no line of its own


def _why(device: DevicePlan) -> str:
    """Why it cannot; else what is to be said of the variants. That something is missing, other columns say."""
    if device.verdict == "cannot" or device.reason_code:
        return device.reason
    return "; ".join(dict.fromkeys(image.reason for image in device.images if image.reason))


def _platform(device: DevicePlan) -> str:
    """An override is shown as such."""
    own = device.platform or UNKNOWN
    return f"{own} (as {device.override})" if device.override else own


def _variant(device: DevicePlan) -> str:
    chosen = [image for image in device.images if image.manifest]
    if not chosen:
        return "-"
    platforms = ",".join(dict.fromkeys(image.platform or UNKNOWN for image in chosen))
    return f"{platforms} {short_id(chosen[0].manifest or '')}" if len(chosen) == 1 else f"{platforms} x{len(chosen)}"


def _platform_lines(plan: Plan, width: int | None) -> list[str]:
    missing: Counter[str] = Counter()
    for device in plan.devices:
        missing[device.platform or UNKNOWN] += device.missing_bytes
    rows: list[Sequence[str]] = [("PLATFORM", "DEVICES", "READY", "WILL-PULL", "CANNOT", "MISSING")]
    for platform, counts in plan.summary.platforms.items():
        numbers = [counts.get(verdict, 0) for verdict in VERDICTS]
        cells = [f"{number:,}" if number else "-" for number in (sum(numbers), *numbers)]
        rows.append((platform, *cells, human_size(missing[platform]) if missing[platform] else "-"))
    return columns(rows, width)


def _folded(devices: Iterable[DevicePlan], width: int | None) -> list[str]:
    alike: dict[tuple[str, str, str, str], list[str]] = {}
    for device in devices:
        key = (_platform(device), device.engine or "-", device.reason_code or "-", device.reason)
        alike.setdefault(key, []).append(device.device)
    rows = [("DEVICES", "PLATFORM", "ENGINE", "CODE", "REASON")]
    rows += [(_named(names), *key) for key, names in alike.items()]
    return columns(rows, width)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def facts_table(states: Sequence[DeviceState], width: int | None = None) -> Iterator[str]:
    """What devices are: a line a device. Of more than `MOST_LINES` none: what is alike there, a plan shows."""
    if len(states) > MOST_LINES:
        return
    rows = []
    for state in states:
        facts, engine = state.facts, state.engine
        forwarding = facts.forwarding if facts else None
        skew = facts.clock_skew if facts else None
        rows.append(
            {
                "DEVICE": state.device,
                "PLATFORM": str(facts.device.platform) if facts else UNKNOWN,
                "PAGES": f"{facts.device.page_size // 1024}K" if facts and facts.device.page_size else "-",
                "ENGINE": " ".join(word for word in (engine.kind, engine.version) if word) if engine else "-",
                "IMAGES": str(len(engine.images)) if engine else "-",
                "FREE": human_size(engine.free) if engine and engine.free is not None else "-",
                "FORWARDING": {True: "yes", False: "no", None: "-"}[forwarding],
                "CLOCK": f"{skew:+d}s" if skew else "-" if skew is None else "right",
                "ASKED": f"{brief(state.age)} ago" if state.age is not None else "never",
            }
        )
    yield from _fitted(rows, width, spare=("PAGES", "IMAGES"))
    yield ""


def status_table(states: Sequence[DeviceState], width: int | None = None) -> Iterator[str]:
    """What devices have, and what they should: a line an image. Of more than `MOST_LINES` devices those lines that are
    not as they should be: who is alike in one, without the age.
    """
    large = len(states) > MOST_LINES
    alike: dict[tuple[str, ...], list[str]] = {}
    for state in states:
        for image in state.images or (None,):
            if not (large and _fine(state, image)):
                alike.setdefault(_status(state, image, large), []).append(state.device)
    titles = ("DEVICES" if large else "DEVICE", "PLATFORM", "ENGINE", "IMAGE", "HAS", "SHOULD", "AGE", "STATE")
    lines = [(name, *cells) for cells, names in alike.items() for name in ([_named(names)] if large else names)]
    if not large:
        order = {state.device: number for number, state in enumerate(states)}
        lines.sort(key=lambda line: order[line[0]])
    yield from _fitted([dict(zip(titles, line, strict=True)) for line in lines], width, spare=("ENGINE", "AGE"))
    if large:
        yield "A line for each device: --format json"
    yield f"{sum(state.good for state in states):,} of {_devices(len(states))} as planned"


def _fine(state: DeviceState, image: ImageState | None) -> bool:
    return state.fault is None and (image is None or image.state == "as-planned")


def _status(state: DeviceState, image: ImageState | None, large: bool) -> tuple[str, ...]:
    """The cells behind the device's name. What could not be asked now shows what it said last."""
    said = "no image is asked for" if image is None else image.state.replace("-", " ")
    if image is not None and image.reason and not (state.fault and image.reason == state.fault.reason):
        said += f": {image.reason}"
    if state.fault is not None:
        said += f"; {state.fault.reason_code}: {state.fault.reason}"
    return (
        str(state.facts.device.platform) if state.facts else UNKNOWN,
        state.engine.kind if state.engine else "-",
        parse_reference(image.reference).familiar if image else "-",
        short_id(image.has) if image and image.has else "-",
        short_id(image.should) if image and image.should else "-",
        "-" if large or state.age is None else brief(state.age),
        said,
    )


def _totals(plan: Plan) -> str:
    counts: Counter[FleetVerdict] = Counter(device.verdict for device in plan.devices)
    said = {"ready": "ready", "will-pull": "will pull", "cannot": "cannot"}
    verdicts = ", ".join(f"{counts[verdict]:,} {said[verdict]}" for verdict in VERDICTS if counts[verdict])
    summary = plan.summary
    sizes = f"{human_size(summary.origin_bytes)} from the origin, {human_size(summary.transfer_bytes)} to devices"
    return f"{_devices(len(plan.devices))}: {verdicts or 'nothing to do'}; {sizes}"


def _devices(number: int) -> str:
    return _count(number, "device")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _be(number: int) -> str:
    return "is" if number == 1 else "are"
