"""What the commands say of an image of which a disk has lost parts: it is damaged, and not just absent."""

from __future__ import annotations

import pytest

from polyarch_plugins.storages.oci.storage import OciStorage
from support.command import Polyarch
from support.memory_registry import made_image
from support.storages import store

pytestmark = pytest.mark.system

IMAGE = made_image("linux/arm64", b"arm64")


def test_damage_is_not_taken_for_absence(polyarch: Polyarch) -> None:
    storage = OciStorage(polyarch.root / "oci")
    store(storage, IMAGE, "app:1")
    storage.close()
    (layer,) = IMAGE.manifest.layers[:1]
    storage.blob_path(layer.digest).unlink()

    listed = polyarch("image", "ls").ok()
    assert "app" in listed.stdout
    assert "damaged" in listed.stdout
    assert "polyarch verify --repair app:1" in listed.stderr
    [line] = polyarch("image", "ls", "--format", "json").ok().json_lines
    assert (line["tag"], line["damaged"], line["id"]) == ("1", True, None)
    refused = polyarch("verify", "app:1")
    assert refused.code == 7
    assert "hint: polyarch verify --repair app:1" in refused.stderr
    polyarch("image", "rm", "app:1").ok()
    assert polyarch("image", "ls", "--format", "json").ok().stdout == ""
