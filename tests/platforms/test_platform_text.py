"""Platforms as text and as JSON. The rows are containerd's (platforms_test.go) where it has them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch_platforms import architecture
from polyarch_platforms.errors import PlatformError
from polyarch_platforms.platform import Platform, from_oci, normalise, parse, to_oci

WRITTEN = [
    ("amd64", "linux/amd64"),
    ("x86_64", "linux/amd64"),
    ("x86-64", "linux/amd64"),
    ("linux/x86_64", "linux/amd64"),
    ("linux/amd64", "linux/amd64"),
    ("amd64/v1", "linux/amd64"),
    ("linux/amd64/v1", "linux/amd64"),
    ("linux/amd64/v2", "linux/amd64/v2"),
    ("amd64/3", "linux/amd64/v3"),
    ("linux/x86_64/v4", "linux/amd64/v4"),
    ("i386", "linux/386"),
    ("i686", "linux/386"),
    ("x86", "linux/386"),
    ("386", "linux/386"),
    ("linux/386", "linux/386"),
    ("aarch64", "linux/arm64"),
    ("arm64", "linux/arm64"),
    ("arm64/v8", "linux/arm64"),
    ("linux/arm64/v8", "linux/arm64"),
    ("linux/arm64/8", "linux/arm64"),
    ("linux/arm64/v8.0", "linux/arm64"),
    ("linux/aarch64/v8", "linux/arm64"),
    ("linux/arm64/v8.2", "linux/arm64/v8.2"),
    ("linux/arm64/8.2", "linux/arm64/v8.2"),
    ("linux/arm64/v9", "linux/arm64/v9"),
    ("linux/arm64/9", "linux/arm64/v9"),
    ("linux/arm64/v9.0", "linux/arm64/v9"),
    ("arm", "linux/arm/v7"),
    ("linux/arm", "linux/arm/v7"),
    ("linux/arm/7", "linux/arm/v7"),
    ("linux/arm/v7", "linux/arm/v7"),
    ("arm/v6", "linux/arm/v6"),
    ("arm/5", "linux/arm/v5"),
    ("linux/arm/v8", "linux/arm/v8"),
    ("armhf", "linux/arm/v7"),
    ("armel", "linux/arm/v6"),
    ("linux/armhf", "linux/arm/v7"),
    ("linux/armel", "linux/arm/v6"),
    ("armhf/v7", "linux/arm/v7"),
    ("armv6l", "linux/arm/v6"),
    ("armv7l", "linux/arm/v7"),
    ("riscv64", "linux/riscv64"),
    ("linux/riscv64/rva22u64", "linux/riscv64/rva22u64"),
    ("ppc64le", "linux/ppc64le"),
    ("ppc64el", "linux/ppc64le"),
    ("ppc64le/power9", "linux/ppc64le/power9"),
    ("s390x", "linux/s390x"),
    ("mips64el", "linux/mips64le"),
    ("loongarch64", "linux/loong64"),
    ("windows/amd64", "windows/amd64"),
    ("macos/arm64", "darwin/arm64"),
    ("Windows/AMD64", "windows/amd64"),
    ("LINUX/ARM/V6", "linux/arm/v6"),
    ("freebsd/arm64/v8", "freebsd/arm64"),
    ("wasm", "linux/wasm"),
    ("linux/sparc64", "linux/sparc64"),
    ("linux/somethingnew/v2", "linux/somethingnew/v2"),
]


@pytest.mark.parametrize(("text", "platform"), WRITTEN)
def test_what_a_user_writes(text: str, platform: str) -> None:
    assert str(parse(text)) == platform
    assert parse(platform) == parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a part is empty"),
        ("linux", "no architecture"),
        ("windows", "no architecture"),
        ("linux/", "a part is empty"),
        ("/arm64", "a part is empty"),
        ("linux//arm64", "a part is empty"),
        ("linux/arm64/", "a part is empty"),
        ("linux/arm/v7/x", "more than three parts"),
        ("foo", "no known operating system or architecture"),
        ("foo/arm64", "no known operating system or architecture"),
        ("arm/linux/v7", "no known operating system"),
        ("linux/arm 64", "no part of a platform"),
        ("linux/arm64\n", "no part of a platform"),
        ("linux/*", "no part of a platform"),
        ("windows(10.0.17763)/amd64", "no part of a platform"),
        ("linux/ärm", "no part of a platform"),
        ("linux/arm٧", "no part of a platform"),
        ("armhf/v6", "means arm/v7"),
        ("linux/armel/v7", "means arm/v6"),
        ("linux/" + "a" * 65, "no part of a platform"),
        ("x" * 129, "longer than 128"),
        ("\ud800", "no part of a platform"),
        ("linux/\x1b[31m", "\\x1b[31m"),
    ],
)
def test_what_nobody_can_have_meant(text: str, says: str) -> None:
    with pytest.raises(PlatformError) as caught:
        parse(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_platform_error_is_a_value_error_with_a_hint() -> None:
    with pytest.raises(ValueError) as caught:
        parse("armhf/v6")
    assert isinstance(caught.value, PlatformError)
    assert caught.value.hint == "write arm/v6 or armhf alone"


_WORD = st.sampled_from(
    [
        *architecture.words(),
        "linux",
        "windows",
        "macos",
        "v5",
        "v6",
        "v7",
        "v8",
        "8",
        "v8.0",
        "9.0",
        "v9",
        "v1",
        "rva22u64",
    ]
) | st.text("abcv0123456789._-AX", max_size=6)


@given(st.lists(_WORD, min_size=1, max_size=4).map("/".join) | st.text(max_size=140))
def test_any_text_is_a_platform_that_reads_back_or_a_platform_error(text: str) -> None:
    try:
        platform = parse(text)
    except PlatformError:
        return
    assert parse(str(platform)) == platform
    assert normalise(platform) == platform
    assert from_oci(to_oci(platform)) == platform


@pytest.mark.parametrize("value", [None, 7, b"linux/arm64", ["linux"]])
def test_what_is_no_text(value: Any) -> None:
    with pytest.raises(PlatformError):
        parse(value)


@pytest.mark.parametrize(
    ("document", "platform"),
    [
        ({"os": "linux", "architecture": "amd64"}, Platform("linux", "amd64")),
        ({"os": "linux", "architecture": "amd64", "variant": "v1"}, Platform("linux", "amd64")),
        ({"os": "linux", "architecture": "x86_64"}, Platform("linux", "amd64")),
        ({"os": "Linux", "architecture": "ARM64", "variant": "V8"}, Platform("linux", "arm64")),
        ({"os": "linux", "architecture": "aarch64", "variant": "8"}, Platform("linux", "arm64")),
        ({"os": "linux", "architecture": "arm", "variant": "7"}, Platform("linux", "arm", "v7")),
        # Only the program itself can tell.
        ({"os": "linux", "architecture": "arm"}, Platform("linux", "arm")),
        ({"os": "linux", "architecture": "arm", "variant": ""}, Platform("linux", "arm")),
        ({"os": "linux", "architecture": "arm", "variant": None}, Platform("linux", "arm")),
        # As containerd's normalizeArch: the alias decides.
        ({"os": "linux", "architecture": "armhf", "variant": "v6"}, Platform("linux", "arm", "v7")),
        ({"os": "linux", "architecture": "armel"}, Platform("linux", "arm", "v6")),
        ({"os": "unknown", "architecture": "unknown"}, Platform("unknown", "unknown")),
        (
            {"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1", "os.features": ["win32k"]},
            Platform("windows", "amd64", "", "10.0.17763.1", ("win32k",)),
        ),
        ({"os": "linux", "architecture": "riscv64", "features": ["sse4"], "else": 1}, Platform("linux", "riscv64")),
    ],
)
def test_the_platform_of_an_index_entry(document: dict[str, object], platform: Platform) -> None:
    assert from_oci(document) == platform
    assert from_oci(to_oci(platform)) == platform


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "linux/arm64",
        {},
        {"os": "linux"},
        {"architecture": "arm64"},
        {"os": "", "architecture": "arm64"},
        {"os": "linux", "architecture": 64},
        {"os": ["linux"], "architecture": "arm64"},
        {"os": "linux", "architecture": "arm", "variant": 7},
        {"os": "linux", "architecture": "arm", "variant": "v7\n"},
        {"os": "linux", "architecture": "a/b"},
        {"os": "linux", "architecture": "a" * 65},
        {"os": "linux", "architecture": "\x1b[2J"},
        {"os": "windows", "architecture": "amd64", "os.version": {}},
        {"os": "windows", "architecture": "amd64", "os.features": "win32k"},
        {"os": "windows", "architecture": "amd64", "os.features": [1]},
        {"os": "windows", "architecture": "amd64", "os.features": ["x"] * 33},
    ],
)
def test_a_platform_object_that_is_none(document: Any) -> None:
    with pytest.raises(PlatformError):
        from_oci(document)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["os", "architecture", "variant", "os.version", "os.features"]), _JSON | _WORD, max_size=5
    )
)
def test_any_object_is_a_platform_or_a_platform_error(document: dict[str, object]) -> None:
    try:
        platform = from_oci(document)
    except PlatformError:
        return
    assert normalise(platform) == platform
    assert from_oci(to_oci(platform)) == platform
