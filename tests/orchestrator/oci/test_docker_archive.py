"""Docker's archives, as docker, podman and skopeo of all times write them, and as nobody should."""

from __future__ import annotations

import gzip
import json
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from polyarch.errors import IntegrityError, NotFoundError, StorageError
from polyarch.oci import docker_archive
from polyarch.oci.digest import digest_of
from polyarch.oci.docker_archive import DockerArchive
from polyarch.oci.document import Manifest, parse_document
from polyarch.oci.media_types import OCI_LAYER, OCI_LAYER_GZIP, OCI_MANIFEST
from support.tar_files import Content, Link, tar_of

LAYERS = [tar_of({"a": b"1"}), tar_of({"b": b"2"})]
DIFF_IDS = [digest_of(layer) for layer in LAYERS]
CONFIG = json.dumps(
    {"os": "linux", "architecture": "arm64", "rootfs": {"type": "layers", "diff_ids": DIFF_IDS}}, indent=3
).encode()
CONFIG_NAME = f"{digest_of(CONFIG)[7:]}.json"


def manifest_json(layers: Sequence[str], tags: Sequence[str] | None = ("a:1",), config: str = CONFIG_NAME) -> bytes:
    return json.dumps([{"Config": config, "RepoTags": tags, "Layers": list(layers)}]).encode()


PLAIN: dict[str, Content] = {
    CONFIG_NAME: CONFIG,
    "1/layer.tar": LAYERS[0],
    "2/layer.tar": LAYERS[1],
    "manifest.json": manifest_json(["1/layer.tar", "2/layer.tar"]),
}


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., DockerArchive]:
    """Opens an archive of these bytes."""

    def open_archive(raw: bytes, temporary: Path = tmp_path) -> DockerArchive:
        path = tmp_path / "a.tar"
        path.write_bytes(raw)
        return DockerArchive(path, lambda: temporary)

    return open_archive


def image_of(archive: DockerArchive) -> Manifest:
    [held] = archive.images
    document = parse_document(archive.read(held.root.digest, 1 << 20), held.root.media_type)
    assert isinstance(document, Manifest)
    assert document.descriptor == held.root
    return document


def layers_of(archive: DockerArchive) -> list[bytes]:
    """Every layer, each read whole and from its middle on."""
    found = []
    for layer in image_of(archive).layers:
        whole = b"".join(archive.chunks(layer.digest))
        assert len(whole) == layer.size == archive.size(layer.digest)
        assert digest_of(whole) == layer.digest
        assert b"".join(archive.chunks(layer.digest, 700)) == whole[700:]
        found.append(whole)
    return found


@pytest.mark.parametrize(
    "members",
    [
        PLAIN,
        dict(reversed(PLAIN.items())),
        # skopeo's: links to a layer's own file; docker's: links of a layer that came before, or comes later.
        {**PLAIN, "1/layer.tar": Link("../first.tar"), "first.tar": LAYERS[0]},
        {
            "1/layer.tar": Link("../z/layer.tar"),
            **{k: v for k, v in PLAIN.items() if k[0] != "1"},
            "z/layer.tar": LAYERS[0],
        },
        {**PLAIN, "1/layer.tar": Link("first.tar", hard=True), "first.tar": LAYERS[0]},
        {f"./{name}": content for name, content in PLAIN.items()},
        # What else docker writes is not looked at.
        {**PLAIN, "repositories": b"{", "1": None, "1/VERSION": b"1.0", "1/json": b"{"},
    ],
)
def test_ways_to_write_it(members: dict[str, Content], opened: Callable[..., DockerArchive]) -> None:
    archive = opened(tar_of(members))
    manifest = image_of(archive)
    assert archive.images[0].names == ("a:1",)
    assert (manifest.config.digest, manifest.config.size) == (digest_of(CONFIG), len(CONFIG))
    assert archive.read(manifest.config.digest, 1 << 20) == CONFIG
    assert [layer.digest for layer in manifest.layers] == DIFF_IDS
    assert {layer.media_type for layer in manifest.layers} == {OCI_LAYER}
    assert layers_of(archive) == LAYERS


def test_the_manifest_is_the_same_each_time(opened: Callable[..., DockerArchive]) -> None:
    first = image_of(opened(tar_of(PLAIN))).digest
    assert image_of(opened(tar_of(dict(reversed(PLAIN.items())), tarfile.PAX_FORMAT))).digest == first


