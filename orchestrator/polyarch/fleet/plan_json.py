"""Plans as JSON Lines: a line a device, a summary at the end; and read back from a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from polyarch.errors import IntegrityError, UsageError, printable
from polyarch.fleet.facts import ENGINE_KINDS
from polyarch.fleet.json_values import number_of, word_or_none
from polyarch.fleet.planned import MATCHES, VERDICTS, DevicePlan, ImagePlan, Plan, PlanSummary
from polyarch.fleet.reasons import REASON_CODES
from polyarch.oci.digest import check_digest
from polyarch.oci.json import list_of, mapping_of, parse_json, text_of
from polyarch.reference import parse_reference

MAX_LINE = 4 << 20
"""Characters of a line: a device with some thousands of images."""

PLAN_HINT = "write one with: polyarch fleet plan --format json"


def plan_lines(plan: Plan) -> Iterator[dict[str, object]]:
    """The JSON objects of a plan, with the keys that the command line promises."""
    for device in plan.devices:
        yield device_json(device)
    summary = plan.summary
    yield {
        "summary": {
            "devices": summary.devices,
            "platforms": {platform: dict(counts) for platform, counts in summary.platforms.items()},
            "origin_bytes": summary.origin_bytes,
            "transfer_bytes": summary.transfer_bytes,
        }
    }


def device_json(device: DevicePlan) -> dict[str, object]:
    """For one JSON line."""
    return {
        "device": device.device,
        "platform": device.platform,
        "override": device.override,
        "match": device.match,
        "engine": device.engine,
        "images": [_image_json(image) for image in device.images],
        "disk_free": device.disk_free,
        "disk_needed": device.disk_needed,
        "verdict": device.verdict,
        "reason": device.reason,
        "reason_code": device.reason_code,
    }


def _image_json(image: ImagePlan) -> dict[str, object]:
    return {
        "reference": image.reference,
        "digest": image.digest,
        "manifest": image.manifest,
        "repository": image.repository,
        "platform": image.platform,
        "match": image.match,
        "emulator": image.emulator,
        "unproven": image.unproven,
        "missing_bytes": image.missing_bytes,
        "present": image.present,
        "reason": image.reason,
        "reason_code": image.reason_code,
    }


def read_plan(lines: Iterable[str], where: str = "the plan") -> Plan:
    """The plan that `plan_lines` gave, written a line each; further keys, empty lines and the error of the command that
    printed it are passed over.

    Raises UsageError, naming `where` and the line, for anything else: also for one that was cut, or in which a device
    stands twice.
    """
    reader = _Reader()
    devices: dict[str, DevicePlan] = {}
    summary: PlanSummary | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            if len(line) > MAX_LINE:
                raise IntegrityError(f"longer than {MAX_LINE} characters")
            if summary is not None:
                raise IntegrityError("nothing may follow the summary")
            document = parse_json(line.encode("utf-8", "replace"), "a plan's line")
            if "summary" in document:
                summary = _summary(mapping_of(document["summary"], "summary"))
            elif "error" not in document or "device" in document:  # the command's error stands before the summary
                device = reader.device(document)
                if device.device in devices:
                    raise IntegrityError(f"the device {device.device} stands there twice")
                devices[device.device] = device
        except (IntegrityError, UsageError) as error:
            raise UsageError(f"{where}, line {number}: {error.message}", PLAN_HINT) from error
    if summary is None or summary.devices != len(devices):
        raise UsageError(
            f"{where} is no plan, or was cut: its summary does not fit its {len(devices)} devices", PLAN_HINT
        )
    return Plan(tuple(devices.values()), summary)


class _Reader:
    """Reads devices. Images that are equal are one object, and are looked at once."""

    def __init__(self) -> None:
        self._images: dict[object, ImagePlan] = {}
        self._stacks: dict[tuple[ImagePlan, ...], tuple[ImagePlan, ...]] = {}

    def device(self, document: Mapping[str, object]) -> DevicePlan:
        images = tuple(self._image(mapping_of(one, "image")) for one in list_of(document.get("images"), "images"))
        verdict = word_or_none(document, "verdict", VERDICTS)
        if verdict is None:
            raise IntegrityError("a device without a verdict")
        return DevicePlan(
            device=text_of(document, "device", "a device"),
            platform=_text(document, "platform"),
            override=_text(document, "override"),
            match=word_or_none(document, "match", MATCHES),
            engine=word_or_none(document, "engine", ENGINE_KINDS),
            images=self._stacks.setdefault(images, images),
            disk_free=None if document.get("disk_free") is None else number_of(document, "disk_free"),
            disk_needed=number_of(document, "disk_needed"),
            verdict=verdict,
            reason=text_of(document, "reason", "a device"),
            reason_code=word_or_none(document, "reason_code", REASON_CODES),
        )

    def _image(self, document: Mapping[str, object]) -> ImagePlan:
        try:
            return self._images[key := tuple(document.items())]
        except KeyError:
            return self._images.setdefault(key, _image(document))
        except TypeError:  # a list or an object where a word belongs, or in a key that is not known
            return _image(document)


def _image(document: Mapping[str, object]) -> ImagePlan:
    reference = text_of(document, "reference", "an image")
    parse_reference(reference)
    digest, manifest, repository = (_text(document, key) for key in ("digest", "manifest", "repository"))
    match = word_or_none(document, "match", MATCHES)
    code = word_or_none(document, "reason_code", REASON_CODES)
    if code is None:
        check_digest(digest, reference)
        parse_reference(f"{repository}@{check_digest(manifest, reference)}")
        if match is None:
            raise IntegrityError(f"{printable(reference, 100)}: neither how it runs, nor why it cannot")
    return ImagePlan(
        reference=reference,
        digest=digest,
        manifest=manifest,
        repository=repository,
        platform=_text(document, "platform"),
        match=match,
        emulator=_text(document, "emulator"),
        unproven=document.get("unproven") is True,
        missing_bytes=number_of(document, "missing_bytes"),
        present=document.get("present") is True,
        reason=_text(document, "reason"),
        reason_code=code,
    )


def _summary(document: Mapping[str, object]) -> PlanSummary:
    platforms = mapping_of(document.get("platforms"), "platforms")
    return PlanSummary(
        number_of(document, "devices"),
        {
            name: {verdict: number_of(counts, verdict) for verdict in VERDICTS}
            for name, value in platforms.items()
            if (counts := mapping_of(value, "platforms")) is not None
        },
        number_of(document, "origin_bytes"),
        number_of(document, "transfer_bytes"),
    )


def _text(document: Mapping[str, object], key: str) -> str | None:
    return None if document.get(key) is None else text_of(document, key, "a plan's line")
