"""What a registry wants its users to know: read, told once, and nothing done about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.events import Event, Warned
from polyarch.reference import parse_reference
from polyarch.registry.notices import LONGEST, MOST, NoticeWatch, notices
from support import faults
from support.exchange import Answer, Request
from support.faulty_registry import FaultyRegistry
from support.registry_client import Connect


@pytest.mark.parametrize(
    ("field", "read"),
    [
        ('299 - "It ends in May."', ("It ends in May.",)),
        ('299 - "a", 299 - "b, c", 299 - "d"', ("a", "b, c", "d")),
        (r'299 - "say \"hi\" \\"', ('say "hi" \\',)),
        ('110 cache "Response is stale"', ()),
        ('299 proxy "not the registry\'s"', ()),
        ('199 - "other"', ()),
        ('110 cache "old", 299 - "a"', ("a",)),
        ("299 - no quotes", ()),
        ('299 - "no end', ()),
        ("", ()),
        (f'299 - "{"x" * LONGEST}"', ()),
    ],
    ids=("one", "several", "escaped", "cache", "proxy", "code", "both", "bare", "open", "none", "long"),
)
def test_what_the_field_says(field: str, read: tuple[str, ...]) -> None:
    assert notices(field) == read


@given(st.text(max_size=80))
def test_any_field_is_read(field: str) -> None:
    events: list[Event] = []
    NoticeWatch(events.append).look("a.example", {"warning": f'299 - "{field}"'})
    assert all(isinstance(event, Warned) and event.message.isprintable() for event in events)


def test_a_notice_is_told_once_and_not_too_many() -> None:
    events: list[Event] = []
    watch = NoticeWatch(events.append)
    for number in (0, 0, *range(3 * MOST)):
        watch.look("a.example", {"warning": f'299 - "{number}"'})
    watch.look("b.example", {"warning": '299 - "0"'})
    assert events == [
        *(Warned(f"a.example says: {number}") for number in range(MOST)),
        Warned("b.example says: 0"),
    ]


def test_notices_of_a_registry_reach_the_user(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    def noticed(_: Request, answer: Answer) -> Answer:
        return answer.with_headers(Warning='299 - "It ends\x1b[31m in May."')

    faulty_registry.script("GET", "/manifests/", noticed, forever=True)
    connected = connect()
    for _ in range(2):
        assert connected.registry.get(parse_reference(faulty_registry.ref("busybox:1.36"))).raw
    assert connected.warnings == [rf"{faulty_registry.address} says: It ends\x1b[31m in May."]


def test_who_a_redirect_leads_to_tells_nothing(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    """Whoever keeps the documents for a registry is not the registry."""

    def away(request: Request, answer: Answer) -> Answer:
        if request.host == faulty_registry.elsewhere:
            return answer.with_headers(Warning='299 - "log in at evil.example"')
        return faults.redirect_to_host(faulty_registry.elsewhere)(request, answer)

    faulty_registry.script("GET", "/manifests/", away, forever=True)
    connected = connect()
    assert connected.registry.get(parse_reference(faulty_registry.ref("busybox:1.36"))).raw
    assert faulty_registry.asked("GET", "/manifests/")[-1].host == faulty_registry.elsewhere
    assert connected.warnings == []
