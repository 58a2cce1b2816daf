"""Who is asked for a reference, and in which order: podman's rules, containerd's hosts, the registry. A pure table."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.contract import Endpoint, Reference, UnauthorizedError, UsageError
from polyarch.reference import parse_reference
from polyarch.registry.certificates import Certificates
from polyarch.registry.hosts_toml import Hosts, parse_hosts
from polyarch.registry.mirrors import Source, plan, unblocked
from polyarch.registry.place import call_to
from polyarch.registry.registries_conf import parse_registries_conf
from polyarch.registry.trust import USUAL, Trust

FILE = Path("/etc/containers/registries.conf")
HOSTS = Path("/etc/containerd/certs.d/x/hosts.toml")
DIGEST = "sha256:" + "0" * 64


def locate(reference: Reference) -> Endpoint:
    """As Docker Hub's plugin does: its registry is on another host than its name says."""
    if reference.registry == "docker.io":
        return Endpoint("registry-1.docker.io", reference.repository, "https://index.docker.io/v1/")
    return Endpoint(reference.registry, reference.repository, reference.registry)


def sources(reference: str, conf: str = "", **hosts: str) -> tuple[Source, ...]:
    """`hosts` are hosts.toml files by their registry, dots written as lines."""
    files = {name.replace("_", "."): parse_hosts(text.encode(), HOSTS) for name, text in hosts.items()}

    def hosts_of(registry: str) -> Hosts | None:
        return files.get(registry)

    return plan(parse_reference(reference), parse_registries_conf(conf.encode(), FILE), hosts_of, locate)


def urls(found: tuple[Source, ...]) -> list[str]:
    """What is asked: `*` where the registry may choose between http and https."""
    calls = [call_to(source.place, "GET", f"/v2/{source.place.repository}/tags/list") for source in found]
    return [f"{'/'.join(call.schemes) or '*'}://{call.host}{call.path}" for call in calls]


def test_without_files_the_registry_alone() -> None:
    [alone] = sources("busybox")
    assert (alone.name, alone.mirror, alone.place.trust, alone.place.retries) == ("docker.io", False, USUAL, None)
    assert urls((alone,)) == ["*://registry-1.docker.io/v2/library/busybox/tags/list"]
    assert alone.place.credentials_key == "https://index.docker.io/v1/"


MIRRORS = """
[[registry]]
prefix = "example.com/foo"
location = "internal.example/bar"
[[registry.mirror]]
location = "one.local/m"
[[registry.mirror]]
location = "docker.io/copies"
insecure = true
"""


def test_the_whole_order() -> None:
    found = sources(
        "example.com/foo/app:1",
        MIRRORS,
        internal_example="[host.'https://two.local/us']\n[host.'http://three.local:5000']\ncapabilities = ['pull']",
    )
    assert urls(found) == [
        "*://one.local/v2/m/app/tags/list",
        "*://registry-1.docker.io/v2/copies/app/tags/list",
        "https://two.local/us/v2/bar/app/tags/list?ns=internal.example",
        "http://three.local:5000/v2/bar/app/tags/list?ns=internal.example",
        "*://internal.example/v2/bar/app/tags/list",
    ]
    assert [source.name for source in found] == [
        "one.local",
        "docker.io",
        "two.local",
        "three.local:5000",
        "internal.example",
    ]
    assert [source.mirror for source in found] == [True] * 4 + [False]
    assert [source.place.retries for source in found] == [0] * 4 + [None]
    assert [source.place.trust.insecure for source in found] == [False, True, False, True, False]
    assert [source.resolves for source in found] == [True, True, True, False, True]
    assert [source.place.credentials_key for source in found][1:3] == ["https://index.docker.io/v1/", "two.local"]
    assert str(found[0].reference) == "one.local/m/app:1"


def test_a_mirrors_credentials_are_its_own() -> None:
    for source in sources("example.com/foo/app", MIRRORS, internal_example="[host.'https://two.local']"):
        host = source.reference.registry
        assert source.place.credentials_key in (host, "https://index.docker.io/v1/")
        assert source.place.host in (host, "registry-1.docker.io")


def test_other_names_are_left_alone() -> None:
    assert urls(sources("example.com/foobar/app", MIRRORS)) == ["*://example.com/v2/foobar/app/tags/list"]


def test_a_hosts_file_is_that_of_the_rewritten_registry() -> None:
    found = sources("example.com/foo/app", MIRRORS, example_com="[host.'https://wrong.local']")
    assert "wrong.local" not in [source.name for source in found]


# which mirrors serve: by tag; a digest within what a tag named; by digest
PULLS = {
    "": (True, True, True),
    "pull-from-mirror = 'all'": (True, True, True),
    "pull-from-mirror = 'digest-only'": (False, False, True),
    "pull-from-mirror = 'tag-only'": (True, True, False),
}


