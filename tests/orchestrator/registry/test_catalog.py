"""Lists of repositories, where a registry gives one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polyarch.errors import IntegrityError, UnauthorizedError, UnreachableError, UsageError
from support import faults
from support.docker_registry import DockerRegistry
from support.exchange import Answer, Body, Request
from support.faulty_registry import FaultyRegistry
from support.registry_auth import TokenServer, write_auth_file
from support.registry_client import Connect

CATALOG = "/v2/_catalog"


def test_the_repositories_of_the_real_registry(connect: Connect, registry: DockerRegistry) -> None:
    found = list(connect().registry.repositories(registry.address))
    assert {"busybox", "tagged", "single"} <= set(found)
    assert len(found) == len(set(found))


def test_a_registry_that_gives_few_at_once(connect: Connect, registry: DockerRegistry, tmp_path: Path) -> None:
    """distribution's `catalog.maxentries`: a larger number is refused, and without one so many come."""
    server = DockerRegistry(tmp_path / "few", {"catalog": {"maxentries": 2}}, storage=registry.storage)
    try:
        found = list(connect().registry.repositories(server.address))
        statuses = [access.status for access in server.access_log()]
    finally:
        server.stop()
    assert sorted(found) == sorted(connect().registry.repositories(registry.address))
    assert statuses[:2] == [400, 400]  # the second: is it TLS that it speaks?
    assert set(statuses[2:]) == {200}
    assert statuses.count(200) >= len(found) // 2


def test_a_login_is_asked_for(
    connect: Connect, token_registry: DockerRegistry, token_server: TokenServer, tmp_path: Path
) -> None:
    with pytest.raises(UnauthorizedError, match="refuses the list of its repositories") as caught:
        list(connect().registry.repositories(token_registry.address))
    assert f"administrators only; polyarch login {token_registry.address}" in (caught.value.hint or "")
    file = write_auth_file(tmp_path / "auth.json", token_registry.address)
    assert "busybox" in list(connect(auth_file=file).registry.repositories(token_registry.address))
    assert token_server.requests[-1].fields["scope"] == ["registry:catalog:*"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.status(404, b"404 page not found\n"), UsageError),
        (
            faults.status(405, b'{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}'),
            UsageError,
        ),
        (faults.status(400, b'{"errors":[{"code":"UNSUPPORTED"}]}'), UsageError),
        (faults.status(400, b'{"errors":[{"code":"PAGINATION_NUMBER_INVALID"}]}'), UnreachableError),
        (faults.status(403, b'{"errors":[{"code":"DENIED"}]}'), UnauthorizedError),
        (faults.status(418), UnreachableError),
        (faults.status(200, b'{"repositories":[1]}'), IntegrityError),
        (faults.status(200, b"<html>"), IntegrityError),
    ],
)
def test_no_list(
    connect: Connect, faulty_registry: FaultyRegistry, fault: faults.Fault, error: type[Exception]
) -> None:
    faulty_registry.script("GET", CATALOG, fault, forever=True)
    with pytest.raises(error, match=faulty_registry.address):
        list(connect().registry.repositories(faulty_registry.address))
    assert len(faulty_registry.asked("GET", CATALOG)) <= 3  # one for the 400 that may come of TLS


def _full_pages(pages: int, *, knows_last: bool = True) -> faults.Fault:
    """Pages of a thousand without a Link; one that does not know `last` gives its first page always."""
    names = [f"r{number:05}" for number in range(pages * 1000)]

    def page(request: Request, _: Answer) -> Answer:
        last = request.query.get("last", [""])[0] if knows_last else ""
        following = [name for name in names if name > last][:1000]
        return Answer(200, {}, Body(json.dumps({"repositories": following}).encode()))

    return page


def test_full_pages_without_a_link_are_followed(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", CATALOG, _full_pages(3), forever=True)
    assert len(set(connect().registry.repositories(faulty_registry.address))) == 3000
    asked = [request.query.get("last") for request in faulty_registry.asked("GET", CATALOG)]
    assert asked == [None, ["r00999"], ["r01999"], ["r02999"]]


def test_a_registry_that_does_not_know_last(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    faulty_registry.script("GET", CATALOG, _full_pages(1, knows_last=False), forever=True)
    assert len(list(connect().registry.repositories(faulty_registry.address))) == 1000
    assert len(faulty_registry.asked("GET", CATALOG)) == 2
