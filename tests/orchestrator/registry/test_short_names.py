"""Short names by a table: aliases, then search registries, then docker's rule."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from polyarch.contract import (
    Descriptor,
    Document,
    IntegrityError,
    NotFoundError,
    PolyarchError,
    Reference,
    Registry,
    UnauthorizedError,
    UnreachableError,
    UsageError,
    parse_document,
)
from polyarch.events import Event, Warned
from polyarch.reference import parse_reference
from polyarch.registry.registries_conf import parse_registries_conf
from polyarch.registry.short_names import Names, at_hand, found, names_of

FILE = Path("/etc/containers/registries.conf")
DIGEST = "sha256:" + "0" * 64
CONF = parse_registries_conf(
    b"unqualified-search-registries = ['quay.io', 'docker.io']\n"
    b"[aliases]\n'fedora' = 'registry.fedoraproject.org/fedora'\n"
    b"'hub' = 'docker.io/hub'\n'gone' = ''\n'n/s' = 'x.y/n/s'",
    FILE,
)

# what is written, what it means, what decides
TABLE = [
    ("fedora", ["registry.fedoraproject.org/fedora:latest"], "alias"),
    ("fedora:40", ["registry.fedoraproject.org/fedora:40"], "alias"),
    (f"fedora@{DIGEST}", [f"registry.fedoraproject.org/fedora@{DIGEST}"], "alias"),
    (f"fedora:40@{DIGEST}", [f"registry.fedoraproject.org/fedora:40@{DIGEST}"], "alias"),
    ("hub", ["docker.io/library/hub:latest"], "alias"),
    ("n/s:1", ["x.y/n/s:1"], "alias"),
    ("gone", ["quay.io/gone:latest", "docker.io/library/gone:latest"], "search"),
    ("busybox:1", ["quay.io/busybox:1", "docker.io/library/busybox:1"], "search"),
    ("user/app", ["quay.io/user/app:latest", "docker.io/user/app:latest"], "search"),
    ("docker.io/fedora", ["docker.io/library/fedora:latest"], None),
    ("localhost/fedora", ["localhost/fedora:latest"], None),
    ("host:5000/fedora", ["host:5000/fedora:latest"], None),
    ("oci:fedora", ["oci:fedora"], None),
]


@pytest.mark.parametrize(("text", "means", "how"), TABLE, ids=[row[0] for row in TABLE])
def test_what_a_name_means(text: str, means: list[str], how: str | None) -> None:
    names = names_of(text, lambda: CONF, {"oci"})
    assert ([str(reference) for reference in names.references], names.how) == (means, how)
    assert names.file == (FILE if how else None)


def test_where_no_file_is_dockers_rule_holds() -> None:
    for conf in (None, parse_registries_conf(b"[aliases]\n'a' = 'x.y/a'", FILE)):
        names = names_of("busybox", lambda conf=conf: conf)  # type: ignore[misc]
        assert names == Names((parse_reference("docker.io/library/busybox:latest"),))


def test_full_names_ask_for_no_file() -> None:
    def nobody() -> None:
        raise AssertionError("a file was read")

    assert names_of("quay.io/a/b", nobody).how is None


def test_where_podman_would_ask_the_full_name_is_wanted() -> None:
    conf = parse_registries_conf(
        b"unqualified-search-registries=['a.b', 'c.d']\nshort-name-mode='enforcing'\n[aliases]\n'x'='a.b/x'", FILE
    )
    with pytest.raises(UsageError, match=r"may be a\.b/app:latest or c\.d/app:latest, and /etc/") as caught:
        names_of("app", lambda: conf)
    assert "write the full name" in (caught.value.hint or "")
    assert names_of("x", lambda: conf).how == "alias"
    single = parse_registries_conf(b"unqualified-search-registries=['a.b']\nshort-name-mode='enforcing'", FILE)
    assert names_of("app", lambda: single).how == "search"


def test_at_hand_the_name_that_docker_gives_comes_last() -> None:
    def names(text: str) -> list[str]:
        return [str(reference) for reference in at_hand(names_of(text, lambda: CONF), text)]

    assert names("fedora") == ["registry.fedoraproject.org/fedora:latest", "docker.io/library/fedora:latest"]
    assert names("x") == ["quay.io/x:latest", "docker.io/library/x:latest"]
    assert names("a.b/x") == ["a.b/x:latest"]


class OneAnswer:
    """A registry that answers all alike: with an error, or that it is there; `head` may leave that to `get`."""

    def __init__(self, error: Exception | None = None, *, has_head: bool = True) -> None:
        self.error = error
        self.has_head = has_head
        self.asked: list[str] = []

    def head(self, reference: Reference) -> Descriptor | None:
        self.asked.append(f"head {reference}")
        if self.error is not None and self.has_head:
            raise self.error
        return Descriptor("application/json", DIGEST, 1) if self.has_head else None

    def get(self, reference: Reference) -> Document:
        self.asked.append(f"get {reference}")
        if self.error is not None:
            raise self.error
        return parse_document(b'{"schemaVersion": 2, "manifests": []}')

    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> NoReturn:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError


NAMES = names_of("busybox", lambda: CONF)


def look(quay: OneAnswer, docker: OneAnswer) -> tuple[str, list[str]]:
    """What is found, and the warnings."""
    events: list[Event] = []
    registries: dict[str, Registry] = {"quay.io": quay, "docker.io": docker}
    taken = found("busybox", NAMES, lambda reference: registries[reference.registry], events.append)
    return str(taken), [event.message for event in events if isinstance(event, Warned)]


REFUSALS = [NotFoundError("no"), UnauthorizedError("who?"), UnreachableError("away")]


@pytest.mark.parametrize("error", REFUSALS)
def test_the_first_registry_that_has_it_is_taken(error: PolyarchError) -> None:
    quay, docker = OneAnswer(), OneAnswer()
    assert look(quay, docker) == ("quay.io/busybox:latest", [])
    assert (quay.asked, docker.asked) == (["head quay.io/busybox:latest"], [])
    told = [] if isinstance(error, NotFoundError) else [f"{error}; asking the next search registry"]
    assert look(OneAnswer(error), docker) == ("docker.io/library/busybox:latest", told)


def test_one_that_says_little_is_asked_in_full() -> None:
    quay = OneAnswer(NotFoundError("no"), has_head=False)
    assert look(quay, OneAnswer())[0] == "docker.io/library/busybox:latest"
    assert quay.asked == ["head quay.io/busybox:latest", "get quay.io/busybox:latest"]


@pytest.mark.parametrize("error", REFUSALS)
def test_where_none_has_it_the_gravest_reason_is_told(error: PolyarchError) -> None:
    with pytest.raises(
        type(error), match=r"busybox is in none of the search registries \(quay\.io, docker\.io\)"
    ) as caught:
        look(OneAnswer(error), OneAnswer(NotFoundError("no")))
    assert caught.value.details["tried"] == ["quay.io/busybox:latest", "docker.io/library/busybox:latest"]
    if isinstance(error, NotFoundError):
        assert str(FILE) in (caught.value.hint or "")
    else:
        assert caught.value.message.endswith(f": {error}")


def test_what_is_found_and_broken_is_not_looked_for_elsewhere() -> None:
    docker = OneAnswer()
    with pytest.raises(IntegrityError):
        look(OneAnswer(IntegrityError("broken")), docker)
    assert docker.asked == []
