"""What each device would get, as tables: devices, engines and what they have at hand, images and settings."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from polyarch.fleet.facts import DeviceFacts, Engine, EngineImage, EngineKind
from polyarch.fleet.offers import Layer, Offer, content_of
from polyarch.fleet.plan import make_plan, needed, targets
from polyarch.fleet.planned import PlanSettings, Wish
from polyarch.fleet.reasons import FactsFault, ReasonCode
from polyarch.fleet.rollout_failure import plan_failure
from polyarch.oci.config import parse_config
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Manifest, parse_document
from polyarch.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP
from polyarch.reference import parse_reference
from polyarch_platforms.device import Emulation
from polyarch_platforms.platform import Platform, parse
from support.fleet_plans import (
    APP,
    CONFIG,
    CONTENT,
    CONTENTS,
    LAYERS,
    MB,
    OFFERS,
    OTHER,
    PLATFORMS,
    digest,
    engine,
    facts,
    held,
    layer,
    offer,
    planned,
    variant,
)


def test_a_device_without_anything() -> None:
    device = planned(facts())
    assert (device.platform, device.match, device.engine, device.verdict) == (
        "linux/arm64",
        "exact",
        "docker",
        "will-pull",
    )
    assert device.reason == f"{APP} is missing"
    assert (device.disk_free, device.disk_needed) == (1000 * MB, CONFIG + 9 * MB)
    (image,) = device.images
    assert image.manifest == CONTENT[APP, "arm64"].manifest
    assert image.digest == digest("index", APP)
    assert (image.repository, image.platform, image.match) == ("docker.io/library/app", "linux/arm64", "exact")
    assert (image.missing_bytes, image.present, image.reason) == (CONFIG + 3 * MB, False, None)
    assert device.missing_bytes == CONFIG + 3 * MB


ARM64 = CONTENT[APP, "arm64"]
OLD = CONTENT["old", "arm64"]


@pytest.mark.parametrize("kind", ["docker", "podman", "containerd", "oci"])
def test_what_is_at_hand_need_not_come(kind: EngineKind) -> None:
    cases: list[tuple[str, tuple[tuple[EngineImage, tuple[Digest, ...]], ...], str, int]] = [
        ("the same", (held(ARM64, APP, kind=kind),), "ready", 0),
        ("under another name", (held(ARM64, OTHER, kind=kind),), "will-pull", 0),
        ("without a name", (held(ARM64, kind=kind),), "will-pull", 0),
        ("another version", (held(OLD, APP, kind=kind),), "will-pull", CONFIG + MB),
        ("another image", (held(CONTENT[OTHER, "arm64"], OTHER, kind=kind),), "will-pull", CONFIG + MB),
        ("another platform", (held(CONTENT[APP, "amd64"], APP, kind=kind),), "will-pull", CONFIG + 3 * MB),
    ]
    for what, images, verdict, missing in cases:
        device = planned(facts("pi-3", engine(kind, *images)))
        assert (device.verdict, device.missing_bytes) == (verdict, missing), what
        assert device.images[0].present is (verdict == "ready"), what


def test_another_version_under_the_name_is_told() -> None:
    assert planned(facts("pi-3", engine("docker", held(OLD, APP)))).reason == f"{APP} at hand is another"


@pytest.mark.parametrize(("kind", "missing"), [("docker", 3 * MB), ("podman", 2 * MB), ("containerd", 2 * MB)])
def test_docker_takes_a_layer_only_on_the_same_layers_below(kind: EngineKind, missing: int) -> None:
    """The middle layer is at hand, but not on this base: docker knows it by its chain ID."""
    other = variant("stranger", "arm64", ("another base", LAYERS["arm64"][1]))
    device = planned(facts("pi-3", engine(kind, held(other, "docker.io/library/stranger:1", kind=kind))))
    assert device.missing_bytes == CONFIG + missing


@pytest.mark.parametrize("kind", ["containerd", "oci"])
def test_an_index_under_the_name_counts_for_the_variants_that_are_there(kind: EngineKind) -> None:
    index = digest("index", APP)
    assert planned(facts("pi-3", engine(kind, held(ARM64, APP, kind=kind, pointed=index)))).verdict == "ready"
    other = held(CONTENT[APP, "amd64"], APP, kind=kind, pointed=index)
    assert planned(facts("pi-3", engine(kind, other))).verdict == "will-pull"


def test_a_layout_that_lacks_a_layer_is_not_whole() -> None:
    image, blobs = held(ARM64, APP, kind="oci")
    device = planned(facts("pi-3", engine("oci", (image, blobs[:-1]))))
    assert (device.verdict, device.missing_bytes) == ("will-pull", MB)


def test_docker_with_images_in_containerd() -> None:
    """An image's ID is then the digest of its index: its layers tell which variant it is."""
    diff_ids = tuple(one.diff_id for one in ARM64.layers)
    index = digest("index", APP)

    def at_hand(*layers: str, pointed: Digest) -> Engine:
        return engine("docker", (EngineImage((APP,), "", (pointed,), layers), ()), by_digest=True)

    assert planned(facts("pi-3", at_hand(*diff_ids, pointed=index))).verdict == "ready"
    assert planned(facts("pi-3", at_hand(*diff_ids[:2], pointed=index))).missing_bytes == CONFIG + MB
    assert planned(facts("pi-3", at_hand(*diff_ids, pointed=ARM64.manifest))).verdict == "ready"
    assert planned(facts("pi-3", at_hand(pointed=digest("older index")))).missing_bytes == CONFIG + 3 * MB


