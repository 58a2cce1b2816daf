"""Plans saved and read back, and what is refused."""

from __future__ import annotations

import json

import pytest

from polyarch.errors import UsageError
from polyarch.fleet.facts import Engine
from polyarch.fleet.plan import make_plan
from polyarch.fleet.plan_json import plan_lines, read_plan
from polyarch.fleet.planned import Plan, PlanSettings, Wish
from polyarch.fleet.reasons import FactsFault
from polyarch_platforms.platform import parse
from support.fleet_plans import APP, CONTENT, CONTENTS, OFFERS, OTHER, engine, facts, held, offer

ARM64 = CONTENT[APP, "arm64"]
REFUSED = Engine("docker", refused="permission denied")


def _whole_plan() -> Plan:
    asked = [
        (Wish("pi10", (APP, OTHER)), facts("pi-3", engine("docker", held(ARM64, APP)))),
        (Wish("pi2", (APP,), platform=parse("arm/v6")), facts("pi-zero", REFUSED)),
        (Wish("pi1", (APP, OTHER)), facts("pi-3", engine("docker", held(ARM64, APP)))),
        (Wish("srv", (APP,)), facts("x86-64-v2", engine("podman", free=None))),
        (Wish("gone", (APP,)), FactsFault("gone", "offline", "no route")),
    ]
    return make_plan(asked, {**OFFERS, APP: offer(APP, ("arm64", "amd64"))}, CONTENTS, PlanSettings())


def _lines(plan: Plan) -> list[str]:
    return [json.dumps(line) + "\n" for line in plan_lines(plan)]


def test_a_plan_is_read_back_as_it_was_in_its_order() -> None:
    plan = _whole_plan()
    lines = _lines(plan)
    error = json.dumps({"error": {"code": "partial", "message": "one cannot", "hint": None, "details": {}}})
    again = read_plan([lines[0], "\n", *lines[1:-1], error, lines[-1]])
    assert again == plan
    assert _lines(again) == lines
    assert [device.device for device in again.devices] == ["pi10", "pi2", "pi1", "srv", "gone"]
    assert again.devices[0].images[1] is again.devices[2].images[1]


def test_the_keys_of_a_plan_are_the_promised_ones() -> None:
    first, *_, last = (json.loads(line) for line in _lines(_whole_plan()))
    promised = "device platform match engine images disk_free verdict reason".split()  # noqa: SIM905
    assert set(promised) <= set(first)
    assert set("reference manifest platform match missing_bytes present".split()) <= set(first["images"][0])  # noqa: SIM905
    assert set(last["summary"]) == {"devices", "platforms", "origin_bytes", "transfer_bytes"}


def _broken(line: int, *path: str | int, value: object) -> list[str]:
    lines = _lines(_whole_plan())
    document = json.loads(lines[line])
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    lines[line] = json.dumps(document)
    return lines


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "no plan"),
        (["no JSON"], "line 1: .*JSON"),
        (["[]"], "line 1"),
        (_lines(_whole_plan())[:-1], "cut"),
        (_lines(_whole_plan())[1:], "does not fit"),
        ([*_lines(_whole_plan()), "{}"], "line 7: nothing may follow"),
        ([*_lines(_whole_plan())[:1] * 2], "line 2: the device pi10 stands there twice"),
        (_broken(0, "device", value=3), "device"),
        (_broken(0, "verdict", value="maybe"), "verdict is 'maybe'"),
        (_broken(0, "verdict", value=None), "verdict"),
        (_broken(0, "engine", value="lxc"), "engine"),
        (_broken(0, "disk_free", value=-1), "disk_free"),
        (_broken(0, "disk_needed", value=1.5), "disk_needed"),
        (_broken(0, "reason_code", value="because"), "reason_code"),
        (_broken(0, "images", value={}), "images"),
        (_broken(0, "images", 0, "reference", value="A B"), "reference"),
        (_broken(0, "images", 0, "reference", value=["app"]), "reference"),
        (_broken(0, "images", 0, "manifest", value=None), "digest"),
        (_broken(0, "images", 0, "digest", value="sha256:0"), "digest"),
        (_broken(0, "images", 0, "repository", value="x;rm -rf"), "reference"),
        (_broken(0, "images", 0, "match", value=None), "how it runs"),
        (_broken(0, "images", 0, "missing_bytes", value=True), "missing_bytes"),
        (_broken(5, "summary", "devices", value=6), "does not fit"),
        (_broken(5, "summary", "platforms", value=[]), "platforms"),
        (_broken(0, "device", value="x" * (5 << 20)), "longer than"),
    ],
)
def test_a_broken_plan_is_refused(lines: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_plan(lines)
