"""docs/trust.md, "What the distribution-spec asks of clients": what it names as held by a test is held by one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.registry_faults import CASES

TESTS = Path(__file__).resolve().parents[2]
PAGE = TESTS.parent / "docs" / "trust.md"
SECTION = PAGE.read_text().partition("\n## What the distribution-spec asks of clients\n")[2].partition("\n## ")[0]
ROWS = [line.strip("|").split("|") for line in SECTION.splitlines() if line.startswith("|")][2:]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", SECTION)))


def test_each_row_says_what_holds_it() -> None:
    assert len(ROWS) > 30
    for row in ROWS:
        assert len(row) == 4, row
        assert "`" in row[3] or row[3].strip() in ("–", "none"), row


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_is_named_is_there(file: str, name: str) -> None:
    path = TESTS / file if "/" in file else Path(__file__).parent / file
    assert f"\ndef {name}(" in path.read_text()


def test_the_faults_that_are_named_are_there() -> None:
    named = {
        name
        for row in ROWS
        for part in re.findall(r"faults? ((?:`[\w-]+`(?:, )?)+)", row[3])
        for name in re.findall(r"`([\w-]+)`", part)
    }
    assert len(named) > 8
    assert named <= CASES.keys()
