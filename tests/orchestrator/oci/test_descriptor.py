"""Descriptors (OCI image-spec 1.1, descriptor.md)."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import IntegrityError
from polyarch.oci.descriptor import Descriptor, parse_descriptor
from polyarch.oci.digest import digest_of
from polyarch_platforms.platform import Platform

GOOD = {"mediaType": "application/x", "digest": digest_of(b""), "size": 7}


def test_the_least_descriptor() -> None:
    assert parse_descriptor(GOOD, "here") == Descriptor("application/x", digest_of(b""), 7)


def test_a_whole_descriptor_and_back() -> None:
    document = {
        **GOOD,
        "platform": {"architecture": "arm", "os": "linux", "variant": "v7"},
        "annotations": {"a": "b"},
        "artifactType": "application/y",
        "urls": ["https://example.com/x"],
    }
    descriptor = parse_descriptor({**document, "data": "", "unknown": [1]}, "here")
    assert descriptor.platform == Platform("linux", "arm", "v7")
    assert descriptor.to_json() == document


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": -1}, "size '-1' is not a number of bytes"),
        ({"size": True}, "size 'True'"),
        ({"size": 1.5}, "size '1.5'"),
        ({"size": "7"}, "size '7'"),
        ({"size": None}, "size 'None'"),
        ({"size": 1 << 63}, "size '9223372036854775808'"),
        ({"size": 10**100}, "size '1000"),
        ({"digest": "sha256:x"}, "'sha256:x' is not a digest"),
        ({"digest": None}, "is not a digest"),
        ({"digest": ["sha256"]}, "is not a digest"),
        ({"mediaType": None}, "mediaType is missing"),
        ({"mediaType": 1}, "mediaType is missing or not a string"),
        ({"platform": [1]}, "platform: a JSON object is wanted"),
        ({"platform": {"architecture": "arm"}}, "the platform has no 'os'"),
        ({"platform": {"os": "linux", "architecture": 7}}, "'architecture'"),
        ({"platform": {"os": "li\nux", "architecture": "arm"}}, "'os'"),
        ({"annotations": {"a": 1}}, "annotations: strings"),
        ({"annotations": []}, "annotations: a JSON object"),
        ({"urls": "x"}, "urls: a list"),
        ({"urls": [1]}, "urls: a list of strings"),
        ({"artifactType": {}}, "artifactType"),
    ],
)
def test_a_bad_field_is_named(change: dict[str, object], said: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_descriptor({**GOOD, **change}, "here")
    assert caught.value.message.startswith("here")
    assert said in caught.value.message


@pytest.mark.parametrize("platform", [None, {}, {"os": "", "architecture": ""}])
def test_an_empty_platform_is_none(platform: object) -> None:
    assert parse_descriptor({**GOOD, "platform": platform}, "here").platform is None


@pytest.mark.parametrize("value", [None, [], "x", 7])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(IntegrityError):
        parse_descriptor(value, "here")


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "mediaType": _anything,
            "digest": _anything | st.just(digest_of(b"")),
            "size": _anything,
            "platform": _anything | st.fixed_dictionaries({}, optional={"os": _anything, "architecture": _anything}),
            "annotations": _anything,
            "urls": _anything,
            "artifactType": _anything,
        },
    )
)
def test_any_object_is_a_descriptor_or_an_integrity_error(document: dict[str, object]) -> None:
    try:
        descriptor = parse_descriptor(document, "here")
    except IntegrityError:
        return
    assert parse_descriptor(descriptor.to_json(), "here") == descriptor


@given(
    st.builds(
        Descriptor,
        st.text(string.ascii_letters + "/+.", min_size=1),
        st.binary().map(digest_of),
        st.integers(0, (1 << 63) - 1),
        st.none() | st.sampled_from([Platform("linux", "arm", "v7"), Platform("windows", "amd64", "", "10.0.1")]),
        st.dictionaries(st.text(), st.text()),
        st.text(),
        st.lists(st.text()).map(tuple),
    )
)
def test_what_is_written_is_read_again(descriptor: Descriptor) -> None:
    assert parse_descriptor(descriptor.to_json(), "here") == descriptor