def test_a_layer_of_two_images_travels_once() -> None:
    device = planned(facts(), APP, OTHER)
    assert [image.missing_bytes for image in device.images] == [CONFIG + 3 * MB, CONFIG + MB]
    assert device.reason == f"{APP}, {OTHER} are missing"
    plan = make_plan(
        [(Wish(name, (APP, OTHER)), facts(name=name)) for name in ("a", "b")], OFFERS, CONTENTS, PlanSettings()
    )
    assert plan.summary.origin_bytes == 2 * CONFIG + 4 * MB
    assert plan.summary.transfer_bytes == 2 * plan.summary.origin_bytes
    held_here = frozenset({layer(LAYERS["arm64"][0]).digest})
    again = make_plan([(Wish("a", (APP,)), facts())], OFFERS, CONTENTS, PlanSettings(held=held_here))
    assert again.summary.origin_bytes == CONFIG + 2 * MB


@pytest.mark.parametrize(
    ("device", "platforms", "platform", "match", "reason"),
    [
        ("pi-zero", PLATFORMS, "linux/arm/v6", "exact", None),
        ("pi-3-32bit", PLATFORMS, "linux/arm/v7", "exact", None),
        (
            "pi-3",
            ("amd64", "arm/v6", "arm/v7"),
            "linux/arm/v7",
            "compatible",
            "runs natively on linux/arm64, best of 3",
        ),
        ("pi-3", ("arm/v6",), "linux/arm/v6", "compatible", "runs natively on linux/arm64"),
        ("x86-64-v3", PLATFORMS, "linux/amd64", "exact", None),
    ],
)
def test_which_variant(device: str, platforms: tuple[str, ...], platform: str, match: str, reason: str | None) -> None:
    line = planned(facts(device), offers={APP: offer(APP, platforms)})
    (image,) = line.images
    assert (image.platform, image.match, image.reason, line.match) == (platform, match, reason, match)


def test_a_device_that_no_variant_is_for_is_told_and_costs_nothing() -> None:
    offers = {APP: offer(APP, ("amd64",))}
    plan = make_plan([(Wish("pi", (APP,)), facts("pi-zero"))], offers, CONTENTS, PlanSettings())
    (device,) = plan.devices
    assert (device.verdict, device.reason_code, device.missing_bytes) == ("cannot", "no-variant", 0)
    assert device.reason == "app:1: no variant can run on linux/arm/v6 (variants: linux/amd64)"
    assert (plan.summary.origin_bytes, plan.summary.transfer_bytes) == (0, 0)
    assert plan.summary.platforms == {"linux/arm/v6": {"ready": 0, "will-pull": 0, "cannot": 1}}


def test_an_image_that_cannot_be_keeps_no_other_away() -> None:
    """And where the others are there, nothing is left to be done; a check of all would be of no use."""
    offers = {APP: offer(APP, ("amd64",)), OTHER: offer(OTHER)}
    why = "app:1: no variant can run on linux/arm/v6 (variants: linux/amd64)"
    for check in (False, True):
        settings = PlanSettings(check=check)
        plan = make_plan([(Wish("pi", (APP, OTHER)), facts("pi-zero"))], offers, CONTENTS, settings)
        (device,) = plan.devices
        assert (device.verdict, device.reason_code) == ("will-pull", "no-variant")
        assert device.reason == f"{OTHER} is missing; without {APP}: {why}"
        assert [image.reason_code for image in device.images] == ["no-variant", None]
        coming = CONFIG + 3 * MB
        assert (device.missing_bytes, plan.summary.origin_bytes, plan.summary.transfer_bytes) == (coming,) * 3
        assert plan_failure(plan) is not None
        has_other = facts("pi-zero", engine("docker", held(CONTENT[OTHER, "arm/v6"], OTHER)))
        (device,) = make_plan([(Wish("pi", (APP, OTHER)), has_other)], offers, CONTENTS, settings).devices
        assert (device.verdict, device.reason_code, device.reason) == ("cannot", "no-variant", why)


