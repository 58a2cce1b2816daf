"""Lists of tags, page by page."""

from __future__ import annotations

import json

import pytest

from polyarch.errors import IntegrityError, NotFoundError, UnreachableError
from polyarch.reference import parse_reference
from polyarch.registry.pages import next_page
from support import faults
from support.docker_registry import DockerRegistry
from support.exchange import Answer, Body, Request
from support.faulty_registry import FaultyRegistry
from support.registry_client import Connect

TAGS = "/tags/list"


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("", None),
        ('</v2/a/tags/list?n=2&last=b>; rel="next"', "/v2/a/tags/list?n=2&last=b"),
        ("<?last=b>; rel=next", "/v2/a/tags/list?last=b"),
        ('<http://a.example:5000/v2/a/tags/list?last=b>; rel="next"', "/v2/a/tags/list?last=b"),
        ('<https://a.example:5000/x?last=b,c>; title="t"; REL="prev next"', "/x?last=b,c"),
        ('</first>; rel="first", </second>; rel="next"', "/second"),
        ('<?last=b>; title="x"; rel="prev next"', "/v2/a/tags/list?last=b"),
        ("<?last=b>; rel=NEXT; title=x", "/v2/a/tags/list?last=b"),
        ('<?last=b>; rel="nextone"', None),
        ('</v2/a/tags/list?last=b>; rel="last"', None),
        ('<https://evil.example/v2/>; rel="next"', None),
        ('<https://a.example/v2/>; rel="next"', None),
        ('<ftp://a.example:5000/v2/>; rel="next"', None),
        ('<//user@a.example:5000/>; rel="next"', None),
        ("nonsense", None),
    ],
)
def test_the_next_page(field: str, path: str | None) -> None:
    assert next_page(field, "a.example:5000", "/v2/a/tags/list?n=2") == path


def test_the_tags_of_the_real_registry(connect: Connect, registry: DockerRegistry) -> None:
    tags = set(connect().registry.tags(parse_reference(registry.ref("tagged"))))
    assert tags == {"1.0-amd64", "1.0-arm64v8", "1.0-armhf"}


def test_a_missing_repository(connect: Connect, registry: DockerRegistry) -> None:
    with pytest.raises(NotFoundError, match="has no repository no/such"):
        list(connect().registry.tags(parse_reference(registry.ref("no/such"))))


def _pages(count: int) -> faults.Fault:
    """`count` pages of one tag each; the last one has no Link."""

    def page(request: Request, _: Answer) -> Answer:
        number = int(request.query.get("last", ["0"])[0])
        headers = {"Content-Type": "application/json"}
        if number + 1 < count:
            headers["Link"] = f'<{request.path}?n=1000&last={number + 1}>; rel="next"'
        return Answer(200, headers, Body(json.dumps({"name": "x", "tags": [f"t{number}"]}).encode()))

    return page


def test_pages_are_followed_when_they_are_wanted(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", TAGS, _pages(5), forever=True)
    reference = parse_reference(faulty_registry.ref("busybox"))
    tags = connect().registry.tags(reference)
    assert next(tags) == "t0"
    assert len(faulty_registry.asked("GET", TAGS)) == 1
    assert list(tags) == ["t1", "t2", "t3", "t4"]
    assert [request.query["n"] for request in faulty_registry.asked("GET", TAGS)] == [["1000"]] * 5


def test_a_loop_is_cut(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    link = '</v2/busybox/tags/list?n=1000&last=a>; rel="next"'
    fault = faults.status(200, b'{"name":"busybox","tags":["a"]}', Link=link)
    faulty_registry.script("GET", TAGS, fault, forever=True)
    assert list(connect().registry.tags(parse_reference(faulty_registry.ref("busybox")))) == ["a"]
    assert len(faulty_registry.asked("GET", TAGS)) == 2


def test_a_link_to_another_host_is_not_followed(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    link = f'<http://{faulty_registry.elsewhere}/v2/busybox/tags/list?last=a>; rel="next"'
    faulty_registry.script("GET", TAGS, faults.status(200, b'{"tags":["a"]}', Link=link), forever=True)
    assert list(connect().registry.tags(parse_reference(faulty_registry.ref("busybox")))) == ["a"]
    assert {request.host for request in faulty_registry.requests} == {faulty_registry.address}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.status(200, b'{"name":"busybox","tags":[1]}'), IntegrityError),
        (faults.status(200, b'{"name":"busybox","tags":"a"}'), IntegrityError),
        (faults.status(200, b"[]"), IntegrityError),
        (faults.huge(5 << 20), IntegrityError),
        (faults.html_error(501), UnreachableError),
    ],
)
def test_no_list(
    connect: Connect, faulty_registry: FaultyRegistry, fault: faults.Fault, error: type[Exception]
) -> None:
    faulty_registry.script("GET", TAGS, fault, forever=True)
    with pytest.raises(error):
        list(connect().registry.tags(parse_reference(faulty_registry.ref("busybox"))))


def test_a_repository_without_tags(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", TAGS, faults.status(200, b'{"name":"busybox","tags":null}'))
    assert list(connect().registry.tags(parse_reference(faulty_registry.ref("busybox")))) == []
