"""`device --facts`: what a far machine's answer looks like by the time it is here, and what is no answer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from support.command import Polyarch

pytestmark = pytest.mark.system

ANSWER = (Path(__file__).parent.parent / "platforms" / "facts" / "pi-4-b-64bit.txt").read_bytes()
BANNER = b"** WARNING: not post-quantum\n\xff\xfelatin-1: \xe9\npolyarch-probe runs at night\n\nlast login: now\n"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(ANSWER.replace(b"\n", b"\r\n"), id="by a terminal: CRLF"),
        pytest.param(BANNER + ANSWER + b"logout\nConnection closed.\n", id="a login's words around it"),
        pytest.param(("\ufeff" + ANSWER.decode()).encode(), id="a byte order mark"),
        pytest.param(ANSWER.decode().encode("utf-16"), id="UTF-16, as PowerShell writes"),
        pytest.param(ANSWER.replace(b"\nend\n", b"\nlater-fact yes\nend\n"), id="a fact of a later polyarch"),
    ],
)
def test_an_answer_as_it_arrives(polyarch: Polyarch, tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "facts.txt").write_bytes(raw)
    done = polyarch("device", "-q", "--facts", tmp_path / "facts.txt").ok()
    assert (done.stdout, done.stderr) == ("linux/arm64\n", "")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        pytest.param(b"", "no answer of polyarch's probe", id="empty"),
        pytest.param(random.Random(4).randbytes(5000), "no answer of polyarch's probe", id="binary"),
        pytest.param(ANSWER[:600], "cut short", id="cut in the middle"),
        pytest.param(ANSWER[:-4], "cut short", id="cut before its last line"),
        pytest.param(ANSWER.replace(b"probe 1", b"probe 2"), "of version '2'", id="another version"),
        pytest.param(b"x" * 10_000_000, "at most 262144 characters", id="10 MB"),
        pytest.param(b"\n" * 9_000_000 + ANSWER, "at most 262144 characters", id="an answer behind 9 MB"),
        pytest.param(ANSWER.replace(b"uname Linux", b"uname FreeBSD"), "not Linux", id="another system"),
    ],
)
def test_what_is_no_answer(polyarch: Polyarch, tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "facts.txt").write_bytes(raw)
    done = polyarch("device", "--facts", tmp_path / "facts.txt")
    assert (done.code, done.stdout) == (2, "")
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert hint.startswith("hint: ")
    assert error.isprintable()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("pi-5-16k", "programs do not run"),
        ("pi-4-b-64bit", "programs run, too"),
        ("pi-3-b-64bit-arm-socs", "no proof that programs run"),
    ],
)
def test_whether_32_bit_programs_run_is_told(polyarch: Polyarch, name: str, says: str) -> None:
    shown = polyarch("device", "--facts", Path(__file__).parent.parent / "platforms" / "facts" / f"{name}.txt").ok()
    [line] = [line for line in shown.stdout.splitlines() if line.startswith("32 bits")]
    assert line.endswith(says)
