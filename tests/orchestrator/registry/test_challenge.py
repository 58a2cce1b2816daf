"""WWW-Authenticate as registries write it, and as nobody should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.registry.challenge import Challenge, parse_challenges

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/busybox:pull"'
HUB_PARAMETERS = {
    "realm": "https://auth.docker.io/token",
    "service": "registry.docker.io",
    "scope": "repository:library/busybox:pull",
}


@pytest.mark.parametrize(
    ("text", "challenges"),
    [
        ("", []),
        (", ,\t,", []),
        (HUB, [Challenge("bearer", HUB_PARAMETERS)]),
        (HUB.replace(",", " , "), [Challenge("bearer", HUB_PARAMETERS)]),
        (HUB.replace("Bearer", "BEARER").replace("realm", "Realm"), [Challenge("bearer", HUB_PARAMETERS)]),
        (
            'Bearer realm="https://a/t",scope="repository:a:pull,push"',
            [Challenge("bearer", {"realm": "https://a/t", "scope": "repository:a:pull,push"})],
        ),
        ('Basic realm="a \\"quoted\\" \\\\ name"', [Challenge("basic", {"realm": 'a "quoted" \\ name'})]),
        ("Basic realm=plain", [Challenge("basic", {"realm": "plain"})]),
        ("Bearer realm=https://a.example/token", [Challenge("bearer", {"realm": "https://a.example/token"})]),
        ('Basic realm = "spaced"', [Challenge("basic", {"realm": "spaced"})]),
        ("Negotiate", [Challenge("negotiate")]),
        ("Negotiate YWJj=", [Challenge("negotiate", {}, "YWJj=")]),
        (
            'Negotiate, Basic realm="a", charset="UTF-8", Bearer realm="https://b/"',
            [
                Challenge("negotiate"),
                Challenge("basic", {"realm": "a", "charset": "UTF-8"}),
                Challenge("bearer", {"realm": "https://b/"}),
            ],
        ),
        (
            'Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="simple"',  # RFC 9110, 11.6.1
            [
                Challenge("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
                Challenge("basic", {"realm": "simple"}),
            ],
        ),
        ('Bearer realm="first",realm="second"', [Challenge("bearer", {"realm": "first"})]),
        ('Bearer realm="never ends', [Challenge("bearer"), Challenge("realm")]),
        ('realm="no scheme"', [Challenge("realm")]),
        ('Basic realm="a" ; nonsense, Bearer realm="b"', [Challenge("basic", {"realm": "a"})]),
    ],
)
def test_a_field(text: str, challenges: list[Challenge]) -> None:
    assert list(parse_challenges(text)) == challenges


_names = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
_challenges = st.lists(
    st.builds(Challenge, _names, st.dictionaries(_names, st.text(st.characters(exclude_categories=["Cs"])))), max_size=4
)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(_challenges)
def test_what_is_written_is_read(challenges: list[Challenge]) -> None:
    text = ", ".join(
        f"{each.scheme} " + ", ".join(f"{name}={_quoted(value)}" for name, value in each.parameters.items())
        for each in challenges
    )
    assert list(parse_challenges(text)) == challenges


@given(st.text(max_size=300) | st.text('Bearer realm=",\\ \t', max_size=300))
def test_any_text_is_read_without_an_error(text: str) -> None:
    for challenge in parse_challenges(text):
        assert challenge.scheme == challenge.scheme.lower() != ""


def test_an_endless_field_is_cut() -> None:
    assert len(parse_challenges("a " * 10_000_000)) <= 8192
