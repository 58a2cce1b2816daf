"""How devices stand against what they should have: each state, for each way in which engines know images."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from polyarch.fleet.facts import DeviceFacts, Engine, EngineImage, EngineKind
from polyarch.fleet.plan import make_plan
from polyarch.fleet.planned import PlanSettings, Wish
from polyarch.fleet.reasons import FactsFault
from polyarch.verbs.fleet.status import DeviceState, state_of
from support.fleet_plans import APP, CONTENT, CONTENTS, OFFERS, OTHER, digest, engine, facts, held, offer

ARM64, OLD = CONTENT[APP, "arm64"], CONTENT["old", "arm64"]
GONE = FactsFault("pi", "offline", "no route")


def state(
    known: DeviceFacts | None, *names: str, fault: FactsFault | None = None, wish: EngineKind | None = None
) -> DeviceState:
    """How a device stands at 1000."""
    names = names or (APP,)
    asked = known or fault
    assert asked is not None
    plan = make_plan([(Wish("pi", names, wish), asked)], OFFERS, CONTENTS, PlanSettings())
    return state_of(plan.devices[0], known, fault, CONTENTS, names, 1000.0)


def of(*engines: Engine) -> DeviceFacts:
    found = facts("pi-3", *engines)
    return DeviceFacts(found.name, found.device, found.engines, 2, 940.0, False)


@pytest.mark.parametrize("kind", ["docker", "podman"])
def test_engines_that_know_images_by_their_config(kind: EngineKind) -> None:
    (image,) = state(of(engine(kind, held(ARM64, APP, kind=kind)))).images
    assert (image.state, image.has, image.should) == ("as-planned", ARM64.config, ARM64.config)
    (image,) = state(of(engine(kind, held(OLD, APP, kind=kind)))).images
    assert (image.state, image.has, image.should) == ("changed", OLD.config, ARM64.config)
    assert image.words == f"changed (has {OLD.config[7:19]}, should {ARM64.config[7:19]})"
    (image,) = state(of(engine(kind, held(ARM64, OTHER, kind=kind)))).images
    assert (image.state, image.has, image.should, image.words) == ("missing", None, ARM64.config, "missing")


@pytest.mark.parametrize("kind", ["containerd", "oci"])
def test_engines_that_know_images_by_their_manifest(kind: EngineKind) -> None:
    (image,) = state(of(engine(kind, held(ARM64, APP, kind=kind)))).images
    assert (image.state, image.has, image.should) == ("as-planned", ARM64.manifest, ARM64.manifest)
    (image,) = state(of(engine(kind, held(OLD, APP, kind=kind)))).images
    assert (image.state, image.has, image.should) == ("changed", OLD.manifest, ARM64.manifest)


def test_docker_with_images_in_containerd() -> None:
    old = EngineImage((APP,), "", (OLD.manifest,), tuple(one.diff_id for one in OLD.layers))
    (image,) = state(of(engine("docker", (old, ()), by_digest=True))).images
    assert (image.state, image.has, image.should) == ("changed", OLD.manifest, ARM64.manifest)


def test_what_is_not_known_is_said() -> None:
    """An engine that does not tell all; one that refuses; an image that cannot be for the device; a silent device."""
    (image,) = state(of(engine(complete=False))).images
    assert image.words == "unknown: docker did not tell all its images"
    found = state(of(engine(refused="permission denied")))
    assert [one.words for one in found.images] == ["unknown: no engine that can be used was found"]
    offers = {APP: offer(APP, ("amd64",))}
    plan = make_plan([(Wish("pi", (APP,)), of(engine()))], offers, CONTENTS, PlanSettings())
    (image,) = state_of(plan.devices[0], of(engine()), None, CONTENTS, (APP,), 1000.0).images
    assert (image.state, image.reason) == (
        "unknown",
        "app:1: no variant can run on linux/arm64 (variants: linux/amd64)",
    )
    silent = state(None, APP, OTHER, fault=GONE)
    assert [(one.reference, one.words) for one in silent.images] == [
        (APP, "unknown: no route"),
        (OTHER, "unknown: no route"),
    ]
    assert not silent.good


def test_a_silent_device_stands_as_it_was_last_seen() -> None:
    found = state(of(engine("docker", held(ARM64, APP))), fault=GONE)
    assert [one.state for one in found.images] == ["as-planned"]
    assert (found.age, found.good, found.fault) == (60.0, False, GONE)


def test_of_one_that_was_brought_images_since_nobody_knows_what_it_has() -> None:
    """What it is, it is still."""
    found = state(replace(of(engine("docker", free=None)), outdated=True), fault=GONE)
    (image,) = found.images
    assert (image.state, image.should) == ("unknown", ARM64.config)
    assert image.words == "unknown: it was brought images since it said what it has"
    line = found.to_json()
    assert (line["platform"], line["engine"], line["disk_free"]) == ("linux/arm64", "docker", None)


def test_as_json() -> None:
    found = state(of(engine("docker", held(ARM64, APP), version="27.0")), APP, OTHER)
    assert not found.good
    assert state(of(engine("docker", held(ARM64, APP)))).good
    line = json.loads(json.dumps(found.to_json()))
    assert line.pop("native")[0] == "linux/arm64"
    assert line == {
        "device": "pi",
        "platform": "linux/arm64",
        "emulated": [],
        "page_size": 4096,
        "engine": "docker",
        "engine_version": "27.0",
        "disk_free": 1_000_000_000,
        "forwarding": False,
        "clock_skew": 2,
        "age": 60.0,
        "images": [
            {
                "reference": APP,
                "status": "as-planned",
                "has": ARM64.config,
                "should": ARM64.config,
                "platform": "linux/arm64",
                "reason": None,
            },
            {
                "reference": OTHER,
                "status": "missing",
                "has": None,
                "should": digest("config", OTHER, "arm64"),
                "platform": "linux/arm64",
                "reason": None,
            },
        ],
        "reason_code": None,
        "error": None,
    }
    silent = state(None, fault=GONE).to_json()
    assert (silent["platform"], silent["age"], silent["reason_code"], silent["error"]) == (
        None,
        None,
        "offline",
        "no route",
    )
