"""The error tree, and what a person may be shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch import errors
from polyarch.errors import HostError, PolyarchError, UsageError, platforms_errors, printable
from polyarch_platforms.errors import BinfmtError, DeviceError, ElfError, FactsError, PlatformError, QemuError

# The names and numbers that the command line promises.
CODES = {
    "PolyarchError": ("internal", 1),
    "UsageError": ("usage", 2),
    "NotFoundError": ("not-found", 3),
    "NoVariantError": ("no-variant", 4),
    "UnauthorizedError": ("unauthorized", 5),
    "UnreachableError": ("unreachable", 6),
    "IntegrityError": ("integrity", 7),
    "HostError": ("host", 8),
    "StorageError": ("storage", 9),
    "DeniedError": ("host", 8),
    "PartialError": ("partial", 10),
    "InterruptedPull": ("interrupted", 130),
}


def test_each_error_has_the_code_that_scripts_rely_on() -> None:
    found = {
        name: (kind.code, kind.exit_code)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, PolyarchError)
    }
    assert found == CODES


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines", r"two\nlines"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x00\x7f\x85", r"\x00\x7f\x85"),
        ("a\u202eb", r"a\u202eb"),
        ("a\u2066b\u061cc", r"a\u2066b\u061cc"),
        ("a\u2028b", r"a\u2028b"),
        ("\ud800", r"\ud800"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("größe 中文 🐳", "größe 中文 🐳"),
        ("", ""),
    ],
)
def test_what_is_not_seen_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(), st.integers(1, 50))
def test_what_is_shown_is_one_short_line_that_can_be_printed(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    shown.encode("utf-8")


@given(st.text(st.characters(categories=["L", "N", "P"]), max_size=100))
def test_honest_text_stays_as_it_is(text: str) -> None:
    assert printable(text, 100) == text


def test_an_error_is_one_line() -> None:
    error = UsageError("first\nsecond", "do\tthis", reference="x")
    assert str(error) == error.message == r"first\nsecond"
    assert error.hint == r"do\tthis"
    assert error.details == {"reference": "x"}
    assert UsageError("x").hint is None


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (PlatformError("bad", "write it so"), UsageError),
        (DeviceError("unknown", "the nearest"), UsageError),
        (FactsError("cut", None), UsageError),
        (ElfError("not ELF"), HostError),
        (BinfmtError("no table"), HostError),
        (QemuError("no QEMU", "install it"), HostError),
    ],
)
def test_the_platforms_errors_join_the_tree(raised: Exception, expected: type[PolyarchError]) -> None:
    with pytest.raises(expected) as caught, platforms_errors():
        raise raised
    assert (caught.value.message, caught.value.hint) == (str(raised), getattr(raised, "hint", None))


def test_other_errors_pass_through() -> None:
    with pytest.raises(ValueError, match="other"), platforms_errors():
        raise ValueError("other")
