"""What a person sees on a terminal: bars while blobs come, and tables that fit."""

from __future__ import annotations

import re

import pytest

from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.faults import slow
from support.faulty_registry import FaultyRegistry
from support.terminal import on_a_terminal

pytestmark = pytest.mark.system

BAR = re.compile(r"[0-9a-f]{12} [━╸╺ ]{5,}.*[0-9.]+/[0-9.]+ [kM]B")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def test_bars_while_blobs_come(polyarch: Polyarch, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", "/blobs/", slow(2_000_000), forever=True)
    code, text = on_a_terminal(polyarch, "pull", "--platform", "linux/s390x", faulty_registry.ref("busybox:1.36"))
    assert code == 0
    assert BAR.search(COLOUR.sub("", text))
    assert COLOUR.search(text)
    assert len(re.findall(r"[0-9a-f]{12}: Pull complete", text)) == 2
    assert "Status: Downloaded newer image" in text
    assert text.count("\x1b[?25h") >= text.count("\x1b[?25l")  # the cursor is shown again


def test_no_color(polyarch: Polyarch, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", "/blobs/", slow(2_000_000), forever=True)
    words = ["pull", "--platform", "linux/s390x", faulty_registry.ref("busybox:1.36")]
    code, text = on_a_terminal(polyarch, *words, env={"NO_COLOR": "1"})
    assert code == 0
    assert BAR.search(text)
    assert not COLOUR.search(text)


@pytest.mark.parametrize("words", [["--progress", "plain"], ["--progress", "none"], ["-q"]], ids=" ".join)
def test_no_bars_where_none_are_wanted(polyarch: Polyarch, faulty_registry: FaultyRegistry, words: list[str]) -> None:
    code, text = on_a_terminal(polyarch, "pull", *words, faulty_registry.ref("busybox:1.36"))
    assert code == 0
    assert "\x1b" not in text


def test_no_bars_where_lines_may_come_out_beside_them(polyarch: Polyarch, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", "/blobs/", slow(2_000_000), forever=True)
    code, text = on_a_terminal(polyarch, "pull", faulty_registry.ref("busybox:1.36"), through="| cat")
    assert code == 0
    assert "\x1b" not in text
    assert len(re.findall(r"^[0-9a-f]{12}: Pull complete\r$", text, re.MULTILINE)) == 2


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_leads_to_nowhere(polyarch: Polyarch, closed: str) -> None:
    prefix = ("sh", "-c", f'exec "$@" {closed}', "sh")
    result = polyarch.finish(polyarch.start("image", "ls", prefix=prefix), "", 60).ok()
    assert result.stderr == ""
    assert result.stdout.startswith("REPOSITORY") == (">&-" not in closed.replace("2>&-", ""))


def test_without_anything_to_fetch_there_are_no_bars(polyarch: Polyarch, faulty_registry: FaultyRegistry) -> None:
    polyarch("pull", faulty_registry.ref("busybox:1.36")).ok()
    code, text = on_a_terminal(polyarch, "pull", faulty_registry.ref("busybox:1.36"))
    assert code == 0
    assert "\x1b" not in text
    assert "Image is up to date" in text


@pytest.mark.parametrize("width", [80, 120, 200])
def test_tables_fit(polyarch: Polyarch, faulty_registry: FaultyRegistry, width: int) -> None:
    name = faulty_registry.ref("busybox:1.36")
    for words in (["resolve", name], ["device", "ls"], ["device"], ["plugin", "ls"], ["doctor"]):
        code, text = on_a_terminal(polyarch, *words, width=width)
        assert code in (0, 8)
        shown = COLOUR.sub("", text) if words == ["doctor"] else text  # its verdicts have colours
        assert max(map(len, shown.splitlines())) <= width, words
        assert "\x1b" not in shown


def test_login_asks(polyarch: Polyarch, authed_registry: DockerRegistry) -> None:
    typed = {"Username: ": "ali\n", "Password: ": "open sesame\n"}
    code, text = on_a_terminal(polyarch, "login", authed_registry.address, typed=typed)
    assert code == 0
    assert "Login Succeeded" in text
    assert "ali" in text
    assert "sesame" not in text
