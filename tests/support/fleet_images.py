"""A controller of a fleet in the process of a test: its offers, what it brings, and the plans that it makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from polyarch.events import Emit, ignore
from polyarch.fleet.facts import DeviceFacts
from polyarch.fleet.planned import DevicePlan, Plan, PlanSettings, Wish
from polyarch.fleet.reasons import FactsFault
from polyarch.lock.locked import LockedImage
from polyarch.session import Session
from polyarch.settings import load_settings
from polyarch.transfer.staged import KeepsBlobs
from polyarch.verbs.fleet.bring import Contents, FleetImages, plan_by_offers, plan_by_plan
from polyarch.verbs.fleet.offers import FleetOffers, ImageParts
from support.docker_registry import Access, DockerRegistry
from support.fleet_plans import facts

SETTINGS = PlanSettings()


@dataclass
class Controller:
    """`known` are the devices' facts by name, `wishes` the images that each is to get."""

    offers: FleetOffers
    images: FleetImages
    storage: KeepsBlobs
    known: dict[str, DeviceFacts | FactsFault]
    wishes: dict[str, tuple[str, ...]]

    def want(self, devices: Mapping[str, str], *images: str) -> None:
        """Devices by name, of those that are known by name (`pi-zero`); all want these images, besides others."""
        for name, device in devices.items():
            self.known[name] = facts(device, name=name)
            self.wishes[name] = (*self.wishes.get(name, ()), *images)

    def plan(self) -> Contents:
        """The plan of all, as far as it is known."""
        asked = [(Wish(name, images), self.known[name]) for name, images in self.wishes.items()]
        return plan_by_offers(asked, self.offers, SETTINGS)

    def bring(self) -> dict[str, DevicePlan]:
        """The plan of all, with everything brought."""
        return by_name(self.images.bring(self.plan, self.known).plan)

    def bring_planned(self, plan: Plan) -> dict[str, DevicePlan]:
        """What an earlier plan comes to, with everything brought."""

        def again() -> Contents:
            return plan_by_plan(plan, self.known, self.offers, SETTINGS)

        return by_name(self.images.bring(again, self.known).plan)


@contextmanager
def controller(
    root: Path,
    locked: Mapping[str, LockedImage] | None = None,
    emit: Emit = ignore,
    stood: Mapping[str, str] | None = None,
) -> Iterator[Controller]:
    """One with its storage below `root`."""
    settings = load_settings(
        root, None, {"HOME": str(root), "POLYARCH_REGISTRIES_CONF": "none", "POLYARCH_POLICY": "none"}, retries=1
    )
    with Session(settings, emit=emit) as session:
        storage = session.storage()
        assert isinstance(storage, KeepsBlobs)
        parts = ImageParts(session._registry, storage, session._conventions(), settings.retries)
        offers = FleetOffers(parts, "auto", locked, stood)
        images = FleetImages(
            offers, storage, "oci", (), max_connections=4, retries=settings.retries, emit=session._emit
        )
        yield Controller(offers, images, storage, {}, {})


def by_name(plan: Plan) -> dict[str, DevicePlan]:
    """The devices of a plan."""
    return {device.device: device for device in plan.devices}


class Witness:
    """What a registry is asked from now on."""

    def __init__(self, registry: DockerRegistry) -> None:
        self._registry, self._before = registry, len(registry.access_log())

    def all(self) -> Sequence[Access]:
        return self._registry.access_log()[self._before :]

    def blobs(self) -> list[str]:
        """The digests of blobs that were sent, as often as they were."""
        return [one.path.rpartition("/")[2] for one in self.all() if "/blobs/" in one.path and one.method == "GET"]

    def bytes(self) -> int:
        """The bytes of these."""
        return sum(one.size for one in self.all() if "/blobs/" in one.path and one.method == "GET")

    def names(self) -> list[str]:
        """What was asked for by tag: `METHOD repository:tag`."""
        found = [one for one in self.all() if "/manifests/" in one.path and "/manifests/sha256:" not in one.path]
        return [f"{one.method} {one.path.removeprefix('/v2/').replace('/manifests/', ':')}" for one in found]
