"""Secrets that are known are in no text, in whatever form; everything else stays as it is."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest

from polyarch import redaction
from polyarch.auth.credentials import Credentials
from polyarch.errors import UnreachableError, printable
from polyarch.redaction import LEAST, MARK, keep_secret, redacted

SECRET = 'Pa55 <w0rd>/of+"ali"\'=é\\'


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(redaction, "_known", {})
    monkeypatch.setattr(redaction, "_tokens", [])
    monkeypatch.setattr(redaction, "_forms", ())
    return


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


FORMS = {
    "plain": SECRET,
    "url": quote(SECRET, safe=""),
    "path": quote(SECRET),
    "form": quote_plus(SECRET),
    "json": json.dumps(SECRET)[1:-1],
    "html": html.escape(SECRET).replace("&#x27;", "&#39;"),
    "python": repr(SECRET)[1:-1],
    "base64": _b64(SECRET),
    "basic": _b64(f"ali:{SECRET}"),
    "basic-without-padding": _b64(f"ali:{SECRET}").rstrip("="),
    "basic-for-urls": base64.urlsafe_b64encode(f"ali:{SECRET}".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_taken_out(form: str) -> None:
    text = f"it says: {FORMS[form]}; no more"
    assert redacted(text) == text
    Credentials("ali", SECRET)
    assert FORMS[form] not in redacted(text)
    assert MARK in redacted(text)
    assert redacted(text).startswith("it says: ")
    assert redacted(text).endswith("; no more")


@pytest.mark.parametrize("before", ["", "x", "xy", "someone else:", '{"auth": "'])
def test_in_base64_it_is_found_wherever_it_stands(before: str) -> None:
    keep_secret("correct horse battery")
    packed = _b64(f"{before}correct horse battery staple")
    assert len(redacted(packed)) < len(packed) - 18


def test_errors_do_not_tell_it() -> None:
    Credentials("ali", SECRET)
    error = UnreachableError(f"it said {SECRET}", f"try {SECRET}")
    assert error.message == f"it said {MARK}"
    assert error.hint == f"try {MARK}"


def test_what_is_cut_is_cut_behind_it() -> None:
    keep_secret("a-secret-of-many-letters")
    assert "a-secret" not in printable("says a-secret-of-many-letters", 14)


def test_a_short_one_is_taken_out_with_its_user_only() -> None:
    """A name such as `library` would be gone from all that is told."""
    short = "library"
    assert len(short) < LEAST
    Credentials("ali", short)
    assert redacted("docker.io/library/busybox") == "docker.io/library/busybox"
    assert redacted(f"Basic {_b64('ali:library')}") == f"Basic {MARK}="


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("proxy http://ali:Pa55@host:1/x", f"proxy http://{MARK}@host:1/x"),
        ("http://token@host", f"http://{MARK}@host"),
        ("ssh://ali@host, ssh://ali:Pa55@host", f"ssh://ali@host, ssh://{MARK}@host"),
        ("http://host/app@sha256:00", "http://host/app@sha256:00"),
        (f"https://u:{'x' * 5000}@host/", f"https://{MARK}@host/"),
        (f"ssh://u:{'x' * 5000}@host/", f"ssh://{MARK}@host/"),
        ("ali@example.com, see https://example.com", "ali@example.com, see https://example.com"),
    ],
)
def test_users_in_urls(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_of_many_tokens_the_oldest_is_forgotten_and_no_password() -> None:
    keep_secret("token-and-password", token=True)
    for password in ("password-of-ali", "token-and-password"):
        keep_secret(password, "ali")
        keep_secret(password)
    for number in range(redaction._MOST + 1):
        keep_secret(f"token-number-{number:03}", token=True)
    assert redacted("token-number-000") == "token-number-000"
    for kept in ("token-number-001", f"token-number-{redaction._MOST:03}", "password-of-ali", "token-and-password"):
        assert redacted(kept) == MARK
    assert len(redaction._forms) < 20 * redaction._MOST


def test_nothing_is_no_secret() -> None:
    Credentials("ali", "")
    assert redacted("nothing") == "nothing"
