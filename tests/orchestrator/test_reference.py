"""What a person writes, and the image that it names."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import UsageError
from polyarch.reference import Reference, check_new_name, names_tag, parse_reference, parse_registry

D = "sha256:" + "0123456789abcdef" * 4
D512 = "sha512:" + "0123456789abcdef" * 8
HUB = "docker.io"
LONG = "a" * 128


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        # The first path component is a registry only if it looks like one (distribution/reference, normalize.go).
        ("busybox", HUB, "library/busybox", "latest", ""),
        ("busybox:1.36", HUB, "library/busybox", "1.36", ""),
        ("zavy86/clock", HUB, "zavy86/clock", "latest", ""),
        ("zavy86/clock:2", HUB, "zavy86/clock", "2", ""),
        ("library/busybox", HUB, "library/busybox", "latest", ""),
        ("docker.io/busybox", HUB, "library/busybox", "latest", ""),
        ("docker.io/library/busybox", HUB, "library/busybox", "latest", ""),
        ("docker.io/zavy86/clock", HUB, "zavy86/clock", "latest", ""),
        ("index.docker.io/busybox", HUB, "library/busybox", "latest", ""),
        ("registry-1.docker.io/zavy86/clock:1", HUB, "zavy86/clock", "1", ""),
        ("ghcr.io/actions/actions-runner", "ghcr.io", "actions/actions-runner", "latest", ""),
        ("ghcr.io/actions/actions-runner:2.319", "ghcr.io", "actions/actions-runner", "2.319", ""),
        ("quay.io/a", "quay.io", "a", "latest", ""),
        ("localhost/a", "localhost", "a", "latest", ""),
        ("localhost:5000/a", "localhost:5000", "a", "latest", ""),
        ("host:5000/a", "host:5000", "a", "latest", ""),
        ("10.0.0.7:5000/a/b:1", "10.0.0.7:5000", "a/b", "1", ""),
        (f"10.0.0.7:5000/a/b:1@{D}", "10.0.0.7:5000", "a/b", "1", D),
        (f"10.0.0.7:5000/a/b@{D}", "10.0.0.7:5000", "a/b", "", D),
        ("127.0.0.1/a", "127.0.0.1", "a", "latest", ""),
        ("[::1]/a", "[::1]", "a", "latest", ""),
        ("[::1]:5000/a:2", "[::1]:5000", "a", "2", ""),
        (f"[fd00::7]:5000/a/b@{D}", "[fd00::7]:5000", "a/b", "", D),
        ("[2001:DB8::1]/a", "[2001:DB8::1]", "a", "latest", ""),
        ("MYHOST/a", "MYHOST", "a", "latest", ""),
        ("MyHost:5000/a/b", "MyHost:5000", "a/b", "latest", ""),
        ("Example.COM/a", "Example.COM", "a", "latest", ""),
        ("xn--bcher-kva.example/a", "xn--bcher-kva.example", "a", "latest", ""),
        ("a-b.example/a", "a-b.example", "a", "latest", ""),
        # Without a dot, a colon or an upper-case letter it is a namespace of Docker Hub.
        ("myhost/a", HUB, "myhost/a", "latest", ""),
        ("a/b/c/d", HUB, "a/b/c/d", "latest", ""),
        # Separators inside a component.
        ("a.b", HUB, "library/a.b", "latest", ""),
        ("a_b", HUB, "library/a_b", "latest", ""),
        ("a__b", HUB, "library/a__b", "latest", ""),
        ("a-b", HUB, "library/a-b", "latest", ""),
        ("a---b", HUB, "library/a---b", "latest", ""),
        ("1", HUB, "library/1", "latest", ""),
        ("deadbeef", HUB, "library/deadbeef", "latest", ""),
        # Tags.
        ("a:A", HUB, "library/a", "A", ""),
        ("a:_x", HUB, "library/a", "_x", ""),
        ("a:1.0-arm64v8", HUB, "library/a", "1.0-arm64v8", ""),
        ("a:1..2--3__", HUB, "library/a", "1..2--3__", ""),
        (f"a:{LONG}", HUB, "library/a", LONG, ""),
        ("a:5000", HUB, "library/a", "5000", ""),
        # Digests, and both.
        (f"busybox@{D}", HUB, "library/busybox", "", D),
        (f"busybox:1.36@{D}", HUB, "library/busybox", "1.36", D),
        (f"busybox@{D512}", HUB, "library/busybox", "", D512),
        (f"localhost/a@{D}", "localhost", "a", "", D),
    ],
)
def test_a_text_names_an_image(text: str, registry: str, repository: str, tag: str, digest: str) -> None:
    assert parse_reference(text) == Reference(registry, repository, tag, digest)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (" ", "' ' at character 1"),
        ("a b", "' ' at character 2"),
        ("busybox:", "'' is not a tag"),
        (":1", "no repository"),
        ("busybox:.x", "is not a tag"),
        ("busybox:-x", "is not a tag"),
        ("busybox:a+b", "is not a tag"),
        (f"busybox:{LONG}a", "is not a tag"),
        ("busybox:a:b", "':' at character"),
        ("Busybox", "try busybox"),
        ("Busybox:1.36-A", "try busybox:1.36-A"),
        ("a/Busybox", "try a/busybox"),
        ("ghcr.io/Owner/app", "try ghcr.io/owner/app"),
        ("docker.io/Busybox", "try docker.io/busybox"),
        ("ghcr.io/", "no repository"),
        ("/a", "each part"),
        ("a/", "each part"),
        ("a//b", "each part"),
        ("-a", "each part"),
        ("a-", "each part"),
        ("a..b", "each part"),
        ("a___b", "each part"),
        ("a._b", "each part"),
        ("ä", "'ä' at character"),
        ("a\x1b[31m", r"'\x1b' at character"),
        ("a\u202eb", r"'\u202e' at character"),
        ("https://ghcr.io/a", "leave out https://"),
        ("docker://busybox", "leave out docker://"),
        ("busybox@", "is not a digest"),
        ("busybox@sha256:abc", "is not a digest"),
        (f"busybox@{D.upper()}", "is not a digest"),
        (f"busybox@{D}@{D}", "is not a digest"),
        ("busybox@md5:" + "0" * 32, "is not a digest"),
        (f"@{D}", "no repository"),
        ("0" * 64, "image ID"),
        ("a" * 256, "longer than 255"),
        ("a/" * 3000, "too long"),
        ("-host.example/a", "not a registry host"),
        ("ho_st.example/a", "not a registry host"),
        ("host.example:/a", "not a registry host"),
        ("host.example:x/a", "not a registry host"),
        ("host.example:0/a", "port 0"),
        ("host.example:65536/a", "port 65536"),
        ("[::1/a", "not a registry host"),
        ("[zz]/a", "not a registry host"),
    ],
)
def test_a_bad_text_is_a_usage_error_that_points_at_the_fault(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_reference(text)
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert "\n" not in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("text", ["scratch", "scratch:1", "docker.io/library/scratch", f"a@{D}", f"a:1@{D}"])
def test_no_image_can_be_called_so(text: str) -> None:
    with pytest.raises(UsageError, match=r"scratch: that is the name of none|names a digest"):
        check_new_name(parse_reference(text), text)


@pytest.mark.parametrize("text", ["scratch/app", "ghcr.io/library/scratch", "a:scratch"])
def test_other_names_can_be_given(text: str) -> None:
    check_new_name(parse_reference(text), text)


@pytest.mark.parametrize(
    ("text", "name", "familiar", "whole"),
    [
        ("busybox", "docker.io/library/busybox", "busybox:latest", "docker.io/library/busybox:latest"),
        ("zavy86/clock:1", "docker.io/zavy86/clock", "zavy86/clock:1", "docker.io/zavy86/clock:1"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b:latest", "docker.io/library/a/b:latest"),
        ("ghcr.io/o/a", "ghcr.io/o/a", "ghcr.io/o/a:latest", "ghcr.io/o/a:latest"),
        (f"a@{D}", "docker.io/library/a", f"a@{D}", f"docker.io/library/a@{D}"),
        (f"a:1@{D}", "docker.io/library/a", f"a:1@{D}", f"docker.io/library/a:1@{D}"),
    ],
)
def test_names_are_shown_as_docker_shows_them(text: str, name: str, familiar: str, whole: str) -> None:
    reference = parse_reference(text)
    assert (reference.name, reference.familiar, str(reference)) == (name, familiar, whole)


def test_the_digest_is_asked_for_where_there_is_one() -> None:
    assert parse_reference("a:1").target == "1"
    assert parse_reference(f"a:1@{D}").target == D
    assert parse_reference("a:1").with_digest(D) == parse_reference(f"a:1@{D}")
    assert parse_reference(f"a:1@{D}").with_tag("2") == parse_reference("a:2")
    with pytest.raises(UsageError):
        parse_reference("a").with_tag("no tag")


@pytest.mark.parametrize(
    ("text", "named"),
    [("a", False), ("a:latest", True), ("localhost:5000/a", False), ("localhost:5000/a:1", True), (f"a@{D}", True)],
)
def test_whether_a_text_names_a_tag(text: str, named: bool) -> None:
    assert names_tag(text) is named


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest"),
    [
        ("attic:box/thing", "box/thing", "", ""),
        ("attic:box/thing:1", "box/thing", "1", ""),
        ("attic://box/thing:1", "box/thing", "1", ""),
        ("attic:/srv/Images/x:1", "/srv/Images/x", "1", ""),
        ("attic:a.tar:ghcr.io/b/c:1", "a.tar:ghcr.io/b/c", "1", ""),
        ("attic:a.tar:localhost:5000/b", "a.tar:localhost:5000/b", "", ""),
        ("attic:a.tar:1.0+b", "a.tar:1.0+b", "", ""),
        (f"attic:x@{D}", "x", "", D),
        (f"attic:x:1@{D}", "x", "1", D),
    ],
)
def test_a_claimed_scheme_is_the_plugins(text: str, repository: str, tag: str, digest: str) -> None:
    reference = parse_reference(text, {"attic"})
    assert reference == Reference("", repository, tag, digest, "attic")
    assert parse_reference(str(reference), {"attic"}) == reference


@pytest.mark.parametrize("text", ["attic:", "attic:x:", "attic::1"])
def test_a_scheme_without_a_place_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_reference(text, {"attic"})


def test_an_unclaimed_scheme_is_a_tag() -> None:
    assert parse_reference("attic:box") == Reference(HUB, "library/attic", "box")


@pytest.mark.parametrize(
    ("text", "registry"),
    [
        ("", HUB),
        ("docker.io", HUB),
        ("index.docker.io", HUB),
        ("ghcr.io", "ghcr.io"),
        ("localhost", "localhost"),
        ("myhost", "myhost"),
        ("10.0.0.7:5000", "10.0.0.7:5000"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_a_registry_alone(text: str, registry: str) -> None:
    assert parse_registry(text) == registry


@pytest.mark.parametrize("text", ["https://ghcr.io", "ghcr.io/a", "a b", "host:0", "host:70000", "-", "\n"])
def test_what_is_no_registry_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_registry(text)


_alphanumerics = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=6)
_components = st.builds(
    lambda parts, mark: mark.join(parts),
    st.lists(_alphanumerics, min_size=1, max_size=3),
    st.sampled_from([".", "_", "__", "-", "--"]),
)
_repositories = st.lists(_components, min_size=2, max_size=4).map("/".join)
_hosts = st.sampled_from(
    ["docker.io", "ghcr.io", "localhost", "localhost:5000", "[::1]:80", "HOST", "10.0.0.7", "a.b-c.d:65535"]
)
_tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True).filter(str.isascii)
_digests = st.sampled_from(["", D, D512])


@given(_hosts, _repositories, _tags, _digests)
def test_what_is_written_is_read_again(registry: str, repository: str, tag: str, digest: str) -> None:
    reference = Reference(registry, repository, tag, digest)
    assert parse_reference(str(reference)) == reference
    assert parse_reference(reference.familiar) == reference


@given(_hosts, _repositories, st.sampled_from([D, D512]))
def test_what_is_written_by_digest_is_read_again(registry: str, repository: str, digest: str) -> None:
    reference = Reference(registry, repository, "", digest)
    assert parse_reference(str(reference)) == reference


@given(st.text() | st.text(string.ascii_letters + ":/@.[]-_ \n"), st.sampled_from([(), ("a",)]))
def test_any_text_is_a_reference_or_a_usage_error(text: str, schemes: tuple[str, ...]) -> None:
    fault = ""
    try:
        reference = parse_reference(text, schemes)
        assert parse_reference(str(reference), schemes) == reference
    except UsageError as error:
        fault = str(error)
    assert fault.isprintable()
