"""Limits of pulls: read, told in time, and no try wasted on one that is used up."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import UnreachableError
from polyarch.events import Event, Warned
from polyarch.reference import parse_reference
from polyarch.registry.rate_limits import LimitWatch, RateLimit, parse_limit, when
from support import faults
from support.exchange import Answer, Request
from support.faulty_registry import FaultyRegistry
from support.registry_client import Connect

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "source", "read"),
    [
        # docs.docker.com, "Docker Hub pull usage and limits"
        ("100;w=21600", "20;w=21600", None, "192.0.2.1", RateLimit(100, 20, 21600, 21600, "192.0.2.1")),
        ("200;w=21600", "0;w=21600", None, "2600:3c00::", RateLimit(200, 0, 21600, 21600, "2600:3c00::")),
        ("100", "99", None, None, RateLimit(100, 99)),
        ("100, 100;w=60", "7", "33", None, RateLimit(100, 7, 0, 33)),
        (" 10 ; burst=5; w = 60", "3", None, None, RateLimit(10, 3, 60, 60)),
        ("100;w=21600", None, None, None, None),
        (None, "5", None, None, None),
        ("many", "5", None, None, None),
        ("-1", "5", None, None, None),
    ],
)
def test_what_the_header_says(
    limit: str | None, remaining: str | None, reset: str | None, source: str | None, read: RateLimit | None
) -> None:
    fields = {
        "ratelimit-limit": limit,
        "ratelimit-remaining": remaining,
        "ratelimit-reset": reset,
        "docker-ratelimit-source": source,
    }
    assert parse_limit({name: value for name, value in fields.items() if value is not None}) == read


@given(st.text(max_size=50), st.text(max_size=50), st.text(max_size=50))
def test_any_header_is_read(limit: str, remaining: str, reset: str) -> None:
    fields = {"ratelimit-limit": limit, "ratelimit-remaining": remaining, "ratelimit-reset": reset}
    read = parse_limit({**fields, "docker-ratelimit-source": limit})
    assert read is None or (read.limit >= 0 and read.reset >= 0 and str(read).isprintable())


@pytest.mark.parametrize(
    ("limit", "few", "of_nobody", "words"),
    [
        (RateLimit(100, 11, 21600, 21600, "192.0.2.1"), False, True, "11 of 100 pulls left in 6 h for 192.0.2.1"),
        (RateLimit(100, 10, 90, 90, "2600:3c00::/64"), True, True, "10 of 100 pulls left in 90 s for 2600:3c00::/64"),
        (RateLimit(200, 0, 86400, 5, "0e1b-4f"), True, False, "0 of 200 pulls left in 1 days for 0e1b-4f"),
        (RateLimit(100, 50), False, False, "50 of 100 pulls left"),
    ],
)
def test_what_is_told(limit: RateLimit, few: bool, of_nobody: bool, words: str) -> None:
    assert (limit.few, limit.of_nobody, str(limit)) == (few, of_nobody, words)


def test_times() -> None:
    assert when(21600, NOON) == "at 18:00 UTC"
    assert when(43200, NOON) == "at 2026-03-02 00:00 UTC"
    assert RateLimit(1, 0, 60, 60).until(NOON) == "all are back at 12:01 UTC at the latest"
    assert RateLimit(1, 0).until(NOON) == ""


def test_a_warning_comes_once_for_each_registry_and_source() -> None:
    events: list[Event] = []
    watch = LimitWatch(events.append)

    def answer(remaining: int, source: str = "192.0.2.1", registry: str = "docker.io") -> None:
        fields = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": f"{remaining};w=21600"}
        watch.look(registry, {**fields, "docker-ratelimit-source": source})

    watch.look("docker.io", {})
    answer(11)
    assert events == []
    answer(10)
    answer(9)
    answer(3, "somebody")
    answer(3, registry="b.example")
    told = [event.message for event in events if isinstance(event, Warned)]
    assert len(told) == 3
    assert told[0].startswith("docker.io: 10 of 100 pulls left in 6 h for 192.0.2.1; all are back at ")
    assert told[0].endswith("; polyarch login docker.io may raise the limit")
    assert told[1].startswith("docker.io: 3 of 100 pulls left in 6 h for somebody; all are back at ")
    assert "login" not in told[1]
    assert watch.last("docker.io") == RateLimit(100, 3, 21600, 21600, "somebody")
    assert watch.last("c.example") is None


def _limited(remaining: int) -> faults.Fault:
    def fault(_: Request, answer: Answer) -> Answer:
        return answer.with_headers(
            RateLimit_Limit="100;w=21600",
            RateLimit_Remaining=f"{remaining};w=21600",
            Docker_RateLimit_Source="192.0.2.1",
        )

    return fault


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_answers_for_manifests_are_looked_at(connect: Connect, faulty_registry: FaultyRegistry, method: str) -> None:
    faulty_registry.script(method, "/manifests/", _limited(50), _limited(4), _limited(3))
    connected = connect()
    reference = parse_reference(faulty_registry.ref("busybox:1.36"))
    ask = connected.registry.get if method == "GET" else connected.registry.head
    ask(reference)
    assert connected.warnings == []
    ask(reference)
    ask(reference)
    (told,) = connected.warnings
    assert told.startswith(f"{faulty_registry.address}: 4 of 100 pulls left in 6 h for 192.0.2.1")


def test_a_limit_that_is_used_up_is_told_at_once(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    """docs.docker.com, "Docker Hub pull usage and limits": 429, this text, and a header with none left."""
    message = (
        "You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: "
        "https://www.docker.com/increase-rate-limits"
    )
    body = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": message}]}).encode()
    headers = {"RateLimit_Limit": "100;w=21600", "RateLimit_Remaining": "0;w=21600"}
    fault = faults.status(429, body, **headers, Docker_RateLimit_Source="192.0.2.1")
    faulty_registry.script("GET", "/manifests/", fault, forever=True)
    with pytest.raises(UnreachableError, match=r"You have reached .* \(TOOMANYREQUESTS\)") as caught:
        connect().registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert len(faulty_registry.asked("GET", "/manifests/")) == 1
    hint = caught.value.hint or ""
    assert hint.startswith("0 of 100 pulls left in 6 h for 192.0.2.1; all are back at ")
    assert hint.endswith(f"; polyarch login {faulty_registry.address} may raise the limit")


def test_a_limit_that_ends_soon_is_waited_for(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    fault = faults.status(429, b"", RateLimit_Limit="5;w=1", RateLimit_Remaining="0;w=1")
    faulty_registry.script("GET", "/manifests/", fault)
    connect().registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert len(faulty_registry.asked("GET", "/manifests/")) == 2


def test_a_long_pause_is_told_with_its_end(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", "/manifests/", faults.too_many_requests("3600"), forever=True)
    with pytest.raises(UnreachableError) as caught:
        connect().registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
    assert "it asks to wait until then: 3600 s, at " in (caught.value.hint or "")
