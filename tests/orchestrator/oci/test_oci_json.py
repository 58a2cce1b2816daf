"""JSON from outside: bounded, typed, and nothing but IntegrityError out of any bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import IntegrityError
from polyarch.limits import MAX_JSON_DEPTH, MAX_JSON_VALUES
from polyarch.oci.json import list_of, mapping_of, parse_json, string_map, strings, text_of


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"{",
        b"{}{}",
        b"{'a': 1}",
        b"\xff{}",
        b'{"a": \xff}',
        "{}".encode("utf-16"),
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b'{"a": "' + b"[" * 100,
        b'"' + b'\\"' * 500_000,
        b'{"size": NaN}',
        b'{"size": -Infinity}',
        b'{"layers": [], "layers": []}',
        b'{"a": {"b": 1, "\\u0062": 2}}',
        b"{" + b",".join(b'"%d":1' % i for i in range(100_000)) + b',"0":2}',
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"^here: "):
        parse_json(raw, "here")


def test_nesting_is_bounded_and_brackets_in_strings_do_not_count() -> None:
    deepest = b'{"a":' * MAX_JSON_DEPTH + b"1" + b"}" * MAX_JSON_DEPTH
    assert parse_json(deepest, "here")
    assert parse_json(json.dumps({"a": "[{" * 1000, 'b"[': '\\"[[' * 100}).encode(), "here")
    with pytest.raises(IntegrityError, match="nests deeper than 64"):
        parse_json(b'{"a":' + deepest + b"}", "here")


def test_values_are_counted_and_commas_in_strings_are_none() -> None:
    assert parse_json(b'{"a":[' + b"0," * (MAX_JSON_VALUES - 4) + b"0]}", "here")
    assert parse_json(json.dumps({"a": ",[{" * MAX_JSON_VALUES}).encode(), "here")
    with pytest.raises(IntegrityError, match="more than 200000 values"):
        parse_json(b'{"a":[' + b"0," * MAX_JSON_VALUES + b"0]}", "here")


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.lists(st.sampled_from(list('[]{}",:\\1a')), max_size=300).map(lambda marks: "".join(marks).encode())
)
def test_any_bytes_are_an_object_or_an_integrity_error(raw: bytes) -> None:
    try:
        document = parse_json(raw, "here")
    except IntegrityError:
        return
    assert document == json.loads(raw)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), _values, max_size=5))
def test_every_object_is_read_as_it_is(document: dict[str, object]) -> None:
    assert parse_json(json.dumps(document).encode(), "here") == document


@given(_values)
def test_the_typed_readers_take_their_type_or_raise(value: object) -> None:
    for reader in (mapping_of, list_of, strings, string_map):
        try:
            result = reader(value, "here")
        except IntegrityError as error:
            assert error.message.startswith("here: ")  # noqa: PT017
        else:
            assert result == (value if value is not None else type(result)()) or list(result) == value


@pytest.mark.parametrize(("value", "expected"), [({"a": "x"}, "x"), ({}, "-"), ({"a": None}, "-"), ({"a": ""}, "")])
def test_a_text_may_have_a_default(value: dict[str, object], expected: str) -> None:
    assert text_of(value, "a", "here", default="-") == expected


@pytest.mark.parametrize("value", [{}, {"a": None}, {"a": 1}, {"a": []}])
def test_a_text_without_default_has_to_be_there(value: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="here: a is missing or not a string"):
        text_of(value, "a", "here")
