"""Tokens: how they are asked for, read and kept; and to whom credentials are shown."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.auth.credentials import Credentials
from polyarch.errors import IntegrityError, UnauthorizedError
from polyarch.registry import tokens
from polyarch.registry.authenticator import may_show
from polyarch.registry.origin import split_url
from polyarch.registry.tokens import TokenQuery, Tokens, read_token, token_request

REALM = "https://auth.example/token"


@pytest.mark.parametrize(
    ("query", "url"),
    [
        (TokenQuery(REALM, "", ""), REALM),
        (TokenQuery(REALM, "r e", "repository:a/b:pull"), f"{REALM}?service=r+e&scope=repository%3Aa%2Fb%3Apull"),
        (TokenQuery(f"{REALM}?x=1", "s", ""), f"{REALM}?x=1&service=s"),
        (TokenQuery(REALM, "s", "", Credentials("me", "pw")), f"{REALM}?service=s&account=me"),
    ],
)
def test_a_token_is_asked_for_by_get(query: TokenQuery, url: str) -> None:
    request = token_request(query)
    assert (request.method, request.url, request.content) == ("GET", url, None)
    assert request.headers == ({"Authorization": "Basic bWU6cHc="} if query.credentials else {})


def test_an_identity_token_goes_into_the_body() -> None:
    request = token_request(TokenQuery(REALM, "s", "x", Credentials("", "refresh me", is_identity_token=True)))
    assert (request.method, request.url) == ("POST", REALM)
    assert request.content == b"grant_type=refresh_token&service=s&scope=x&client_id=polyarch&refresh_token=refresh+me"
    assert "Authorization" not in request.headers


def test_no_repr_shows_a_secret() -> None:
    query = TokenQuery(REALM, "s", "x", Credentials("me", "hidden"))
    assert "hidden" not in repr(query) + repr(token_request(query)) + repr(query.credentials)


@pytest.mark.parametrize(
    ("body", "token", "lifetime"),
    [
        (b'{"token":"a"}', "a", 60),
        (b'{"access_token":"a.b-c_d~e+f/g="}', "a.b-c_d~e+f/g=", 60),
        (b'{"token":"a","access_token":"b","expires_in":300}', "a", 300),
        (b'{"token":"","access_token":"b","expires_in":1}', "b", 60),
        (b'{"token":"a","expires_in":1e12}', "a", 86400),
        (b'{"token":"a","expires_in":"soon"}', "a", 60),
        (b'{"token":"a","expires_in":true}', "a", 60),
        (b'{"token":"a","expires_in":-5}', "a", 60),
    ],
)
def test_a_token_is_read(body: bytes, token: str, lifetime: float) -> None:
    assert read_token(body, "here") == (token, lifetime)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"token":5}', b'{"token":"a b"}', b'{"token":"a\\n"}', b'{"token":"\xc3\xa4"}']
)
def test_no_token_is_told(body: bytes) -> None:
    with pytest.raises(IntegrityError, match="here"):
        read_token(body, "here")


@given(st.binary(max_size=200))
def test_any_answer_is_a_token_or_an_error(body: bytes) -> None:
    try:
        token, lifetime = read_token(body, "here")
    except IntegrityError:
        return
    assert token
    assert lifetime >= 60


def test_of_many_threads_one_asks() -> None:
    kept, gate, asked = Tokens(), threading.Barrier(8), []

    def ask(query: TokenQuery) -> tuple[str, float]:
        asked.append(query)
        return "t", 300.0

    def get(_: int) -> str:
        gate.wait(20)
        return kept.get(TokenQuery(REALM, "s", "x"), ask)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(get, range(8))) == {"t"}
    assert len(asked) == 1


def test_a_token_is_kept_until_it_ends_or_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(tokens.time, "monotonic", lambda: now)
    kept, query, count = Tokens(), TokenQuery(REALM, "s", "x"), 0

    def ask(_: TokenQuery) -> tuple[str, float]:
        nonlocal count
        count += 1
        return f"t{count}", 300.0

    assert kept.get(query, ask) == "t1"
    now += 289
    assert kept.get(query, ask) == "t1"
    now += 1
    assert kept.get(query, ask) == "t2"
    kept.drop(query, "t1")  # an old one, which another thread has replaced by now
    assert kept.get(query, ask) == "t2"
    kept.drop(query, "t2")
    assert kept.get(query, ask) == "t3"
    assert kept.get(TokenQuery(REALM, "s", "y"), ask) == "t4"
    assert kept.get(TokenQuery(REALM, "s", "x", Credentials("me", "pw")), ask) == "t5"


def test_a_refusal_is_not_kept() -> None:
    kept = Tokens()

    def refuse(_: TokenQuery) -> tuple[str, float]:
        raise UnauthorizedError("no")

    with pytest.raises(UnauthorizedError):
        kept.get(TokenQuery(REALM, "s", "x"), refuse)
    assert kept.get(TokenQuery(REALM, "s", "x"), lambda _: ("t", 300.0)) == "t"


@pytest.mark.parametrize(
    ("registry", "realm", "shown"),
    [
        ("https://registry-1.docker.io", "https://auth.docker.io/token", True),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", True),
        ("https://ghcr.io", "https://ghcr.io/token", True),
        ("https://a.example:5000", "https://a.example:5001/t", True),
        ("https://a.example", "https://evil.example/t", False),
        ("https://a.example", "http://a.example/t", False),
        ("https://10.0.0.7:5000", "https://10.0.0.7:5001/t", True),
        ("https://10.0.0.7:5000", "https://10.0.0.8/t", False),
        ("http://10.0.0.7:5000", "http://10.0.0.7:5001/t", True),
        ("http://10.0.0.7:5000", "http://10.0.0.8:5001/t", False),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/t", True),
        ("http://localhost:5000", "http://127.0.0.1:5001/t", True),
        ("http://127.0.0.1:5000", "http://10.0.0.7/t", False),
        ("https://a.example", "http://127.0.0.1/t", False),
        ("https://mine.azurecr.io", "https://other.azurecr.io/t", False),
    ],
)
def test_who_is_shown_credentials(registry: str, realm: str, shown: bool) -> None:
    assert may_show(split_url(registry)[0], split_url(realm)[0]) is shown
