"""Digests (OCI image-spec, descriptor.md)."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import IntegrityError
from polyarch.oci.digest import check_digest, digest_of, hasher, hex_of, is_digest, short

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (EMPTY, True),
        ("sha512:" + "0" * 128, True),
        (EMPTY.upper(), False),
        (EMPTY[:-1], False),
        (EMPTY + "0", False),
        (EMPTY + "\n", False),
        (" " + EMPTY, False),
        ("sha512:" + "0" * 64, False),
        ("sha256:" + "0" * 128, False),
        ("sha384:" + "0" * 96, False),
        ("md5:" + "0" * 32, False),
        ("sha256:" + "g" * 64, False),
        ("sha256:" + "٠" * 64, False),
        ("sha256:../../../etc/passwd", False),
        ("sha256", False),
        ("", False),
        (None, False),
        (7, False),
        (b"sha256:", False),
    ],
)
def test_what_a_digest_is(text: object, valid: bool) -> None:
    assert is_digest(text) is valid
    if valid:
        assert check_digest(text, "here") == text
    else:
        with pytest.raises(IntegrityError, match=r"^here: "):
            check_digest(text, "here")


def test_the_digest_of_nothing() -> None:
    assert digest_of(b"") == EMPTY
    assert short(EMPTY) == "e3b0c44298fc"
    assert hex_of(EMPTY) == EMPTY.removeprefix("sha256:")


@given(st.binary(), st.sampled_from(["sha256", "sha512"]))
def test_digests_are_hashlibs(data: bytes, algorithm: str) -> None:
    digest = digest_of(data, algorithm)
    assert is_digest(digest)
    assert digest == f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    hashed = hasher(digest)
    hashed.update(data)
    assert hashed.hexdigest() == hex_of(digest)