def test_emulation_only_where_the_device_has_it_and_it_is_allowed() -> None:
    offers = {APP: offer(APP, ("arm64",))}
    plain = facts("x86-64-v3")
    emulation = Emulation(parse("arm64"), "/usr/bin/qemu-aarch64", "registered")
    emulating = replace(plain, device=replace(plain.device, emulated=(emulation,)))
    assert planned(plain, offers=offers).reason_code == "no-variant"
    assert planned(emulating, offers=offers, settings=PlanSettings("never")).reason_code == "no-variant"
    device = planned(emulating, offers=offers)
    assert (device.match, device.images[0].emulator) == ("emulated", "/usr/bin/qemu-aarch64")
    assert device.images[0].reason == "no variant runs natively; linux/arm64 runs by /usr/bin/qemu-aarch64"


def test_a_variant_that_only_its_programs_prove_is_marked() -> None:
    unlabelled = replace(offer(APP, ("arm/v6",)).candidates[0], platform=Platform("linux", "arm"))
    device = planned(facts("pi-zero"), offers={APP: Offer(parse_reference(APP), (unlabelled,))})
    assert device.images[0].unproven
    assert "only its programs" in (device.images[0].reason or "")
    assert device.images[0].digest == unlabelled.manifest.digest


def test_a_variant_of_another_repository_is_named() -> None:
    candidate = offer(APP, ("arm64",)).candidates[0]
    found = replace(candidate, reference=parse_reference("arm64v8/app:1"), source="tag")
    device = planned(facts(), offers={APP: Offer(parse_reference(APP), (found,))})
    assert device.images[0].repository == "docker.io/arm64v8/app"


@pytest.mark.parametrize(
    ("settings", "wish", "override", "platform"),
    [
        (PlanSettings(), None, None, "linux/arm64"),
        (PlanSettings(), parse("arm/v6"), "linux/arm/v6", "linux/arm/v6"),
        (PlanSettings(platform=parse("arm/v7")), parse("arm/v6"), "linux/arm/v7", "linux/arm/v7"),
    ],
)
def test_an_override_is_shown(
    settings: PlanSettings, wish: Platform | None, override: str | None, platform: str
) -> None:
    device = planned(facts(), settings=settings, platform=wish)
    assert (device.platform, device.override, device.images[0].platform) == ("linux/arm64", override, platform)


REFUSED = Engine("docker", refused="permission denied")


@pytest.mark.parametrize(
    ("engines", "asked", "engine_name", "reason"),
    [
        ((REFUSED,), None, "docker", "docker cannot be used: permission denied"),
        ((REFUSED, engine("podman")), None, "podman", ""),
        ((REFUSED, engine("podman")), "docker", "docker", "docker cannot be used: permission denied"),
        ((engine("docker"),), "podman", None, "podman is asked for, and the device does not have it"),
        ((Engine("oci", in_use=False),), None, None, "no engine was found"),
        ((Engine("oci", in_use=False),), "oci", "oci", ""),
    ],
)
def test_which_engine(
    engines: tuple[Engine, ...], asked: EngineKind | None, engine_name: str | None, reason: str
) -> None:
    for settings, wish in ((PlanSettings(engine=asked), None), (PlanSettings(), asked)):
        device = planned(facts("pi-3", *engines), settings=settings, engine=wish)
        assert device.engine == engine_name
        assert (device.verdict, device.reason_code) == (("cannot", "no-engine") if reason else ("will-pull", None))
        assert device.reason.startswith(reason)


@pytest.mark.parametrize(
    ("kind", "free", "code"),
    [
        ("docker", CONFIG + 9 * MB, None),
        ("docker", CONFIG + 9 * MB - 1, "no-space"),
        ("oci", CONFIG + 3 * MB, None),
        ("oci", CONFIG + 3 * MB - 1, "no-space"),
        ("podman", None, None),
    ],
)
def test_the_disk(kind: EngineKind, free: int | None, code: str | None) -> None:
    device = planned(facts("pi-3", engine(kind, free=free, place="/var/lib/images")))
    assert device.reason_code == code
    assert device.verdict == ("cannot" if code else "will-pull")
    if code:
        assert device.reason.endswith("MB are free in /var/lib/images")
        assert device.missing_bytes == 0


