"""The commands of engines: what they say is bounded, and so is their time; they end with who asked."""

from __future__ import annotations

import threading

import pytest

from polyarch.contract import HostError, StorageError
from polyarch_plugins.storages import programs
from polyarch_plugins.storages.programs import Programs
from support.processes import await_true


@pytest.fixture
def run() -> Programs:
    return Programs({"PATH": "/usr/bin:/bin"}, "install it", "try it")


def test_how_a_command_ended_and_what_it_said(run: Programs) -> None:
    done = run.run(["sh", "-c", "echo $WORD; echo err >&2; exit 3"], WORD="out")
    assert (done.code, done.output, done.errors) == (3, b"out\n", "err\n")


def test_one_that_says_too_much_is_ended(run: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MAX_OUTPUT", 1 << 20)
    with pytest.raises(StorageError, match="sh said more than 1048576 bytes"):
        run.run(["sh", "-c", "exec cat /dev/zero"])


def test_of_complaints_the_end_is_kept(run: Programs) -> None:
    done = run.run(["sh", "-c", "head -c 1000000 /dev/zero >&2; echo the end >&2"])
    assert done.errors.endswith("the end\n")
    assert len(done.errors) == 64 << 10


def test_one_that_does_not_answer_is_ended(run: Programs) -> None:
    with pytest.raises(HostError, match=r"sh did not answer within 0.1 seconds") as raised:
        run.run(["sh", "-c", "exec sleep 1000"], 0.1)
    assert raised.value.hint == "try it"


@pytest.mark.parametrize(("words", "hint"), [("no-such-program", "install it"), ("/", "try it"), ("a\0b", "try it")])
def test_one_that_cannot_be_started(run: Programs, words: str, hint: str) -> None:
    with pytest.raises(HostError) as raised:
        run.run([words])
    assert raised.value.hint == hint


def test_what_runs_is_ended_when_nobody_waits_any_more(run: Programs) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run.run(["sh", "-c", "exec sleep 1000"], None).code))
    thread.start()
    await_true(lambda: bool(run._running), "it runs")
    run.close()
    thread.join(10)
    assert codes == [-15]
