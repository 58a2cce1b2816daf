"""What is sent to a device as a stream: which members it has, for which engine, and how many bytes they are."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tracemalloc
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polyarch.errors import NotFoundError
from polyarch.fleet.archive import image_archive
from polyarch.fleet.facts import Engine
from polyarch.oci.compression import decompressed
from polyarch.oci.digest import Digest, digest_of
from polyarch.oci.oci_archive import OciArchive
from polyarch.reference import parse_reference
from polyarch.testing.conformance.images import BlobFiles, SampleImage, SampleImages
from polyarch.testing.layout_writer import LayoutWriter

ENGINES = {
    "docker": Engine("docker", "20.10.24+dfsg1"),
    "podman": Engine("podman", "4.3.1"),
    "containerd": Engine("containerd", "1.6.20~ds1"),
}
NAME = "registry.example:5000/team/app:1.0"
OTHER = "docker.io/library/other:2"


@pytest.fixture
def sample(tmp_path: Path) -> SampleImages:
    return SampleImages(tmp_path / "sample", "archive")


class Sent:
    """An archive, whole, and what it was made of."""

    def __init__(
        self, images: Iterable[tuple[SampleImage, str]], leave_out: Collection[Digest] = (), engine: str | Engine = ""
    ) -> None:
        made = list(images)
        self.blobs = BlobFiles({digest: path for each, _ in made for digest, path in each.files.items()})
        named = [(each.named(parse_reference(name)), name) for each, name in made]
        to = ENGINES[engine] if isinstance(engine, str) else engine
        chunks = list(image_archive(named, self.blobs, leave_out, to))
        self.raw = b"".join(chunks)
        assert max(map(len, chunks)) <= 1 << 20
        self.files = files_of(self.raw)

    def json(self, name: str) -> Any:
        return json.loads(self.files[name])


def files_of(raw: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as opened:
        return {each.name: opened.extractfile(each).read() for each in opened}  # type: ignore[union-attr]


def layer_names(image: SampleImage) -> list[str]:
    return [layer.digest.replace("sha256:", "blobs/sha256/") for layer in image.manifest.layers]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_every_engine_is_sent_a_layout(engine: str, docker: bool, sample: SampleImages, tmp_path: Path) -> None:
    made = sample.image(docker=docker, odd=True)
    sent = Sent([(made, NAME)], engine=engine)
    (entry,) = sent.json("index.json")["manifests"]
    assert (entry["digest"], entry["mediaType"]) == (made.manifest.digest, made.manifest.media_type)
    assert set(entry["annotations"].values()) == {NAME}
    (item,) = sent.json("manifest.json")
    assert item["RepoTags"] == [NAME]
    for name in (item["Config"], *item["Layers"]):
        assert f"sha256:{name.rpartition('/')[2]}" == digest_of(sent.files[name])
    assert item["Layers"] == layer_names(made)
    # Who breaks off is left without a name.
    assert list(sent.files)[-2:] == ["index.json", "manifest.json"]
    path = tmp_path / "archive.tar"
    path.write_bytes(sent.raw)
    place = OciArchive(path, lambda: tmp_path)
    assert [held.names for held in place.images] == [(NAME,)]
    assert place.read(made.manifest.digest, 1 << 20) == made.manifest.raw
    place.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_engine_has_is_left_out(engine: str, sample: SampleImages) -> None:
    base, top = sample.layer("base"), sample.layer("top", 100_000)
    made = sample.image(layers=[base, top, top])
    sent = Sent([(made, NAME)], [base.digest], engine)
    blobs = {name for name in sent.files if name.startswith("blobs/")}
    there = (made.manifest.digest, made.manifest.config.digest, top.digest)
    assert blobs == {digest.replace("sha256:", "blobs/sha256/") for digest in there}
    assert sent.blobs.asked.count(base.digest) == 0
    assert len(sent.raw) < top.size + 20_000  # a layer that is there twice travels once
    assert sent.json("manifest.json")[0]["Layers"] == layer_names(made)
    whole = Sent([(made, NAME)], [base.digest, top.digest], engine)
    assert len(whole.raw) < 20_000


def test_docker_with_the_store_of_containerd_is_sent_all(sample: SampleImages) -> None:
    made = sample.image()
    layers = [layer.digest for layer in made.manifest.layers]
    sent = Sent([(made, NAME)], layers, Engine("docker", "28.2.2", by_digest=True))
    assert set(layer_names(made)) <= set(sent.files)


@pytest.mark.parametrize("engine", ["docker", "containerd"])
def test_several_images_share_an_archive_and_their_layers(engine: str, sample: SampleImages) -> None:
    base = sample.layer("base", 100_000)
    one, two = (sample.image(layers=[base, sample.layer(text)]) for text in ("one", "two"))
    sent = Sent([(one, NAME), (two, OTHER), (one, "localhost/again:1")], engine=engine)
    assert [item["RepoTags"] for item in sent.json("manifest.json")] == [[NAME], [OTHER], ["localhost/again:1"]]
    assert [entry["digest"] for entry in sent.json("index.json")["manifests"]] == [
        each.manifest.digest for each in (one, two, one)
    ]
    assert len(sent.raw) < base.size + 30_000


def test_podman_is_sent_an_archive_for_each_image(sample: SampleImages) -> None:
    """The later ones leave out what the earlier bring."""
    old, base = sample.layer("old"), sample.layer("base")
    one, two = (sample.image(layers=[old, base, sample.layer(text)]) for text in ("one", "two"))
    sent = Sent([(one, NAME), (two, OTHER)], [old.digest], "podman")
    assert list(sent.files) == ["1.tar", "2.tar"]
    first, second = (files_of(raw) for raw in sent.files.values())
    assert [json.loads(each["manifest.json"])[0]["RepoTags"] for each in (first, second)] == [[NAME], [OTHER]]
    assert [name in first for name in layer_names(one)] == [False, True, True]
    assert [name in second for name in layer_names(two)] == [False, False, True]


@pytest.mark.parametrize(
    ("engine", "unpacked"),
    [
        (ENGINES["docker"], True),
        (Engine("docker", ""), True),
        (Engine("docker", "23.0.1"), False),
        (ENGINES["podman"], False),
        (ENGINES["containerd"], False),
    ],
    ids=["old docker", "some docker", "new docker", "podman", "containerd"],
)
def test_an_old_docker_is_sent_no_zstd(engine: Engine, unpacked: bool, sample: SampleImages, tmp_path: Path) -> None:
    if shutil.which("zstd") is None:
        pytest.skip("the program zstd is not installed")
    plain = sample.layer("packed")
    packed = LayoutWriter(tmp_path / "sample").zstd_layer(plain)
    made = sample.image(layers=[sample.layer("base"), packed])
    sent = Sent([(made, NAME)], engine=engine)
    name = sent.json("manifest.json")[0]["Layers"][1]
    data = sent.files[name]
    if unpacked:
        assert name == f"blobs/sha256/{plain.diff_id.partition(':')[2]}"
        assert digest_of(data) == plain.diff_id
    else:
        assert digest_of(data) == packed.digest
    assert digest_of(b"".join(decompressed(io.BytesIO(data)))) == plain.diff_id
    # What is left out keeps its place.
    left = Sent([(made, NAME)], [packed.digest], engine)
    assert left.json("manifest.json")[0]["Layers"][1] == name
    assert name not in left.files


def test_a_blob_that_is_not_here_is_told_before_anything_is_sent(sample: SampleImages) -> None:
    made = sample.image()
    image = made.named(sample.name())
    with pytest.raises(NotFoundError):
        image_archive([(image, NAME)], BlobFiles({}), (), ENGINES["docker"])


@pytest.mark.soak
@pytest.mark.parametrize("engine", ENGINES)
def test_a_gibibyte_takes_no_memory(
    engine: str, sample: SampleImages, count: Callable[[int, int], int], tmp_path: Path
) -> None:
    made, size = sample.image(), count(16 << 20, 1 << 30)
    (tmp_path / "hole").touch()
    os.truncate(tmp_path / "hole", size)
    image = made.named(sample.name())
    layers = tuple(replace(layer, size=size) for layer in made.manifest.layers[:1])
    image = replace(image, manifest=replace(image.manifest, layers=layers))
    blobs = BlobFiles({layers[0].digest: tmp_path / "hole"})
    tracemalloc.start()
    try:
        sent = sum(map(len, image_archive([(image, NAME)], blobs, (), ENGINES[engine])))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert size < sent < size + 20_000