@pytest.mark.parametrize(
    "compress",
    [gzip.compress, lambda data: subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout],
)
def test_a_compressed_archive(
    compress: Callable[[bytes], bytes], opened: Callable[..., DockerArchive], tmp_path: Path
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    archive = opened(compress(tar_of(PLAIN)), folder)
    assert layers_of(archive) == LAYERS
    archive.close()
    assert list(folder.iterdir()) == []


def test_compressed_layers_have_their_own_digests(opened: Callable[..., DockerArchive]) -> None:
    packed = gzip.compress(LAYERS[0], mtime=0)
    archive = opened(tar_of({**PLAIN, "1/layer.tar": packed}))
    manifest = image_of(archive)
    assert [layer.digest for layer in manifest.layers] == [digest_of(packed), DIFF_IDS[1]]
    assert [layer.media_type for layer in manifest.layers] == [OCI_LAYER_GZIP, OCI_LAYER]
    assert layers_of(archive) == [packed, LAYERS[1]]


def test_the_same_layer_twice(opened: Callable[..., DockerArchive]) -> None:
    config = json.dumps({"os": "linux", "architecture": "arm64", "rootfs": {"diff_ids": [DIFF_IDS[0]] * 2}}).encode()
    archive = opened(tar_of({"c": config, "l": LAYERS[0], "manifest.json": manifest_json(["l", "l"], config="c")}))
    assert layers_of(archive) == [LAYERS[0]] * 2


def test_several_images_and_names(opened: Callable[..., DockerArchive]) -> None:
    items = [
        {"Config": CONFIG_NAME, "RepoTags": tags, "Layers": ["1/layer.tar", "2/layer.tar"]}
        for tags in (["a:1", "localhost:5000/b:2"], None, [])
    ]
    archive = opened(tar_of({**PLAIN, "manifest.json": json.dumps(items).encode()}))
    assert [image.names for image in archive.images] == [("a:1", "localhost:5000/b:2"), (), ()]


def _with_layout(packed: Sequence[bytes], *, left_out: str = "") -> tuple[dict[str, Content], bytes]:
    """Since docker 25: a layout, and manifest.json beside it; and the image's own manifest."""
    blobs = [CONFIG, *packed]
    layers = [{"mediaType": OCI_LAYER_GZIP, "digest": digest_of(raw), "size": len(raw)} for raw in packed]
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(CONFIG), "size": len(CONFIG)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}).encode()
    entry = {"mediaType": OCI_MANIFEST, "digest": digest_of(manifest), "size": len(manifest)}
    names = [f"blobs/sha256/{digest_of(raw)[7:]}" for raw in blobs]
    members: dict[str, Content] = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(),
        "manifest.json": manifest_json(names[1:], config=names[0]),
        f"blobs/sha256/{digest_of(manifest)[7:]}": manifest,
        **dict(zip(names, blobs, strict=True)),
    }
    return {name: content for name, content in members.items() if name != left_out}, manifest


def test_a_layout_with_a_manifest_beside_it_keeps_its_manifest(opened: Callable[..., DockerArchive]) -> None:
    packed = [gzip.compress(layer, mtime=0) for layer in LAYERS]
    members, manifest = _with_layout(packed)
    archive = opened(tar_of(members))
    assert image_of(archive).raw == manifest
    assert layers_of(archive) == packed


def test_without_its_manifest_one_is_made(opened: Callable[..., DockerArchive]) -> None:
    packed = [gzip.compress(layer, mtime=0) for layer in LAYERS]
    members, manifest = _with_layout(packed)
    archive = opened(tar_of({n: c for n, c in members.items() if c != manifest}))
    assert image_of(archive).digest != digest_of(manifest)
    assert layers_of(archive) == packed


def test_a_manifest_of_other_layers_than_the_config_has_does_not_count(opened: Callable[..., DockerArchive]) -> None:
    packed = [gzip.compress(layer, mtime=0) for layer in LAYERS]
    members, manifest = _with_layout([*packed, packed[0]])
    names = [f"blobs/sha256/{digest_of(raw)[7:]}" for raw in (CONFIG, *packed)]
    archive = opened(tar_of({**members, "manifest.json": manifest_json(names[1:], config=names[0])}))
    assert image_of(archive).digest != digest_of(manifest)
    assert layers_of(archive) == packed


