"""What a podman's service says that the real one of the tests does not: nonsense is told, and no defect."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.contract import StorageError
from polyarch.registry.local import LocalHttp
from polyarch_plugins.storages.podman.service import Service
from support.unix_http import Said, unix_http


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Said(b"7"), "podman's answer is no list"),
        (Said(b'{"a": 1}'), "podman's answer is no list"),
        (Said(b"[7]"), "podman's answer is no object"),
        (Said(b"["), "podman's answer is no JSON"),
        (Said(b'["odd"]', 500), r'podman: \["odd"\]'),
        (Said(b"", 500), "podman: status 500"),
        (Said(b'{"message": "broken\\u001b"}', 500), r"podman: broken\\x1b"),
    ],
)
def test_nonsense_is_told(said: Said, message: str, tmp_path: Path) -> None:
    path = tmp_path / "podman.sock"
    http = LocalHttp(path)
    with unix_http(path, lambda _: said), pytest.raises(StorageError, match=message):
        list(Service(http, path).images())
    http.close()


def test_no_images_are_written_as_null(tmp_path: Path) -> None:
    path = tmp_path / "podman.sock"
    http = LocalHttp(path)
    with unix_http(path, lambda _: Said(b"null")):
        assert list(Service(http, path).images()) == []
    http.close()
