"""Which answers are tried again, how long it is waited in between, and when no further try is made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.events import Event, Warned
from polyarch.registry.faults import ConnectionFault, Kind
from polyarch.registry.reply import Answer
from polyarch.registry.retry import FIRST_PAUSE, LONGEST_PAUSE, Retries, pause, retry_after

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        ("120", 120.0),
        ("9" * 400, 999_999_999.0),
        ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0),
        ("Tuesday, 24-Nov-26 12:00:30 GMT", 30.0),
        ("Tue Nov 24 12:00:30 2026", 30.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Tue, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text(max_size=60))
def test_any_field_is_read_without_an_error(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or seconds >= 0


@given(st.integers(1, 100_000))
def test_pauses_grow_and_are_bounded(number: int) -> None:
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(number - 1, 20))
    assert longest / 2 <= pause(number) <= longest


class Clock(threading.Event):
    """Counts the pauses instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return self.is_set()


class Script:
    """An operation with given outcomes."""

    def __init__(self, *outcomes: Answer | ConnectionFault) -> None:
        self.outcomes = list(outcomes)
        self.discarded: list[int] = []

    def __call__(self) -> Answer:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, ConnectionFault):
            raise outcome
        return outcome

    def discard(self, answer: Answer) -> None:
        self.discarded.append(answer.status)


def answer(status: int, **headers: str) -> Answer:
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


def fault(kind: Kind) -> ConnectionFault:
    return ConnectionFault("a.example", "why", kind)


def run(
    script: Script, *, retries: int = 5, method: str = "GET", clock: Clock | None = None
) -> tuple[int, list[Event]]:
    events: list[Event] = []
    result = Retries(retries, events.append, clock or Clock()).run("a.example", method, script, script.discard)
    return result.status, events


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_status_is_tried_again(status: int) -> None:
    script = Script(answer(status), answer(status), answer(200))
    assert run(script)[0] == 200
    assert script.discarded == [status, status]


@pytest.mark.parametrize("status", [200, 206, 301, 400, 401, 403, 404, 405, 409, 410, 416, 418, 451, 501, 505])
def test_any_other_status_is_final(status: int) -> None:
    script = Script(answer(status), answer(200))
    assert run(script) == (status, [])


@pytest.mark.parametrize("kind", ["lookup", "refused", "timeout", "broken"])
def test_a_passing_fault_is_tried_again(kind: Kind) -> None:
    status, events = run(Script(fault(kind), answer(200)))
    assert status == 200
    assert [type(event) for event in events] == [Warned]
    assert "a.example: why; trying again in" in str(events[0])


@pytest.mark.parametrize("kind", ["name", "tls", "certificate", "request", "forbidden", "proxy", "closed"])
def test_any_other_fault_is_final(kind: Kind) -> None:
    with pytest.raises(ConnectionFault):
        run(Script(fault(kind), answer(200)))


def test_the_last_answer_and_the_last_fault_are_handed_on() -> None:
    assert run(Script(answer(503), answer(502), answer(500)), retries=2)[0] == 500
    with pytest.raises(ConnectionFault, match="why"):
        run(Script(answer(503), fault("broken")), retries=1)


def test_no_retries_means_one_try() -> None:
    assert run(Script(answer(503), answer(200)), retries=0)[0] == 503


def test_retry_after_is_obeyed_up_to_its_limit() -> None:
    clock = Clock()
    assert run(Script(answer(429, retry_after="60"), answer(200)), clock=clock)[0] == 200
    assert clock.waits == [60.0]
    assert run(Script(answer(429, retry_after="61"), answer(200)), clock=clock)[0] == 429
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert run(Script(answer(503, retry_after=later), answer(200)), clock=clock)[0] == 503
    assert clock.waits == [60.0]


@pytest.mark.parametrize(
    ("outcome", "again"),
    [
        (lambda: answer(500), False),
        (lambda: answer(429), True),
        (lambda: answer(503), True),
        (lambda: fault("broken"), False),
        (lambda: fault("refused"), True),
    ],
)
def test_what_may_have_been_done_is_not_done_twice(
    outcome: Callable[[], Answer | ConnectionFault], again: bool
) -> None:
    script = Script(outcome(), answer(201))
    try:
        status = run(script, method="POST")[0]
    except ConnectionFault:
        status = 0
    assert (status == 201) is again


def test_closing_ends_the_waiting() -> None:
    clock = Clock()
    clock.set()
    with pytest.raises(ConnectionFault, match="closed here"):
        run(Script(answer(503), answer(200)), clock=clock)
