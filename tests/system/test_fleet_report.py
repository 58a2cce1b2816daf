"""The page of a rollout in a real browser, at the width of a desk and of a phone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polyarch.fleet.report import write_report
from support.browser import CHROMIUM, Browser, Page
from support.rollouts import Fate, record, rollout

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium"),
]

DESK, PHONE = 1280, 390
WIDTHS = pytest.mark.parametrize("width", [DESK, PHONE], ids=["desk", "phone"])
NAMES = "[...document.querySelectorAll('.opener')].map(e => e.textContent)"
COUNT = "document.getElementById('count').textContent"
OVERFLOW = "document.documentElement.scrollWidth - innerWidth"
HOSTILE = "</script><img src=x onerror=document.title='owned'><b id=owned>&amp;"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("chromium"))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, rollout(48))
    return path


def choose(page: Page, id: str, value: str, event: str = "change") -> None:
    """What a person does with a field."""
    page.run(
        f"(() => {{ const e = document.getElementById({id!r}); e.value = {value!r}; "
        f"e.dispatchEvent(new Event({event!r}, {{bubbles: true}})); }})()"
    )


def click(page: Page, selector: str) -> None:
    page.run(f"document.querySelector({selector!r}).click()")


@WIDTHS
def test_all_is_shown_and_nothing_complains(browser: Browser, report: Path, width: int) -> None:
    page = browser.page(report, width)
    assert page.run("document.querySelector('h1').textContent") == "34 of 48 devices have what they should"
    assert page.run("document.querySelectorAll('tr.row').length") == 48
    for place in ("statuses", "platforms", "bytes", "advice", "rows", "stops"):
        assert page.run(f"document.getElementById({place!r}).children.length") > 0
    assert page.run("document.querySelectorAll('#timeline g.one').length") == 41 - 5  # the stop rule left five alone
    assert page.run(OVERFLOW) == 0
    page.run("document.querySelectorAll('.opener').forEach(e => e.click())")
    page.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
    assert page.run(OVERFLOW) == 0
    assert page.complaints() == []
    page.close()


def test_a_violation_of_the_policy_is_a_complaint(browser: Browser, report: Path, tmp_path: Path) -> None:
    """The other tests' `complaints() == []` says something."""
    changed = tmp_path / "changed.html"
    changed.write_text(report.read_text().replace("</main>", "<img src='http://127.0.0.1:9/x' onerror='1'></main>"))
    page = browser.page(changed, DESK)
    assert any("Content Security Policy" in one for one in page.complaints())
    page.close()


def test_sorting_by_mouse_and_keyboard(browser: Browser, report: Path) -> None:
    page = browser.page(report, DESK)
    asked = "document.querySelector('[data-id=device]').getAttribute('aria-sort')"
    first = page.run(NAMES)
    assert page.run(asked) == "none"
    click(page, "[data-id=device] button")
    up = page.run(NAMES)
    assert page.run(asked) == "ascending"
    assert up != first
    assert sorted(up) == sorted(first)
    assert up.index("pi5-2") < up.index("pi5-10")
    page.run("document.querySelector('[data-id=device] button').focus()")
    page.press("Enter", 13)
    assert page.run(asked) == "descending"
    assert page.run(NAMES) == up[::-1]
    click(page, "[data-id=bytes] button")
    sizes = page.run("found.map(row => row.bytes)")
    assert sizes == sorted(sizes, reverse=True)
    page.close()


def test_sorting_on_a_phone(browser: Browser, report: Path) -> None:
    page = browser.page(report, PHONE)
    choose(page, "sort", "device")
    up = page.run(NAMES)
    click(page, "#turn")
    assert page.run(NAMES) == up[::-1]
    page.close()


@WIDTHS
def test_filters_and_search(browser: Browser, report: Path, width: int) -> None:
    page = browser.page(report, width)
    assert page.run(COUNT) == "48 devices"
    choose(page, "status", "failed")
    assert page.run(COUNT) == "6 of 48 devices"
    choose(page, "platform", "linux/arm/v6")
    assert page.run(NAMES) == ["zero-1"]
    choose(page, "wave", "3")
    assert page.run(COUNT) == "0 of 48 devices"
    assert not page.run("document.getElementById('none').hidden")
    click(page, "#reset")
    assert page.run(COUNT) == "48 devices"
    choose(page, "text", "ARM64 no route", "input")
    assert page.run(COUNT) == "3 of 48 devices"
    choose(page, "text", rollout(48).plan.devices[0].images[0].manifest[10:40], "input")  # type: ignore[index]
    assert page.run("[...new Set(found.map(row => row.platform))]") == ["linux/amd64/v3", "linux/riscv64"]
    click(page, "#advice li:first-child button")
    assert page.run(COUNT) == "5 of 48 devices"
    assert page.run("[...new Set(found.map(row => row.code))]") == ["no-space"]
    page.close()


