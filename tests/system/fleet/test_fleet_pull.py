"""`polyarch fleet pull` over real devices: what each engine has in the end, what travelled, what is told of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support.command import Polyarch
from support.fleet_images import Witness
from support.fleet_lab import Device
from support.fleet_site import (
    FleetImage,
    FleetSite,
    at_hand,
    by_device,
    embedded,
    one_time_names,
    run_there,
    summary_of,
)
from support.processes import await_true

pytestmark = pytest.mark.system

UNABLE = {"down": "offline", "full": "no-space", "changed-key": "host-key"}
"""Kinds of devices that cannot be served, and the reason codes."""


def limited(devices: Sequence[Device], soak: bool) -> tuple[str, ...]:
    """The words for these devices; in `make soak` it is for all."""
    return () if soak else ("--limit", ":".join(device.name for device in devices))


def prove(devices: Sequence[Device], image: FleetImage, lines: dict[str, dict[str, Any]]) -> None:
    """Every one of them has it, by its own engine, and the native ones run it."""
    for device in devices:
        line = lines[device.name]
        assert line["status"] in ("pulled", "up-to-date"), line
        told = at_hand(device, image.name)
        assert told == image.digest_on(device), device.name
        (of_image,) = line["images"]
        assert of_image["manifest"] == image.on(device).manifest
        # What a device had before anything began is told by what it said of itself.
        assert of_image["at_hand"] == (told if line["attempts"] else None)
        assert line["engine"] == device.kind.engine
        assert one_time_names(device) == []
        # What watched over the script is in the midst of a second's sleep.
        await_true(lambda device=device: device.busy() == [], f"nothing is left on {device.name}")
        if device.kind.architecture == "amd64" and device.kind.engine != "oci":
            assert run_there(device, image.name, "cat", "/etc/image") == image.words


def test_every_device_gets_its_variant(fleet_site: FleetSite, polyarch: Polyarch, soak: bool, tmp_path: Path) -> None:
    """Each blob comes once from the origin; a second time nothing travels; then one layer is another.

    The sample leaves out a device that is emulated as another one is; later times are those of native devices.
    """
    site, page = fleet_site, tmp_path / "report.html"
    devices = [one for one in site.lab.devices if soak or one.name != "pi-4"]
    image = site.push("fleet/pull:1", "the first", parts=["kept", "changed"], size=300_000)
    unable = {name: code for name, code in UNABLE.items() if name in {one.name for one in devices}}
    everybody = [device for device in devices if device.name not in UNABLE]
    some = everybody if soak else [site.lab.device(name) for name in ("docker", "no-forwarding")]
    witness = site.witness()
    words = site.fleet("pull", "--format", "json", "--report", page, image.name)
    result = polyarch(*words, *limited(devices, soak))
    assert result.code == (10 if unable else 0), result.stdout + result.stderr
    lines = by_device(result.json_lines)
    assert set(lines) == {device.name for device in devices}
    prove(everybody, image, lines)
    for device in everybody:
        line, size = lines[device.name], image.on(device).size
        assert line["status"] == "pulled"
        assert line["transport"] == ("stream" if needs_stream(device) else "tunnel")
        assert size * 0.9 <= line["bytes"] <= size * 1.05, f"{device.name}: {line['bytes']} of {size}"
    for name, code in unable.items():
        line = lines[name]
        assert (line["status"], line["reason_code"]) == ("offline" if code == "offline" else "failed", code)
        assert (line["bytes"], line["attempts"]) == (0, 0)
        assert line["error"]
    # The origin: each blob of the variants that somebody has, once.
    assert Counter(witness.blobs()) == Counter(dict.fromkeys(wanted_blobs(everybody, image), 1))
    summary = summary_of(result.json_lines)
    assert summary["origin_bytes"] == witness.bytes()
    assert summary["bytes"] == sum(line["bytes"] for line in lines.values())
    agrees(page, lines, summary, image)

    witness = site.witness()
    again = polyarch(*words, *limited(some, soak))
    assert again.code == result.code
    lines = by_device(again.json_lines)
    prove(some, image, lines)
    for device in some:
        line = lines[device.name]
        assert (line["status"], line["bytes"], line["attempts"]) == ("up-to-date", 0, 0), line
    assert nothing_came(witness)
    summary = summary_of(again.json_lines)
    assert (summary["origin_bytes"], summary["bytes"]) == (0, 0)

    newer = site.push("fleet/pull:1", "the first", parts=["kept", "changed otherwise"], size=300_000)
    assert newer.name == image.name
    witness = site.witness()
    third = polyarch(*words, *limited(some, soak))
    assert third.code == (result.code if soak else 0)
    lines = by_device(third.json_lines)
    prove(some, newer, lines)
    had = wanted_blobs(some, image)
    assert Counter(witness.blobs()) == Counter({digest: 1 for digest in wanted_blobs(some, newer) if digest not in had})
    for device in some:
        line, lacking = lines[device.name], newer.on(device).lacking(image.on(device))
        assert line["status"] == "pulled"
        assert 300_000 <= line["bytes"] <= lacking * 1.05, f"{device.name}: {line['bytes']} of {lacking}"


def needs_stream(device: Device) -> bool:
    return not device.kind.forwards or device.kind.engine == "oci"


def wanted_blobs(devices: Sequence[Device], image: FleetImage) -> set[str]:
    """The blobs of the variants that devices have."""
    variants = [image.on(device) for device in devices]
    return {digest for one in variants for digest in (one.config, *one.layers)}


def nothing_came(witness: Witness) -> bool:
    """The origin was asked for no blob."""
    return witness.blobs() == [] and witness.bytes() == 0


def agrees(page: Path, lines: dict[str, dict[str, Any]], summary: dict[str, Any], image: FleetImage) -> None:
    """The page says of each device what its line says, and of all what the summary says."""
    report = embedded(page)
    assert set(report["devices"]) == set(lines)
    for name, row in report["devices"].items():
        line = lines[name]
        for of_row, of_line in (("status", "status"), ("bytes", "bytes"), ("code", "reason_code"), ("wave", "wave")):
            assert row[of_row] == line[of_line], name
        for number in report["stacks"][row["stack"]]:
            shown = report["images"][number]
            assert shown["reference"] == image.name
            told = {one["reference"]: one for one in line["images"]}.get(image.name)
            if told is not None:
                assert (shown["status"], shown["manifest"]) == (told["status"], told["manifest"])
                assert shown["at_hand"] == told["at_hand"]
    totals = report["totals"]
    assert (totals["bytes"], totals["origin_bytes"]) == (summary["bytes"], summary["origin_bytes"])
    assert {key: count for key, count in totals["statuses"].items() if count} == {
        key: count for key, count in summary["statuses"].items() if count
    }
