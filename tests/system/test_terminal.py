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
def test_what_would_go_to_a_closed_stdout_is_not_lost_unseen(polyarch: Polyarch, closed: str) -> None:
    shut = ">&-" in closed.replace("2>&-", "")
    for words in (["image", "ls"], ["--help"]):
        result = polyarch.finish(polyarch.start(*words, prefix=_shell(f'"$@" {closed}')), "", 60)
        assert (result.code, bool(result.stdout)) == ((9, False) if shut else (0, True))
        told = "error: the output cannot be written: standard output is closed\n"
        assert result.stderr == (told if closed == ">&-" else "")


def test_an_archive_for_a_closed_stdout_is_not_lost_unseen(polyarch: Polyarch, registry: DockerRegistry) -> None:
    name = registry.ref("busybox:1.36")
    polyarch("pull", name).ok()
    polyarch("run", "--name", "z", name, "true").ok()
    for words in (["image", "save", name], ["cp", "z:/bin", "-"]):
        result = polyarch.finish(polyarch.start(*words, prefix=_shell('"$@" >&-')), "", 60)
        assert result.code == 9
        assert "it is closed" in result.stderr.splitlines()[-1]


def test_a_container_s_program_starts_without_streams(polyarch: Polyarch, registry: DockerRegistry) -> None:
    name = registry.ref("busybox:1.36")
    for closed in (">&- 2>&-", "<&- >&- 2>&-"):
        words = ["run", "--rm", name, "sh", "-c", "exit 3"]
        assert polyarch.finish(polyarch.start(*words, prefix=_shell(f'"$@" {closed}')), "", 60).code == 3


def test_help_for_nobody(polyarch: Polyarch) -> None:
    full = polyarch.finish(polyarch.start("--help", prefix=_shell('"$@" >/dev/full')))
    assert (full.code, full.stderr) == (9, "error: the output cannot be written: No space left on device\n")
    gone = polyarch.finish(polyarch.start("--help", prefix=("bash", "-c", '"$@" | true; exit ${PIPESTATUS[0]}', "sh")))
    assert gone.code in (0, 141)  # `true` may end before the page is written, or after it
    assert gone.stderr == ""


def _shell(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script, "sh")


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