@WIDTHS
def test_a_row_opens(browser: Browser, report: Path, width: int) -> None:
    page = browser.page(report, width)
    choose(page, "text", "device:zero-1", "input")
    page.run("document.querySelector('.opener').focus()")
    page.press("Enter", 13)
    assert page.run("document.querySelector('.opener').getAttribute('aria-expanded')") == "true"
    text = page.run(
        "document.getElementById(document.querySelector('.opener').getAttribute('aria-controls')).innerText"
    )
    (plan,) = (one for one in rollout(48).plan.devices if one.device == "zero-1")
    for image in plan.images:
        for word in (image.reference, image.manifest, image.digest):
            assert word in text
    assert "the image at hand has another config than planned" in text
    assert page.run(OVERFLOW) == 0
    page.press("Enter", 13)
    assert page.run("document.querySelectorAll('.detail').length") == 0
    page.close()


def test_dark_and_light(browser: Browser, report: Path) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light, dark = browser.page(report, DESK), browser.page(report, DESK, dark=True)
    white, black = light.run(colour), dark.run(colour)
    assert white != black
    assert light.screenshot() != dark.screenshot()
    click(light, "#theme")
    assert light.run(colour) == black
    click(dark, "#theme")
    assert dark.run(colour) == white
    light.close()
    dark.close()


CONTRAST = """
(() => {
  const numbers = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => { for (; e; e = e.parentElement) {
    const rgb = numbers(getComputedStyle(e).backgroundColor); if (rgb.length < 4 || rgb[3] > 0) return rgb; } };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    if (!e.checkVisibility() || e.closest('svg, .mark, script')) continue;
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push([e.tagName, e.className, e.textContent.slice(0, 30), a, b]);
  }
  return bad;
})()
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_contrast_and_labels(browser: Browser, report: Path, dark: bool) -> None:
    """WCAG 2.2: 1.4.3 (4.5:1), 4.1.2 (what can be used has a name)."""
    page = browser.page(report, DESK, dark=dark)
    click(page, ".opener")
    assert page.run(CONTRAST) == []
    fields = "[...document.querySelectorAll('button, select, input')]"
    assert page.run(f"{fields}.filter(e => !e.textContent.trim() && !e.labels.length).length") == 0
    page.close()


@WIDTHS
def test_hostile_words_are_words(browser: Browser, tmp_path: Path, width: int) -> None:
    (plan,) = rollout(1, stopped=False).plan.devices
    long = "x" * 300
    plans = tuple(replace(plan, device=name, platform=name) for name in (HOSTILE, long))
    fate = Fate("failed", "internal", f"{HOSTILE} {long}")
    (outcome,) = rollout(1, [fate], stopped=False).outcomes.values()
    made = record(plans, {one.device: replace(outcome, device=one.device) for one in plans})
    write_report(tmp_path / "report.html", made)
    page = browser.page(tmp_path / "report.html", width)
    assert sorted(page.run(NAMES)) == sorted([HOSTILE, long])
    page.run("document.querySelectorAll('.opener').forEach(e => e.click())")
    assert HOSTILE in page.run("document.querySelector('.detail').textContent")
    assert page.run("document.getElementById('owned')") is None
    assert page.run("document.querySelectorAll('img').length") == 0
    assert page.run("document.title").startswith("0 of 2")
    assert page.run(OVERFLOW) == 0
    assert page.complaints() == []
    page.close()


def test_ten_thousand_devices(browser: Browser, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", rollout(10_000, forks=50))
    page = browser.page(tmp_path / "report.html", DESK)
    assert page.run(COUNT) == "10,000 devices"
    assert page.run("document.querySelectorAll('tr.row').length") == 150
    choose(page, "status", "offline")
    assert page.run(COUNT) == "625 of 10,000 devices"
    drawn: Any = page.run(
        "new Promise(done => { const rows = document.getElementById('rows');"
        "new MutationObserver(() => done(rows.querySelectorAll('tr.row').length)).observe(rows, {childList: true});"
        "document.getElementById('more').scrollIntoView(); })"
    )
    assert drawn == 300
    assert page.complaints() == []
    page.close()


def test_it_prints(browser: Browser, report: Path) -> None:
    page = browser.page(report, DESK, dark=True)
    assert page.pdf().startswith(b"%PDF-")
    page.close()
