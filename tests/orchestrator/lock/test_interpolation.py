"""Variables in a text, as the shell forms of Compose and Dockerfiles say."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.lock.interpolation import Unreadable, expand

VALUES = {"TAG": "1.0", "EMPTY": "", "OTHER": "o"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("app", "app"),
        ("app:$TAG", "app:1.0"),
        ("app:${TAG}-x", "app:1.0-x"),
        ("${TAG:-2}${NONE:-2}${EMPTY:-2}", "1.022"),
        ("${TAG-2}${NONE-2}${EMPTY-2}", "1.02"),
        ("${TAG:+x}${NONE:+x}${EMPTY:+x}", "x"),
        ("${TAG+x}${NONE+x}${EMPTY+x}", "xx"),
        ("${TAG:?must}${EMPTY?must}", "1.0"),
        ("${NONE:-${EMPTY:-${OTHER}}}", "o"),
        ("${TAG:-${NONE}}", "1.0"),
        ("${NONE:+${NONE}}", ""),
        ("a$$TAG$$", "a$TAG$"),
        ("${NONE:-}", ""),
        ("${NONE:-a}b}", "ab}"),
        ("$NONE", None),
        ("${NONE}", None),
        ("${NONE:?the tag}", None),
        ("${EMPTY:?}", None),
        ("${TAG", None),
        ("${}", None),
        ("${TAG#1}", None),
        ("$1", None),
        ("a$", None),
        ("${A:-" * 40 + "}" * 40, None),
    ],
)
def test_forms(text: str, wanted: str | None) -> None:
    if wanted is None:
        with pytest.raises(Unreadable):
            expand(text, VALUES.get, "$")
    else:
        assert expand(text, VALUES.get, "$") == wanted


def test_a_dockerfile_escapes_with_a_backslash() -> None:
    assert expand(r"a\$TAG$TAG", VALUES.get, "\\") == "a$TAG1.0"


@given(st.text("${}:-+?AB\\", max_size=30))
def test_no_text_upsets_it(text: str) -> None:
    with contextlib.suppress(Unreadable):
        expand(text, {"A": "1"}.get, "$")
