"""What the commands say of an image of which a disk has lost parts: it is damaged, and not just absent."""

from __future__ import annotations

import pytest

from polyarch_plugins.storages.oci.storage import OciStorage
from support.command import Polyarch
from support.memory_registry import made_image
from support.storages import store

pytestmark = pytest.mark.system

IMAGE = made_image("linux/arm64", b"arm64")
OTHER = made_image("linux/arm64", b"other")


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


def test_a_damaged_manifest_hides_no_other_image(polyarch: Polyarch) -> None:
    storage = OciStorage(polyarch.root / "oci")
    store(storage, IMAGE, "app:1")
    store(storage, OTHER, "app:2")
    storage.close()
    path = storage.blob_path(IMAGE.manifest.digest)
    path.write_bytes(path.read_bytes().replace(b"{", b"[", 1))

    lines = polyarch("image", "ls", "--format", "json").ok().json_lines
    assert {(line["tag"], line["damaged"]) for line in lines} == {("1", True), ("2", False)}
    assert "app:1 is damaged: polyarch verify --repair app:1" in polyarch("image", "ls").ok().stderr
    [images] = [check for check in polyarch("doctor", "--format", "json").json_lines if check["name"] == "images"]
    assert images["verdict"] == "failed"
    assert "verify --repair app:1" in images["mend"]
    polyarch("image", "inspect", "app:2").ok()
    polyarch("image", "rm", "app:1").ok()
    assert "damaged" not in polyarch("image", "ls").ok().stderr


@pytest.mark.parametrize("part", ["manifest", "layer"])
def test_a_damaged_image_without_a_name_can_go(polyarch: Polyarch, part: str) -> None:
    storage = OciStorage(polyarch.root / "oci")
    store(storage, IMAGE, "app:1")
    store(storage, OTHER, "app:1")
    storage.close()
    digest = IMAGE.manifest.digest if part == "manifest" else IMAGE.manifest.layers[0].digest
    storage.blob_path(digest).write_bytes(b"")
    identifier = IMAGE.manifest.digest[7:19]

    assert f"warning: {identifier} is damaged: polyarch image rm {identifier}\n" in polyarch("image", "ls").ok().stderr
    [images] = [check for check in polyarch("doctor", "--format", "json").json_lines if check["name"] == "images"]
    assert images["mend"] == f"polyarch image rm {identifier}"
    refused = polyarch("verify", "--repair", identifier)
    assert refused.code == 7
    assert f"hint: polyarch image rm {identifier}" in refused.stderr
    polyarch("image", "rm", identifier).ok()
    [line] = polyarch("image", "ls", "--format", "json").ok().json_lines
    assert (line["tag"], line["damaged"]) == ("1", False)
    polyarch("image", "prune").ok()
