"""Origins: reading URLs one way only, loopback and metadata addresses, and who is whose neighbour."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.registry.origin import (
    Origin,
    is_listed,
    is_loopback,
    is_private_to_machine,
    join_url,
    same_site,
    split_url,
)


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("https://Registry.Example.com/v2/", Origin("https", "registry.example.com", 443), "/v2/"),
        ("http://a:5000", Origin("http", "a", 5000), "/"),
        ("HTTPS://a:443/x?y=%2F+z~#fragment", Origin("https", "a", 443), "/x?y=%2F+z~"),
        ("http://[::1]:80/x", Origin("http", "[::1]", 80), "/x"),
        ("http://[::1]/a b", Origin("http", "[::1]", 80), "/a%20b"),
        ("https://a/?X-Amz-Signature=a%2Bb/c=", Origin("https", "a", 443), "/?X-Amz-Signature=a%2Bb/c="),
    ],
)
def test_a_url_is_split(url: str, origin: Origin, path: str) -> None:
    assert split_url(url) == (origin, path)
    assert split_url(f"{origin}{path}") == (origin, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a",
        "/v2/",
        "ftp://a/",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://user@a/",
        "https://user:secret@a/",
        "https://a:port/",
        "https://a:99999/",
        "https://a\\@b/",
        "https://a b/",
        "https://bücher.example/",
        "http://[::1/",
        "http://[::1%25eth0]/",
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        split_url(url)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_a_url_or_a_value_error(base: str, target: str) -> None:
    try:
        origin, path = split_url(join_url(f"https://a.example/{base}", target))
    except ValueError:
        return
    assert split_url(f"{origin}{path}") == (origin, path)
    assert path.startswith("/")
    assert path.isascii()


@pytest.mark.parametrize(
    ("target", "joined"),
    [
        ("/v2/b?x=1", "https://a:5000/v2/b?x=1"),
        ("https://c/d", "https://c/d"),
        ("//c/d", "https://c/d"),
        ("?last=b", "https://a:5000/v2/x?last=b"),
        (" y ", "https://a:5000/v2/y"),
    ],
)
def test_a_location_is_joined(target: str, joined: str) -> None:
    assert join_url("https://a:5000/v2/x", target) == joined


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example.com", "128.0.0.1", "[::2]", "10.0.0.1", "a"])
def test_no_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.0.1",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "[64:ff9b::a9fe:a9fe]",
        "metadata.google.internal",
        "Metadata.Google.Internal.",
    ],
)
def test_metadata_addresses(host: str) -> None:
    assert is_private_to_machine(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "registry.example.com", "[2001:db8::1]", "169.253.1.1"])
def test_ordinary_addresses(host: str) -> None:
    assert not is_private_to_machine(host)


@pytest.mark.parametrize(
    ("listed", "host", "port", "answer"),
    [
        ((), "a", 443, False),
        (("a",), "a", 5000, True),
        (("A:5000",), "a", 5000, True),
        (("a:5000",), "a", 5001, False),
        (("10.0.0.0/8",), "10.1.2.3", 5000, True),
        (("10.0.0.0/8",), "11.1.2.3", 5000, False),
        (("10.0.0.0/8", "nonsense/x"), "a", 5000, False),
        (("fd00::/8",), "[fd00::1]", 5000, True),
    ],
)
def test_a_list_of_registries(listed: tuple[str, ...], host: str, port: int, answer: bool) -> None:
    assert is_listed(host, port, listed) is answer


@pytest.mark.parametrize(
    ("registry", "other"),
    [
        ("registry-1.docker.io", "auth.docker.io"),
        ("registry.gitlab.com", "gitlab.com"),
        ("ghcr.io", "ghcr.io"),
        ("ghcr.io", "auth.ghcr.io"),
        ("docker.elastic.co", "docker-auth.elastic.co"),
        ("registry.cn-hangzhou.aliyuncs.com", "dockerauth.cn-hangzhou.aliyuncs.com"),
        ("registry.example.co.uk", "auth.example.co.uk"),
        ("Registry.Example.com.", "auth.example.com"),
    ],
)
def test_one_site(registry: str, other: str) -> None:
    assert same_site(registry, other)


@pytest.mark.parametrize(
    ("registry", "other"),
    [
        ("registry-1.docker.io", "auth.docker.io.evil.example"),
        ("registry-1.docker.io", "evildocker.io"),
        ("registry.example.com", "example.org"),
        ("example.co.uk", "evil.co.uk"),
        ("registry.co.uk", "auth.co.uk"),
        ("mine.azurecr.io", "evil.azurecr.io"),
        ("x.dkr.ecr.eu-west-1.amazonaws.com", "y.dkr.ecr.eu-west-1.amazonaws.com"),
        ("ghcr.io", "quay.io"),
        ("registry", "auth"),
        ("10.0.0.7", "10.0.0.8"),
        ("10.0.0.7", "0.0.7"),
    ],
)
def test_strangers(registry: str, other: str) -> None:
    assert not same_site(registry, other)
