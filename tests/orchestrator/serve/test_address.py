from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import UsageError
from polyarch.serve.address import format_address, parse_listen


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        (None, "127.0.0.1", 0, "127.0.0.1:0"),
        ("5000", "127.0.0.1", 5000, "127.0.0.1:5000"),
        ("0", "127.0.0.1", 0, "127.0.0.1:0"),
        (":5000", "0.0.0.0", 5000, "0.0.0.0:5000"),
        ("127.0.0.1:5000", "127.0.0.1", 5000, "127.0.0.1:5000"),
        ("localhost:65535", "localhost", 65535, "localhost:65535"),
        ("my-host.example:80", "my-host.example", 80, "my-host.example:80"),
        ("[::1]:5000", "::1", 5000, "[::1]:5000"),
        ("[fe80::1%eth0]:5000", "fe80::1%eth0", 5000, "[fe80::1%eth0]:5000"),
    ],
)
def test_listen_addresses(text: str | None, host: str, port: int, shown: str) -> None:
    assert parse_listen(text) == (host, port)
    assert format_address(host, port) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:",
        "::1:5000",
        "[::1]",
        "[::1]5000",
        "http://x:1",
        "a:b",
        "x:123456",
        "x:65536",
        "x:-1",
        "5000 ",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_listen(text)
    assert caught.value.hint


@given(st.text(max_size=30))
def test_nothing_else_is_raised(text: str) -> None:
    try:
        host, port = parse_listen(text)
    except UsageError:
        return
    assert host
    assert 0 <= port <= 65535
