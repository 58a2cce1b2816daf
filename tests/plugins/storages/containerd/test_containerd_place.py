"""Which containerd is meant, and which of its namespaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from polyarch.contract import UsageError
from polyarch_plugins.storages.containerd.place import words_of

CTR = ["ctr", "--connect-timeout", "3s"]


@pytest.mark.parametrize(
    ("location", "options", "words"),
    [
        ("", {}, CTR),
        ("k8s.io", {}, [*CTR, "--namespace", "k8s.io"]),
        ("", {"namespace": "moby"}, [*CTR, "--namespace", "moby"]),
        ("k8s.io", {"namespace": "moby"}, [*CTR, "--namespace", "k8s.io"]),
        ("", {"address": "unix:///run/c.sock"}, [*CTR, "--address", "/run/c.sock"]),
        ("", {"command": ["k3s", "ctr"]}, ["k3s", *CTR]),
    ],
)
def test_the_words_of_ctr(location: str, options: Mapping[str, object], words: Sequence[str]) -> None:
    """What is not said is left to ctr, whose defaults are not those of k3s."""
    assert words_of(location, options) == tuple(words)


@pytest.mark.parametrize(
    ("location", "options", "said"),
    [
        ("no namespace", {}, "'no namespace' is no namespace of containerd's"),
        ("a--b", {}, "is no namespace"),
        ("a" * 77, {}, "is no namespace"),
        ("--debug", {}, "is no namespace"),
        ("", {"socket": "/run/c.sock"}, "containerd has no option 'socket'"),
        ("", {"command": "k3s ctr"}, "containerd's option command is no list of words"),
        ("", {"address": 7}, "containerd's option address is no text"),
    ],
)
def test_what_cannot_be_meant(location: str, options: Mapping[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        words_of(location, options)