@pytest.mark.parametrize(("setting", "serves"), PULLS.items())
def test_pull_from_mirror(setting: str, serves: tuple[bool, bool, bool]) -> None:
    conf = f"[[registry]]\nlocation='a.b'\n[[registry.mirror]]\nlocation='m.local'\n{setting}"
    mirror, itself = sources("a.b/app:1", conf)
    assert mirror.serves(by_digest=False, tag=True) == serves[0]
    assert mirror.serves(by_digest=False, tag=False) == serves[1]
    assert mirror.serves(by_digest=True, tag=False) == serves[2]
    assert itself.serves(by_digest=False, tag=True)
    assert itself.serves(by_digest=True, tag=False)


def test_a_host_that_may_not_resolve_gives_content_only() -> None:
    host, _ = sources("a.b/app:1", a_b="[host.'https://m.local']\ncapabilities = ['pull']")
    assert not host.serves(by_digest=False, tag=True)
    assert host.serves(by_digest=False, tag=False)


def test_a_host_that_may_not_pull_is_left_out() -> None:
    found = sources("a.b/app:1", a_b="[host.'https://m.local']\ncapabilities = ['push', 'resolve']")
    assert [source.name for source in found] == ["a.b"]


def test_a_server_takes_the_registrys_place() -> None:
    found = sources("a.b/app", a_b="server = 'https://s.local/x'\n[host.'https://m.local']")
    assert urls(found) == ["https://m.local/v2/app/tags/list?ns=a.b", "https://s.local/x/v2/app/tags/list?ns=a.b"]
    assert [(source.mirror, source.place.retries) for source in found] == [(True, 0), (False, None)]
    # The documentation's own example: Docker Hub by its name, which is no host of a registry.
    assert urls(sources("busybox", docker_io="server = 'https://docker.io'")) == [
        "*://registry-1.docker.io/v2/library/busybox/tags/list"
    ]
    with pytest.raises(UsageError, match=str(HOSTS)):
        sources("a.b/app", a_b="server = 'https://s.local'\ncapabilities = ['push']")


def test_what_is_said_of_the_registry_itself() -> None:
    [alone] = sources("a.b/app", a_b="skip_verify = true\nca = 'ca.pem'\ndial_timeout = '2s'")
    trust = Trust(True, Certificates((HOSTS.parent / "ca.pem",)), connect_timeout=2.0)
    assert (alone.place.trust, alone.place.namespace) == (trust, "")
    [alone] = sources("a.b/app", "[[registry]]\nlocation = 'a.b'\ninsecure = true")
    assert alone.place.trust == Trust(insecure=True)
    [other] = sources("a.b/app", "[[registry]]\nlocation = 'a.b/other'\ninsecure = true")
    assert other.place.trust == USUAL
    [wild] = sources("c.a.b/app", "[[registry]]\nprefix = '*.a.b'\ninsecure = true")
    assert (wild.name, wild.place.trust) == ("c.a.b", Trust(insecure=True))


BLOCKED = {
    "by name": "[[registry]]\nlocation = 'a.b/c'\nblocked = true",
    # podman 4.3 lets this one through, against containers-registries.conf(5): "pulling images with matching names"
    "rewritten": "[[registry]]\nprefix = 'a.b/c'\nlocation = 'd.e'\nblocked = true",
    "where it leads": "[[registry]]\nprefix='a.b'\nlocation='d.e/x'\n[[registry]]\nlocation = 'd.e'\nblocked=true",
    "by wildcard": "[[registry]]\nprefix = '*.b'\nblocked = true",
}


@pytest.mark.parametrize("conf", BLOCKED.values(), ids=BLOCKED)
def test_blocked(conf: str) -> None:
    with pytest.raises(UnauthorizedError, match=rf"^a\.b/c/app:1: {FILE} blocks ") as caught:
        sources("a.b/c/app:1", conf)
    assert caught.value.details["file"] == str(FILE)
    assert caught.value.details["prefix"] in conf
    assert "rule of this machine" in (caught.value.hint or "")


def test_of_a_list_or_a_login_the_registry_is_told() -> None:
    conf = parse_registries_conf(b"[[registry]]\nlocation = 'a.b'\nblocked = true", FILE)
    for name, shown in ((Reference("a.b", "login", tag=""), "a.b"), (Reference("a.b", "c"), "a.b/c:latest")):
        with pytest.raises(UnauthorizedError) as caught:
            unblocked(name, name, conf)
        assert caught.value.message.startswith(f"{shown}: ")
        assert caught.value.details["reference"] == shown


def test_a_longer_prefix_lets_through() -> None:
    conf = "[[registry]]\nlocation='a.b'\nblocked=true\n[[registry]]\nlocation='a.b/free'"
    assert [source.name for source in sources("a.b/free/app", conf)] == ["a.b"]


def test_a_blocked_mirror_is_left_out() -> None:
    conf = (
        "[[registry]]\nlocation='a.b'\n[[registry.mirror]]\nlocation='m.local'\n"
        "[[registry]]\nlocation='m.local'\nblocked=true"
    )
    assert [source.name for source in sources("a.b/app", conf)] == ["a.b"]
