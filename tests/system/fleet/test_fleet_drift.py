"""Devices that are not as they should be, tags that moved, and plans that are done later, over real devices."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.fleet_site import ABLE, FleetSite, at_hand, by_device, inventory, remove_image, rollouts

pytestmark = pytest.mark.system


def test_what_was_changed_by_hand_is_shown_and_mended(fleet_site: FleetSite, polyarch: Polyarch, soak: bool) -> None:
    """On one device another image under a name, and none under another. In `make soak` among all that can be served."""
    site = fleet_site
    device, kinds = site.lab.device("docker"), () if soak else ("amd64",)
    changed, removed = (
        site.push(f"fleet/drift-{n}:1", "as it should be", parts=["drift"], architectures=kinds) for n in (1, 2)
    )
    words = ("--format", "json", "--limit", ABLE if soak else "docker", changed.name, removed.name)
    polyarch(*site.fleet("pull", *words)).ok()
    device.ok(f"cd /etc && tar -c hostname | docker import - {changed.name}")
    other = at_hand(device, changed.name)
    assert other not in (None, changed.digest_on(device))
    remove_image(device, removed.name)

    status = polyarch(*site.fleet("status", *words))
    assert status.code == 10, status.stdout + status.stderr
    states = {name: line["images"] for name, line in by_device(status.json_lines).items()}
    first, second = states.pop("docker")
    assert first == {
        "reference": changed.name,
        "status": "changed",
        "has": other,
        "should": changed.digest_on(device),
        "platform": "linux/amd64",
        "reason": None,
    }
    assert (second["reference"], second["status"], second["has"]) == (removed.name, "missing", None)
    assert {image["status"] for images in states.values() for image in images} == ({"as-planned"} if soak else set())

    mended = by_device(polyarch(*site.fleet("pull", *words)).ok().json_lines)
    assert {name for name, line in mended.items() if line["status"] == "pulled"} == {"docker"}
    for image in (changed, removed):
        for one in (device, *map(site.lab.device, states)):
            assert at_hand(one, image.name) == image.digest_on(one)
    if soak:
        polyarch(*site.fleet("status", *words)).ok()


def test_a_lock_holds_and_a_moved_tag_is_refused(
    fleet_site: FleetSite, polyarch: Polyarch, soak: bool, tmp_path: Path
) -> None:
    site, lock = fleet_site, tmp_path / "polyarch.lock"
    device = site.lab.device("docker")
    kinds = () if soak else ("amd64",)
    image = site.push("fleet/locked:1", "locked", parts=["locked"], architectures=kinds)
    polyarch("lock", "--file", lock, image.name).ok()
    # In the sample no device is needed: none is touched.
    words = (
        ("--format", "json", "--limit", "docker", "--locked", lock) if soak else ("--format", "json", "--locked", lock)
    )
    fleet = site.fleet if soak else here
    if soak:
        lines = by_device(polyarch(*site.fleet("pull", *words)).ok().json_lines)
        assert lines["docker"]["images"][0]["manifest"] == image.on(device).manifest
        assert at_hand(device, image.name) == image.digest_on(device)

    moved = site.push("fleet/locked:1", "moved", parts=["locked"], architectures=kinds)
    before, witness = rollouts(polyarch), site.witness()
    for verb in ("pull", "status") if soak else ("pull",):
        refused = polyarch(*fleet(verb, *words))
        assert refused.code == 7
        (error,) = (line["error"] for line in refused.json_lines if "error" in line)
        assert error["code"] == "integrity"
        assert image.name in error["message"]
        assert "polyarch lock --update" in error["hint"]
        assert refused.stderr.splitlines()[-2:] == [f"error: {error['message']}", f"hint: {error['hint']}"]
    assert rollouts(polyarch) == before
    assert witness.blobs() == []
    if soak:
        assert at_hand(device, image.name) == image.digest_on(device)
        polyarch("lock", "--file", lock, "--update").ok()
        polyarch(*site.fleet("pull", *words)).ok()
        assert at_hand(device, image.name) == moved.digest_on(device)


def here(verb: str, *words: str | Path) -> list[str | Path]:
    """The words of a fleet's command over this machine, as if it had an OCI layout."""
    return ["fleet", verb, "-i", "local:", "--into", "oci", *words]


@pytest.mark.costly
def test_a_plan_is_done_as_it_was_made(fleet_site: FleetSite, polyarch: Polyarch, tmp_path: Path) -> None:
    """Though a tag moved meanwhile; and what fits no more has its reason: an image that is gone, another device."""
    site, plan = fleet_site, tmp_path / "plan.jsonl"
    docker, podman, board = (site.lab.device(name) for name in ("docker", "no-forwarding", "pi-zero"))
    moves = site.push("fleet/plan-moves:1", "planned", parts=["planned"])
    goes = site.push("fleet/plan-goes:1", "goes", parts=["goes"])
    listed = {
        "steady": (docker, {"polyarch_images": [moves.name]}),
        "late": (podman, {"polyarch_images": [goes.name]}),
        "another": (docker, {"polyarch_images": [moves.name], "polyarch_engine": "oci"}),
    }
    words = ("-i", inventory(site, tmp_path / "first.json", listed), "--format", "json")
    planned = polyarch("fleet", "plan", *words).ok()
    plan.write_text(planned.stdout)
    assert {line["verdict"] for line in by_device(planned.json_lines).values()} == {"will-pull"}

    later = site.push("fleet/plan-moves:1", "moved", parts=["planned"])
    assert later.name == moves.name
    delete_manifest(site.registry, "fleet/plan-goes", goes.on(podman).manifest)
    listed["another"] = (board, {"polyarch_images": [moves.name], "polyarch_engine": "oci"})
    words = ("-i", inventory(site, tmp_path / "second.json", listed), "--format", "json")
    done = polyarch("fleet", "pull", *words, "--plan", plan)
    assert done.code == 10, done.stdout + done.stderr
    lines = by_device(done.json_lines)
    assert reasons(lines) == {"steady": None, "late": "not-found", "another": "no-variant"}
    assert "no longer fits the registry" in lines["late"]["error"]
    assert lines["steady"]["images"][0]["manifest"] == moves.on(docker).manifest
    assert at_hand(docker, moves.name) == moves.digest_on(docker)
    assert at_hand(podman, goes.name) is None
    assert at_hand(board, moves.name) is None


def reasons(lines: dict[str, dict[str, Any]]) -> dict[str, str | None]:
    """The reason code of each device, None for those that have what they should."""
    for name, line in lines.items():
        assert (line["reason_code"] is None) == (line["status"] in ("pulled", "up-to-date")), name
    return {name: line["reason_code"] for name, line in lines.items()}


def delete_manifest(registry: DockerRegistry, repository: str, digest: str) -> None:
    """OCI distribution-spec 1.1, "Deleting Manifests"."""
    connection = HTTPConnection(registry.address, timeout=10)
    connection.request("DELETE", f"/v2/{repository}/manifests/{digest}")
    answer = connection.getresponse()
    assert answer.status == 202, json.loads(answer.read())
    connection.close()
