"""The page of a rollout, without a browser: what it holds, that nothing gets out of it, how it is written."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest

from polyarch.errors import StorageError, UsageError
from polyarch.fleet.reasons import ReasonCode
from polyarch.fleet.report import check_report_path, report_html, write_report
from polyarch.fleet.report_advice import ADVICE
from polyarch.fleet.report_data import headline, report_document, shown
from support.rollouts import BEGAN, Fate, record, rollout

HOSTILE = "</script><!--<script>alert(1)</script>\"'&\u2028\u2029\u202e\x1b[31m\udc80"


class _Page(HTMLParser):
    """The elements of a page with what is in each: (name, attributes, text)."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("", {}, []))

    def handle_data(self, data: str) -> None:
        if self.found:
            self.found[-1][2].append(data)

    def texts(self, tag: str) -> list[str]:
        return ["".join(texts) for name, _, texts in self.found if name == tag]


def _data(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    document: dict[str, Any] = json.loads(found[1])
    return document


def _device(document: dict[str, Any], number: int = 0) -> dict[str, Any]:
    return dict(zip(document["columns"], document["devices"][number], strict=True))


def test_totals_are_the_summary_s() -> None:
    made = rollout(96)
    totals = report_document(made)["totals"]
    assert isinstance(totals, dict)
    counts = {status: number for status, number in made.summary.statuses.items() if number}
    assert dict(totals["statuses"]) == counts
    assert totals["good"] == counts["pulled"] + counts["up-to-date"]
    assert (totals["origin_bytes"], totals["bytes"]) == (made.summary.origin_bytes, made.summary.bytes)
    platforms = {name: {s: n for s, n in counts.items() if n} for name, counts in made.summary.platforms.items()}
    assert {name: dict(counts) for name, counts in totals["platforms"].items()} == platforms


def test_what_devices_by_themselves_would_have_cost() -> None:
    """The missing bytes of those that got them; who pulled directly did cost it."""
    fates = [Fate(), Fate(transport="direct"), Fate("failed", "timeout", "too slow")]
    made = rollout(3, fates, stopped=False)
    missing = {plan.device: plan.missing_bytes for plan in made.plan.devices}
    pulled = [name for name, one in made.outcomes.items() if one.status == "pulled"]
    (direct,) = (name for name, one in made.outcomes.items() if one.status == "pulled" and one.transport == "direct")
    totals = report_document(made)["totals"]
    assert isinstance(totals, dict)
    assert len(pulled) == 2
    assert totals["alone_bytes"] == sum(missing[name] for name in pulled)
    assert totals["origin_bytes"] == made.summary.origin_bytes + missing[direct]


@pytest.mark.parametrize(
    ("fates", "count", "ended", "said"),
    [
        ([Fate()], 4, BEGAN, "All 4 devices have what they should"),
        ([Fate()], 1, BEGAN, "1 of 1 device has what it should"),
        ([Fate("offline", "offline")], 1, BEGAN, "0 of 1 device has what it should"),
        ([Fate(), Fate("failed", "timeout")], 1200, 0, "600 of 1,200 devices have what they should so far"),
    ],
    ids=["all", "one", "none", "so-far"],
)
def test_the_headline(fates: Sequence[Fate], count: int, ended: float, said: str) -> None:
    made = replace(rollout(count, fates, stopped=False), ended=ended)
    assert headline(made) == said
    page = _Page(report_html(made))
    assert page.texts("h1") == [said]
    assert page.texts("title") == [f"{said} – polyarch"]


def test_a_device_whose_turn_has_not_come_waits() -> None:
    made = rollout(8, [Fate()], stopped=False)
    left = made.plan.devices[3].device
    outcomes = {name: one for name, one in made.outcomes.items() if name != left}
    document = report_document(replace(made, outcomes=outcomes, phase="running", ended=0))
    assert _device(document, 3)["status"] == "waiting"
    assert document["totals"]["statuses"] == {"pulled": 7, "waiting": 1}  # type: ignore[index]


def test_a_device_that_cannot_get_it_says_why() -> None:
    plan = replace(
        *rollout(1, stopped=False).plan.devices, verdict="cannot", reason="its disk is full", reason_code="no-space"
    )
    outcome = replace(*rollout(1, [Fate("failed", "no-space")], stopped=False).outcomes.values(), error=None)
    document = report_document(record((plan,), {plan.device: outcome}))
    assert _device(document)["error"] == "its disk is full"
    assert document["reasons"] == [
        {"code": "no-space", "count": 1, "meaning": ADVICE["no-space"].meaning, "next": ADVICE["no-space"].next}
    ]


def test_each_reason_code_has_advice() -> None:
    assert set(ADVICE) == set(get_args(ReasonCode))


def test_equal_images_stand_there_once() -> None:
    document = report_document(rollout(1000))
    assert len(document["images"]) < 50  # type: ignore[arg-type]
    assert len(document["stacks"]) < 50  # type: ignore[arg-type]


def test_nothing_gets_out_of_the_data() -> None:
    made = rollout(2, [Fate("failed", "internal", HOSTILE)], stopped=False)
    first, second = made.plan.devices
    evil = replace(first, device=HOSTILE, platform=HOSTILE, reason=HOSTILE)
    outcomes = {
        HOSTILE: replace(made.outcomes[first.device], device=HOSTILE),
        second.device: made.outcomes[second.device],
    }
    evil_record = record((evil, second), outcomes)
    evil_record = replace(evil_record, id=HOSTILE, stops=(replace(rollout(16).stops[0], reason=HOSTILE),))
    text = report_html(evil_record)
    scripts = [attributes for name, attributes, _ in _Page(text).found if name == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    assert "alert(1)" in _device(_data(text))["device"]
    embedded = text[text.index('id="data">') : text.index("</script>")]
    assert not set(embedded[10:]) & set("<>&\u2028\u2029")
    assert embedded.isascii()
    for bad in "\u202e\x1b\u2028\udc80":
        assert bad not in json.dumps(_data(text), ensure_ascii=False)


def test_the_policy_names_the_page_s_own_script_and_style() -> None:
    text = report_html(rollout(3))
    (policy,) = (
        known["content"] for _, known, _ in _Page(text).found if known.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        body = _Page(text).texts(tag)[-1]
        hashed = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{hashed}'" in policy
    assert "unsafe" not in policy


def test_nothing_is_loaded() -> None:
    page = _Page(report_html(rollout(3)))
    assert not [name for name, known, _ in page.found if "src" in known or name in ("link", "img", "iframe")]
    assert [known["href"] for _, known, _ in page.found if "href" in known] == ["#devices"]
    (style,) = page.texts("style")
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (
            "GET http://127.0.0.1:4711/v2/polyarch/0123456789abcdef0123456789abcdef/manifests/x: EOF",
            "GET http://127.0.0.1:4711/v2/polyarch/…/manifests/x: EOF",
        ),
        ("Get https://bob:hunter2@registry.example/v2/: no", "Get https://[secret]@registry.example/v2/: no"),
        ("ssh://bob@pi:22 is gone", "ssh://bob@pi:22 is gone"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("x" * 3000, "x" * 1999 + "…"),
    ],
    ids=["path", "password", "user", "escape", "long"],
)
def test_what_is_not_for_all_eyes(said: str, seen: str) -> None:
    assert shown(said) == seen


def test_a_report_is_written_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    old = path.stat().st_ino
    write_report(path, rollout(3))
    assert path.read_text() == report_html(rollout(3))
    assert path.stat().st_ino != old
    assert path.stat().st_mode & 0o777 == 0o644
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_what_a_killed_one_left_beside_it_goes(tmp_path: Path) -> None:
    (tmp_path / ".report.html.4194999.saving").write_text("half")
    (tmp_path / f".report.html.{os.getppid()}.saving").write_text("of one that is at it")
    write_report(tmp_path / "report.html", rollout(1))
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", f".report.html.{os.getppid()}.saving"}


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target.html")
    write_report(tmp_path / "link", rollout(1))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target.html").read_text().startswith("<!DOCTYPE html>")


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError, match="cannot write the report"):
        write_report(tmp_path / "report.html", rollout(1))
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("name", ["folder", "nowhere/report.html", "folder/file/report.html", "pipe"])
def test_a_bad_path_is_told_before(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError):
        check_report_path(tmp_path / name)


def test_a_good_path_is_left_alone(tmp_path: Path) -> None:
    check_report_path(tmp_path / "report.html")
    assert os.listdir(tmp_path) == []  # noqa: PTH208
