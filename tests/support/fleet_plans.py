"""Fleets for tests of plans: images of four platforms, devices with engines that have some of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from polyarch.fleet.facts import DeviceFacts, Engine, EngineImage, EngineKind
from polyarch.fleet.offers import Content, Layer, Offer
from polyarch.fleet.plan import make_plan
from polyarch.fleet.planned import DevicePlan, PlanSettings, Wish
from polyarch.fleet.reasons import FactsFault
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, digest_of
from polyarch.oci.media_types import OCI_MANIFEST
from polyarch.reference import parse_reference
from polyarch.selection.types import Candidate
from polyarch_platforms.named import named
from polyarch_platforms.platform import parse

MB = 1_000_000
CONFIG = 1_000
APP, OTHER = "docker.io/library/app:1", "docker.io/library/other:1"


def digest(*words: object) -> Digest:
    """A digest that stands for these words."""
    return digest_of(repr(words).encode())


def layer(name: str, size: int = MB) -> Layer:
    """A layer of that name; it is twice as large unpacked."""
    return Layer(digest("layer", name), size, digest("diff", name), 2 * size)


def variant(name: str, platform: str, layers: Iterable[str]) -> Content:
    """A variant with these layers."""
    words = (name, platform)
    return Content(digest("manifest", *words), digest("config", *words), CONFIG, tuple(map(layer, layers)))


# Three layers each, of which two are the same ones for every image of a platform.
PLATFORMS = ("amd64", "arm64", "arm/v7", "arm/v6")
LAYERS = {platform: (f"base {platform}", f"middle {platform}") for platform in PLATFORMS}
CONTENT = {
    (name, platform): variant(name, platform, (*LAYERS[platform], f"{name} {platform}"))
    for name in (APP, OTHER, "old")
    for platform in PLATFORMS
}
CONTENTS = {content.manifest: content for content in CONTENT.values()}


def offer(name: str, platforms: Iterable[str] = PLATFORMS) -> Offer:
    """An image with these variants."""
    reference = parse_reference(name)
    manifests = {platform: CONTENT[name, platform].manifest for platform in platforms}
    candidates = tuple(
        Candidate(parse(platform), Descriptor(OCI_MANIFEST, manifest, 1), reference, "index")
        for platform, manifest in manifests.items()
    )
    return Offer(reference, candidates, dict.fromkeys(manifests.values(), digest("index", name)))


OFFERS = {APP: offer(APP), OTHER: offer(OTHER)}


def held(
    content: Content, *names: str, kind: EngineKind = "docker", pointed: Digest | None = None
) -> tuple[EngineImage, tuple[Digest, ...]]:
    """An image as that engine tells of it, and the blobs that it has."""
    blobs = (content.manifest, content.config, *(one.digest for one in content.layers))
    diff_ids = tuple(one.diff_id for one in content.layers)
    told = (pointed or content.manifest,)
    if kind in ("docker", "podman"):
        return EngineImage(names, content.config, () if kind == "docker" else told, diff_ids), ()
    return EngineImage(names, digests=told), blobs


def engine(kind: EngineKind = "docker", *images: tuple[EngineImage, tuple[Digest, ...]], **more: Any) -> Engine:
    """An engine that has these images, as `held` gives them."""
    blobs = tuple(blob for _, blobs in images for blob in blobs)
    return Engine(kind, images=tuple(image for image, _ in images), blobs=blobs, **{"free": 1000 * MB, **more})


def facts(device: str = "pi-3", *engines: Engine, name: str = "pi") -> DeviceFacts:
    """A device that is known by name."""
    return DeviceFacts(name, named(device), engines or (engine(),))


def planned(
    given: DeviceFacts | FactsFault,
    *images: str,
    offers: dict[str, Offer] = OFFERS,
    settings: PlanSettings = PlanSettings(),  # noqa: B008
    **wish: Any,
) -> DevicePlan:
    """The plan of one device."""
    name = given.device if isinstance(given, FactsFault) else given.name
    return make_plan([(Wish(name, images or (APP,), **wish), given)], offers, CONTENTS, settings).devices[0]