WRONG_CONFIG = CONFIG.replace(b"arm64", b"amd64")
MANY: dict[str, Any] = {"Config": CONFIG_NAME, "Layers": ["1/layer.tar", "2/layer.tar"]}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a": b"1"}, "there is no manifest.json in it"),
        ({**PLAIN, "manifest.json": b"[{"}, "manifest.json: not JSON"),
        ({**PLAIN, "manifest.json": b"{}"}, "manifest.json: a list is wanted"),
        ({**PLAIN, "manifest.json": b"[1]"}, "image 1: a JSON object is wanted"),
        ({**PLAIN, "manifest.json": b"[" * 99 + b"]" * 99}, "JSON nests deeper"),
        ({**PLAIN, "manifest.json": b'[{"Layers":[]}]'}, "Config is missing"),
        ({**PLAIN, "manifest.json": manifest_json(["1/layer.tar"])}, "1 layers, the config 2 diff IDs"),
        ({**PLAIN, "manifest.json": manifest_json(["1/layer.tar", "3/layer.tar"])}, "there is no 3/layer.tar"),
        (
            {**PLAIN, "manifest.json": manifest_json(["1/layer.tar", "../../etc/passwd"])},
            "there is no ../../etc/passwd",
        ),
        (
            {**PLAIN, "manifest.json": manifest_json(["1/layer.tar"] * 2, config="/etc/passwd")},
            "there is no /etc/passwd",
        ),
        ({**PLAIN, "2/layer.tar": Link("/etc/passwd")}, "there is no 2/layer.tar"),
        ({**PLAIN, CONFIG_NAME: WRONG_CONFIG}, "is damaged: its digest is sha256:"),
        ({**PLAIN, CONFIG_NAME: b"{}"}, "the platform"),
        ({**PLAIN, "manifest.json": json.dumps([MANY] * 4).encode()}, "4 images, more than the 3"),
        ({**PLAIN, "manifest.json": b" " * (5 << 20)}, "more than the 4194304 it may have"),
    ],
)
def test_what_is_no_whole_archive(
    members: dict[str, Content],
    message: str,
    opened: Callable[..., DockerArchive],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(docker_archive, "MAX_IMAGES", 3)
    with pytest.raises(IntegrityError, match=message) as caught:
        opened(tar_of(members))
    assert "a.tar" in caught.value.message


def test_a_damaged_manifest_of_the_layout(opened: Callable[..., DockerArchive]) -> None:
    members, manifest = _with_layout([gzip.compress(layer, mtime=0) for layer in LAYERS])
    changed = manifest.replace(b'"schemaVersion": 2', b'"schemaVersion": 3')
    with pytest.raises(IntegrityError, match="is damaged"):
        opened(tar_of({n: changed if c == manifest else c for n, c in members.items()}))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=f"there is no file {tmp_path}/none.tar"):
        DockerArchive(tmp_path / "none.tar", lambda: tmp_path)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="is not a plain file"):
        DockerArchive(tmp_path, lambda: tmp_path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "no tar archive"),
        (b"some text", "no tar archive"),
        (gzip.compress(b"some text", mtime=0), "no tar archive"),
        (gzip.compress(tar_of(PLAIN))[:200], "cut short"),
        (b"BZh91AY", "cut short"),
    ],
)
def test_no_archive(raw: bytes, message: str, opened: Callable[..., DockerArchive], tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=message):
        opened(raw)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_missing_blobs(opened: Callable[..., DockerArchive]) -> None:
    archive = opened(tar_of(PLAIN))
    nothing = digest_of(b"nothing")
    assert archive.size(nothing) is None
    with pytest.raises(NotFoundError):
        archive.read(nothing, 10)
    with pytest.raises(NotFoundError):
        archive.chunks(nothing)
    with pytest.raises(IntegrityError, match="larger than the 3 bytes"):
        archive.read(DIFF_IDS[0], 3)


def test_an_archive_that_shrinks_while_it_is_read(opened: Callable[..., DockerArchive], tmp_path: Path) -> None:
    archive = opened(tar_of(PLAIN))
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(StorageError, match="became shorter"):
        b"".join(archive.chunks(DIFF_IDS[1]))


def test_nothing_is_held_whole(tmp_path: Path) -> None:
    """Of a layer at most a chunk is in memory."""
    layer = tar_of({"big": bytes(1 << 20)})
    config = json.dumps({"os": "linux", "architecture": "arm64", "rootfs": {"diff_ids": [digest_of(layer)]}}).encode()
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of({"c": config, "l": layer, "manifest.json": manifest_json(["l"], config="c")}))
    archive = DockerArchive(path, lambda: tmp_path)
    assert max(map(len, archive.chunks(digest_of(layer)))) <= 1 << 18
