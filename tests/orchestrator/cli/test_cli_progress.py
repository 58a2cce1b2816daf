"""What is shown of events, exactly."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable

import pytest

from polyarch.cli.progress import Progress
from polyarch.events import (
    BlobDone,
    BlobProgress,
    BlobRetried,
    BlobStarted,
    Event,
    LayerAwaited,
    PullFinished,
    PullStarted,
    VariantChosen,
    Warned,
)


def digest(start: str) -> str:
    return f"sha256:{start:0<64}"


NAME = "docker.io/library/wordpress:latest"
CONFIG = digest("c0")
CHOSEN = VariantChosen(NAME, "linux/arm64", "exact", "index", 8, digest("aa"), CONFIG)
PULL: list[Event] = [
    PullStarted(NAME, tag_defaulted=True),
    CHOSEN,
    BlobDone(digest("f0b9fe21862b"), 30, "exists"),
    BlobStarted(CONFIG, 10, 0),
    BlobDone(CONFIG, 10, "downloaded"),
    BlobStarted(digest("3c5574f7ca95"), 20, 0),
    BlobProgress(digest("3c5574f7ca95"), 20, 10),
    BlobDone(digest("3c5574f7ca95"), 20, "downloaded"),
    PullFinished(NAME, digest("c5f0"), "downloaded"),
]
UP_TO_DATE: list[Event] = [
    PullStarted(NAME),
    CHOSEN,
    BlobDone(CONFIG, 10, "exists"),
    BlobDone(digest("f0b9fe21862b"), 30, "exists"),
    PullFinished(NAME, digest("c5f0"), "up-to-date"),
]


def show(events: Iterable[Event], mode: str = "auto", *, report: bool = True, quiet: bool = False) -> None:
    with Progress(mode, report=report, quiet=quiet) as progress:
        for event in events:
            progress(event)


def test_a_pull_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show(PULL)
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out == (
        "Using default tag: latest\n"
        "latest: Pulling from library/wordpress\n"
        "Platform: linux/arm64 (exact; 8 variants in the index)\n"
        "f0b9fe21862b: Already exists\n"
        "3c5574f7ca95: Pull complete\n"
        f"Digest: {digest('c5f0')}\n"
        "Status: Downloaded newer image for wordpress:latest\n"
    )


def test_what_a_pull_saved_and_prepared_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    show([*PULL[:-1], PullFinished(NAME, digest("c5f0"), "downloaded", 1_234_567, "erofs")])
    assert capsys.readouterr().out.splitlines()[-4:] == [
        f"Digest: {digest('c5f0')}",
        "Reused: 1.23MB that were here",
        "Prepared: all layers (erofs)",
        "Status: Downloaded newer image for wordpress:latest",
    ]
    show([*UP_TO_DATE[:-1], PullFinished(NAME, digest("c5f0"), "up-to-date", 1_234_567, "unpacked")])
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"Digest: {digest('c5f0')}",
        "Prepared: all layers (unpacked)",
        "Status: Image is up to date for wordpress:latest",
    ]


def test_an_unchanged_name_shows_no_layers(capsys: pytest.CaptureFixture[str]) -> None:
    show(UP_TO_DATE)
    assert capsys.readouterr().out == (
        "latest: Pulling from library/wordpress\n"
        "Platform: linux/arm64 (exact; 8 variants in the index)\n"
        f"Digest: {digest('c5f0')}\n"
        "Status: Image is up to date for wordpress:latest\n"
    )


def test_a_new_name_of_blobs_at_hand_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    show([*UP_TO_DATE[:-1], PullFinished(NAME, digest("c5f0"), "downloaded")])
    assert "f0b9fe21862b: Already exists\nDigest:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            VariantChosen(NAME, "linux/arm/v6", "compatible", "index", 1, "", ""),
            "Platform: linux/arm/v6 (compatible; 1 variant in the index)",
        ),
        (
            LayerAwaited(digest("3c5574f7ca95"), "process 7 (polyarch)"),
            "3c5574f7ca95: Waiting for process 7 (polyarch), which makes this layer ready",
        ),
        (
            VariantChosen(NAME, "linux/arm64", "emulated", "tag", 3, "", ""),
            "Platform: linux/arm64 (emulated; found by its tag)",
        ),
        (
            VariantChosen(NAME, "linux/amd64", "exact", "manifest", 1, "", ""),
            "Platform: linux/amd64 (exact; the only one of the name)",
        ),
        (
            PullStarted(f"ghcr.io/a/b@{digest('ab')}"),
            f"ghcr.io/a/b@{digest('ab')}: Pulling from a/b",
        ),
        (BlobRetried(digest("ab"), 1_500_000, "timeout"), "ab0000000000: Retrying at 1.5MB (timeout)"),
        (BlobDone(digest("ab"), 1, "resumed"), "ab0000000000: Pull complete"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Event) else "",
)
def test_single_lines(event: Event, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    show([event])
    assert capsys.readouterr().out == f"{line}\n"


def test_where_stdout_belongs_to_somebody_else_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show(PULL)
    lines = capsys.readouterr().out
    for mode in ("auto", "plain"):
        show(PULL, mode, report=False)
        assert capsys.readouterr() == ("", lines)


def test_progress_none_leaves_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    show(PULL, "none")
    assert capsys.readouterr().out.splitlines()[2:4] == [
        "Platform: linux/arm64 (exact; 8 variants in the index)",
        f"Digest: {digest('c5f0')}",
    ]
    show(PULL, "none", report=False)
    assert capsys.readouterr() == ("", "")


def test_quiet_leaves_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    show([*PULL, Warned("the\x1b[2J clock is wrong")], report=False, quiet=True)
    assert capsys.readouterr() == ("", "warning: the\\x1b[2J clock is wrong\n")


def test_plain_is_plain_even_if_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    show(PULL, "plain", report=False, quiet=True)
    assert "3c5574f7ca95: Pull complete" in capsys.readouterr().err


def test_events_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    show([*PULL, Warned("careful")], "json", report=False)
    shown = capsys.readouterr()
    events = [json.loads(line) for line in shown.err.splitlines()]
    assert shown.out == ""
    assert [event["event"] for event in events] == [type(event).__name__ for event in [*PULL, Warned("")]]
    assert events[1] == {
        "event": "VariantChosen",
        "reference": NAME,
        "platform": "linux/arm64",
        "match": "exact",
        "source": "index",
        "candidates": 8,
        "manifest": digest("aa"),
        "config": CONFIG,
    }


@pytest.mark.parametrize("mode", ["plain", "json"])
def test_a_closed_stream_breaks_no_pull(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        monkeypatch.setattr(sys, "stderr", nobody)
        show([*PULL, Warned("careful")], mode)
        closed = nobody
        monkeypatch.undo()
        with pytest.raises(BrokenPipeError):
            closed.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), closed.fileno())


@pytest.mark.parametrize("mode", ["plain", "json"])
def test_after_the_end_nothing_is_shown(mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(mode, report=True, quiet=False) as progress:
        progress(PULL[0])
    capsys.readouterr()
    for event in [*PULL, Warned("late")]:
        progress(event)
    assert capsys.readouterr() == ("", "")


def test_no_terminal_no_rich(capsys: pytest.CaptureFixture[str]) -> None:
    before = {name for name in sys.modules if name.startswith("rich")}
    show(PULL)
    assert {name for name in sys.modules if name.startswith("rich")} == before