def test_a_full_disk_does_not_matter_where_all_is_at_hand() -> None:
    assert planned(facts("pi-3", engine("docker", held(ARM64, APP), free=0))).verdict == "ready"


def test_a_device_without_facts_and_a_name_that_could_not_be_resolved() -> None:
    fault = FactsFault("pi", "offline", "no route to host")
    device = planned(fault)
    assert (device.verdict, device.reason_code, device.reason) == ("cannot", "offline", "no route to host")
    assert (device.platform, device.images) == (None, ())
    offers = {APP: Offer(parse_reference(APP), fault=("unauthorized", "credentials are missing"))}
    device = planned(facts(), offers=offers)
    assert (device.verdict, device.reason_code, device.reason) == ("cannot", "unauthorized", "credentials are missing")


def test_nothing_asked_for() -> None:
    plan = make_plan([(Wish("pi", ()), facts())], OFFERS, CONTENTS, PlanSettings())
    assert (plan.devices[0].verdict, plan.devices[0].reason) == ("ready", "no image is asked for")


def test_selection_is_once_a_kind_of_devices_and_tells_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    from polyarch.fleet import plan as module

    chosen = []
    monkeypatch.setattr(module, "select", lambda *words, real=module.select: chosen.append(words) or real(*words))
    asked = [(Wish(f"d{i}", (APP, OTHER)), facts(kind)) for i in range(30) for kind in ("pi-3", "pi-zero")]
    variants = needed([*asked, (Wish("x", (APP,)), FactsFault("x", "offline", "gone"))], OFFERS, PlanSettings())
    assert len(chosen) == 4
    assert {one.manifest.digest for one in variants} == {
        CONTENT[name, platform].manifest for name in (APP, OTHER) for platform in ("arm64", "arm/v6")
    }
    contents = {one.manifest.digest: CONTENTS[one.manifest.digest] for one in variants}
    assert len(make_plan(asked, OFFERS, contents, PlanSettings()).devices) == 60


def test_the_content_of_a_manifest() -> None:
    def manifest(*layers: tuple[str, int]) -> Manifest:
        listed = [Descriptor(kind, digest("layer", i), size).to_json() for i, (kind, size) in enumerate(layers)]
        config = Descriptor(OCI_CONFIG, digest("config"), 7).to_json()
        document = parse_document(json.dumps({"schemaVersion": 2, "config": config, "layers": listed}).encode())
        assert isinstance(document, Manifest)
        return document

    diff_ids = [digest("diff", 0), digest("diff", 1)]
    config = parse_config(
        json.dumps({"os": "linux", "architecture": "arm64", "rootfs": {"diff_ids": diff_ids}}).encode()
    )
    content = content_of(manifest((OCI_LAYER_GZIP, 100), (OCI_LAYER, 100)), config)
    assert (content.config, content.config_size) == (digest("config"), 7)
    assert content.layers == (
        Layer(digest("layer", 0), 100, diff_ids[0], 250),
        Layer(digest("layer", 1), 100, diff_ids[1], 100),
    )
    assert [one.diff_id for one in content_of(manifest((OCI_LAYER_GZIP, 1)), config).layers] == [""]


def test_a_variant_that_cannot_be_had_is_a_matter_of_those_who_want_it() -> None:
    fault: tuple[ReasonCode, str] = ("integrity", "app:1 is mislabelled: \x1b[2J")
    offers = {APP: replace(offer(APP), faults={ARM64.manifest: fault})}
    fleet = [(Wish(name, (APP,)), facts(name, name=name)) for name in ("pi-3", "x86-64-v3")]
    assert [one.platform for one in needed(fleet, offers, PlanSettings())] == [parse("amd64")]
    refused, other = make_plan(fleet, offers, CONTENTS, PlanSettings()).devices
    assert (refused.verdict, refused.reason_code) == ("cannot", "integrity")
    assert refused.reason == "app:1 is mislabelled: \\x1b[2J"
    assert other.verdict == "will-pull"


@pytest.mark.parametrize(
    ("device", "largest", "code"),
    [("pi-5", 4096, "no-variant"), ("pi-5", 16384, None), ("pi-5", None, None), ("pi-4", 4096, None)],
)
def test_programs_that_large_pages_cannot_load_are_told(device: str, largest: int | None, code: str | None) -> None:
    known = facts(device)
    sizes = {} if largest is None else {ARM64.manifest: largest}
    line = planned(known, offers={APP: replace(offer(APP), page_sizes=sizes)})
    assert line.reason_code == code, known.device.page_size
    if code:
        assert line.reason == (
            "the programs of its variant for linux/arm64 are aligned to 4K, and the device's pages are 16K"
        )


