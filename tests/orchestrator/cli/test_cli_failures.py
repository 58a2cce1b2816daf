"""What is told of each kind of failure."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import click
import pytest

from polyarch import errors
from polyarch.cli.failures import failure_of

TREE = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, errors.PolyarchError) and error is not errors.PolyarchError
]
# The table of the command line, which scripts rely on.
CODES = {
    "usage": 2,
    "not-found": 3,
    "no-variant": 4,
    "unauthorized": 5,
    "unreachable": 6,
    "integrity": 7,
    "host": 8,
    "storage": 9,
    "partial": 10,
    "interrupted": 130,
}


def test_every_code_has_its_error() -> None:
    assert {error.code: error.exit_code for error in TREE} == CODES


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_errors_of_the_tree(kind: type[errors.PolyarchError]) -> None:
    failure = failure_of(kind("it broke", "mend it", reference="a/b:1"))
    assert failure.exit_code == CODES[failure.code]
    assert failure.to_json() == {
        "error": {"code": failure.code, "message": "it broke", "hint": "mend it", "details": {"reference": "a/b:1"}}
    }


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (click.UsageError("Got an extra argument"), "got an extra argument"),
        (click.NoSuchOption("--bogus"), "no such option '--bogus'"),
        (click.NoSuchOption("--al", possibilities=["--all"]), "no such option '--al' (near: --all)"),
        (click.BadParameter("'x' is no number."), "invalid value: 'x' is no number"),
        (click.FileError("f", "gone"), "could not open file 'f': gone"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_words_that_click_refuses(error: click.ClickException, message: str) -> None:
    failure = failure_of(error, "polyarch pull")
    assert (failure.code, failure.exit_code, failure.message) == ("usage", 2, message)
    assert failure.hint == "see: polyarch pull --help"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort(), EOFError()], ids=lambda e: type(e).__name__)
def test_interruptions(error: BaseException) -> None:
    failure = failure_of(error)
    assert (failure.code, failure.exit_code, failure.message) == ("interrupted", 130, "interrupted")


def test_a_defect_is_one_line_and_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    try:
        {}["missing\nkey"]
    except KeyError as error:
        failure = failure_of(error, "polyarch run -e SECRET=hidden")
    assert (failure.code, failure.exit_code) == ("internal", 1)
    assert failure.message == "a defect in polyarch: KeyError: 'missing\\nkey'"
    (report,) = tmp_path.iterdir()
    assert str(report) in (failure.hint or "")
    assert report.stat().st_mode & 0o777 == 0o600
    text = report.read_text()
    assert "Traceback" in text
    assert __file__ in text
    assert "hidden" not in text


def test_a_defect_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    failure = failure_of(ValueError())
    assert failure.message == "a defect in polyarch: ValueError"
    assert "--debug" in (failure.hint or "")


def test_a_fault_of_the_disk_is_no_defect() -> None:
    failure = failure_of(OSError(errno.EIO, os.strerror(errno.EIO), b"/some/file"))
    assert (failure.exit_code, failure.code) == (9, "storage")
    assert "/some/file" in failure.message
    assert failure_of(OSError(errno.EBADF, os.strerror(errno.EBADF))).exit_code == 1
