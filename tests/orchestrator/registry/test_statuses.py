"""What a refusal says, cut to one line that a person can read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.registry.statuses import error_codes, words


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"", "", ""),
        (b'{"errors":[{"code":"DENIED","message":"no access","detail":{}}]}', "", "no access (DENIED)"),
        (b'{"errors":[{"code":"DENIED"}]}', "", "(DENIED)"),
        (b'{"errors":[{"message":"a"},{"message":"b"},{"message":"c"},{"message":"d"}]}', "", "a; b; c"),
        (b'{"errors":[7,{"message":"a"}]}', "", "a"),
        (b'{"errors":[]}', "", '{"errors":[]}'),
        (b'{"details":"incorrect username or password"}', "", "incorrect username or password"),
        (b'{"error":"invalid_grant","error_description":"expired"}', "", "expired"),
        (b'{"message":"from GitHub"}', "application/json", "from GitHub"),
        (
            b"<html><head><title> 502 Bad\nGateway </title>",
            "text/html; charset=x",
            r"a web page titled '502 Bad\nGateway'",
        ),
        (b"  <!DOCTYPE html><p>", "", "a web page"),
        (b"slow down\n", "text/plain", "slow down"),
        (b"\x1b]0;title\x07\xff", "", "\\x1b]0;title\\x07\ufffd"),
        (b"x" * 1000, "", "x" * 199 + "…"),
    ],
)
def test_words(body: bytes, content_type: str, said: str) -> None:
    assert words(body, content_type) == said


def test_codes() -> None:
    assert error_codes(b'{"errors":[{"code":"name_unknown"},{"code":5},{}]}') == ("NAME_UNKNOWN", "5", "")
    assert error_codes(b"<html>") == ()


@given(st.binary(max_size=300), st.text(max_size=20))
def test_any_body_gives_one_short_line(body: bytes, content_type: str) -> None:
    said = words(body, content_type)
    assert len(said) <= 330
    assert said.isprintable() or all(ord(character) > 0x9F for character in said if not character.isprintable())