def test_what_a_device_has_comes_from_the_origin_all_the_same() -> None:
    """To this machine a variant comes as a whole, as it is proven here."""
    base = EngineImage(("old:1",), digest("old"), (), (ARM64.layers[0].diff_id,))
    plan = make_plan(
        [(Wish("a", (APP,)), facts("pi-3", engine("docker", (base, ()))))], OFFERS, CONTENTS, PlanSettings()
    )
    assert (plan.summary.origin_bytes, plan.summary.transfer_bytes) == (CONFIG + 3 * MB, CONFIG + 2 * MB)


def test_the_kinds_of_devices_that_an_image_is_wanted_for() -> None:
    fleet: list[tuple[Wish, DeviceFacts | FactsFault]] = [
        (Wish("a", (APP, OTHER)), facts("pi-3", name="a")),
        (Wish("b", (APP,)), facts("pi-3", name="b")),
        (Wish("c", (APP,)), facts("pi-zero", name="c")),
        (Wish("d", ("docker.io/library/gone:1",)), FactsFault("d", "offline", "no route")),
    ]
    found = targets(fleet, PlanSettings())
    assert {name: [target.name for target in kinds] for name, kinds in found.items()} == {
        APP: ["linux/arm64", "linux/arm/v6"],
        OTHER: ["linux/arm64"],
        "docker.io/library/gone:1": [],
    }


BY_DIGEST = f"docker.io/library/app@{digest('index', APP)}"


@pytest.mark.parametrize(
    ("kind", "name", "good"),
    [
        ("docker", BY_DIGEST, False),
        ("podman", BY_DIGEST, False),
        ("containerd", BY_DIGEST, True),
        ("oci", BY_DIGEST, True),
        ("docker", BY_DIGEST.replace("@", ":1@"), True),
    ],
)
def test_a_name_that_an_engine_cannot_give_is_told(kind: EngineKind, name: str, good: bool) -> None:
    offers = {name: replace(offer(APP), reference=parse_reference(name))}
    device = planned(facts("pi-3", engine(kind)), name, offers=offers)
    (image,) = device.images
    assert (device.verdict, device.reason_code) == (("will-pull", None) if good else ("cannot", "no-engine"))
    assert good or (image.reason == device.reason and device.missing_bytes == image.missing_bytes == 0)
    assert good or "name a tag, too: docker.io/library/app:TAG@sha256" in device.reason


@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_what_is_there_by_digest_needs_no_name(kind: EngineKind) -> None:
    """Who pulled it there by hand has it under that one."""
    offers = {BY_DIGEST: replace(offer(APP), reference=parse_reference(BY_DIGEST))}
    device = planned(facts("pi-3", engine(kind, held(ARM64, BY_DIGEST, kind=kind))), BY_DIGEST, offers=offers)
    assert (device.verdict, device.images[0].reason_code) == ("ready", None)


@pytest.mark.parametrize("kind", ["docker", "podman", "containerd", "oci"])
@pytest.mark.parametrize(("count", "good"), [(200, True), (1200, False)])
def test_more_images_than_a_command_line_holds_are_told(kind: EngineKind, count: int, good: bool) -> None:
    """A word of it has at most 128 KiB, and the shell's script is one (execve(2))."""
    names = [f"docker.io/library/{'app' * 10}{number}:1" for number in range(count)]
    offers = {name: replace(offer(APP), reference=parse_reference(name)) for name in names}
    device = planned(facts("pi-3", engine(kind)), *names, offers=offers)
    assert (device.verdict, device.reason_code) == (("will-pull", None) if good else ("cannot", "no-engine"))
    assert good or "1200 images are more than" in device.reason
    had = [held(ARM64, name, kind=kind) for name in names]
    assert planned(facts("pi-3", engine(kind, *had)), *names, offers=offers).verdict == "ready"


@pytest.mark.parametrize(
    ("forwarding", "settings", "code"),
    [
        (False, PlanSettings(transport="tunnel"), "no-forwarding"),
        (False, PlanSettings(sends_input=False), "no-forwarding"),
        (False, PlanSettings(), None),
        (True, PlanSettings(transport="tunnel"), None),
    ],
)
def test_what_no_way_leads_to_cannot_be_served(
    forwarding: bool, settings: PlanSettings, code: ReasonCode | None
) -> None:
    known = replace(facts("pi-3", engine("docker")), forwarding=forwarding)
    (device,) = make_plan([(Wish("pi", (APP,)), known)], OFFERS, CONTENTS, settings).devices
    assert (device.verdict, device.reason_code) == ("cannot" if code else "will-pull", code)
