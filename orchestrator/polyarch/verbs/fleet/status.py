"""What the devices of a fleet are, and which images they have against those that they should have. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from polyarch.fleet.facts import DeviceFacts, Engine
from polyarch.fleet.offers import Content
from polyarch.fleet.planned import DevicePlan, ImagePlan
from polyarch.fleet.reasons import FactsFault
from polyarch.oci.digest import Digest
from polyarch_platforms.lazy_dataclass import dataclass

Standing: TypeAlias = Literal["as-planned", "missing", "changed", "unknown"]


@dataclass(frozen=True, slots=True)
class ImageState:
    """An image on a device.

    has     what its engine tells of the name: the config's digest (docker, podman), or that of the manifest or index
    should  what it should tell of it; of an image that is as planned the same as `has`
    reason  why it is not known, or the image cannot be for this device
    """

    reference: str
    state: Standing
    has: Digest | None = None
    should: Digest | None = None
    platform: str | None = None
    reason: str | None = None

    @property
    def words(self) -> str:
        """How it is."""
        if self.state == "changed":
            return f"changed (has {_short(self.has)}, should {_short(self.should)})"
        if self.state == "unknown":
            return f"unknown: {self.reason}" if self.reason else "unknown"
        return self.state.replace("-", " ")

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        return {
            "reference": self.reference,
            "status": self.state,
            "has": self.has,
            "should": self.should,
            "platform": self.platform,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class DeviceState:
    """A device: what it said last, if it ever did, and how its images are.

    age    seconds since it was asked; None where nothing is known of it
    fault  why it could not be asked now
    """

    device: str
    facts: DeviceFacts | None
    engine: Engine | None
    age: float | None
    fault: FactsFault | None
    images: tuple[ImageState, ...]

    @property
    def good(self) -> bool:
        """It answered, and all images are as planned."""
        return self.fault is None and all(image.state == "as-planned" for image in self.images)

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        facts, engine = self.facts, self.engine
        return {
            "device": self.device,
            "platform": str(facts.device.platform) if facts else None,
            "native": [str(platform) for platform in facts.device.native] if facts else [],
            "emulated": [str(emulation.platform) for emulation in facts.device.emulated] if facts else [],
            "page_size": facts.device.page_size if facts else None,
            "engine": engine.kind if engine else None,
            "engine_version": engine.version or None if engine else None,
            "disk_free": engine.free if engine else None,
            "forwarding": facts.forwarding if facts else None,
            "clock_skew": facts.clock_skew if facts else None,
            "age": None if self.age is None else round(self.age, 1),
            "images": [image.to_json() for image in self.images],
            "reason_code": self.fault.reason_code if self.fault else None,
            "error": self.fault.reason if self.fault else None,
        }


def state_of(
    planned: DevicePlan,
    facts: DeviceFacts | None,
    fault: FactsFault | None,
    contents: Mapping[Digest, Content],
    names: tuple[str, ...],
    now: float,
) -> DeviceState:
    """How a device is at `now` (seconds since 1970).

    `planned` and `contents` are of a plan with these `facts`: the last that are known, where it could not be asked now
    (`fault`). `names` are the images wished for, whole names.
    """
    engine = facts.engine(planned.engine) if facts and planned.engine else None
    lines = {line.reference: line for line in planned.images}
    images = tuple(
        _image(line, engine, contents, outdated=facts is not None and facts.outdated)
        if (line := lines.get(name))
        else ImageState(name, "unknown", reason=_why(fault))
        for name in names
    )
    age = None if facts is None else max(0.0, now - facts.taken)
    return DeviceState(planned.device, facts, engine, age, fault, images)


def _image(line: ImagePlan, engine: Engine | None, contents: Mapping[Digest, Content], *, outdated: bool) -> ImageState:
    name, platform = line.reference, line.platform
    if engine is None or engine.refused:
        return ImageState(name, "unknown", None, line.manifest, platform, "no engine that can be used was found")
    told = _told(engine, name)
    if line.manifest is None:
        return ImageState(name, "unknown", told, None, platform, line.reason)
    if line.present:
        return ImageState(name, "as-planned", told, told, platform)
    should = contents[line.manifest].config if _by_config(engine) else line.manifest
    if told is not None:
        return ImageState(name, "changed", told, should, platform)
    if outdated:
        return ImageState(name, "unknown", None, should, platform, "it was brought images since it said what it has")
    if not engine.complete:
        return ImageState(name, "unknown", None, should, platform, f"{engine.kind} did not tell all its images")
    why = line.reason if line.reason_code else None
    return ImageState(name, "missing", None, should, platform, why)


def _told(engine: Engine, name: str) -> Digest | None:
    """What the engine tells of a name; None if it does not have it."""
    for image in engine.images:
        if name in image.names:
            return image.id or next(iter(image.digests), None)
    return None


def _by_config(engine: Engine) -> bool:
    """Whether the engine knows images by the digest of their config."""
    return engine.kind in ("docker", "podman") and not engine.by_digest


def _why(fault: FactsFault | None) -> str | None:
    return fault.reason if fault else None


def _short(digest: Digest | None) -> str:
    return digest.partition(":")[2][:12] if digest else "nothing"
