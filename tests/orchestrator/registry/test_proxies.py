"""Which proxy is taken for which host."""

from __future__ import annotations

import pytest

from polyarch.registry.origin import origin_of
from polyarch.registry.proxies import proxies_of_environment, proxy_for

BOTH = {"http": "http://plain:3128", "https": "http://secure:3128"}


@pytest.mark.parametrize(
    ("scheme", "host", "proxies", "proxy"),
    [
        ("https", "a", {}, None),
        ("https", "a", BOTH, "http://secure:3128"),
        ("http", "a", BOTH, "http://plain:3128"),
        ("https", "a", {"all": "socks5://s:1080"}, "socks5://s:1080"),
        ("https", "a", {"https": "bare:3128"}, "http://bare:3128"),
        ("https", "127.0.0.1", BOTH, None),
        ("https", "localhost:5000", BOTH, None),
        ("https", "a", {**BOTH, "no": "*"}, None),
        ("https", "a.example.com", {**BOTH, "no": "b, example.com"}, None),
        ("https", "a.example.com", {**BOTH, "no": ".example.com"}, None),
        ("https", "a.example.com", {**BOTH, "no": "*.Example.com"}, None),
        ("https", "anexample.com", {**BOTH, "no": "example.com"}, "http://secure:3128"),
        ("https", "a:5000", {**BOTH, "no": "a:5000"}, None),
        ("https", "a:5001", {**BOTH, "no": "a:5000"}, "http://secure:3128"),
        ("https", "10.1.2.3", {**BOTH, "no": "10.0.0.0/8"}, None),
        ("https", "10.1.2.3", {**BOTH, "no": "10.1.2.3"}, None),
        ("https", "11.1.2.3", {**BOTH, "no": "10.0.0.0/8,,x/y"}, "http://secure:3128"),
        ("https", "[fd00::1]:5000", {**BOTH, "no": "fd00::/8"}, None),
        ("https", "[fd00::1]:5000", {**BOTH, "no": "[fd00::1]:5001"}, "http://secure:3128"),
    ],
)
def test_the_proxy_for_a_host(scheme: str, host: str, proxies: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(origin_of(scheme, host), proxies) == proxy


def test_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://p:1")
    monkeypatch.setenv("no_proxy", "b")
    proxies = proxies_of_environment()
    assert proxy_for(origin_of("https", "a"), proxies) == "http://p:1"
    assert proxy_for(origin_of("https", "b"), proxies) is None
