"""The storages `oci-archive` and `docker-archive`: what stands in the file, and what happens to one that is there."""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polyarch.contract import (
    DockerArchive,
    Image,
    ImageLoader,
    IntegrityError,
    OciArchive,
    StorageError,
    StorageServices,
    UsageError,
    digest_of,
)
from polyarch.testing.conformance.images import BlobFiles, SampleImage, SampleImages
from polyarch_plugins.storages.archives.docker import DockerArchiveStorage
from polyarch_plugins.storages.archives.oci import OciArchiveStorage
from support.docker_registry import skopeo

KINDS: dict[str, Callable[[StorageServices], Any]] = {
    "oci-archive": OciArchiveStorage,
    "docker-archive": DockerArchiveStorage,
}
NAME = "library/app"


@pytest.fixture
def sample(tmp_path: Path) -> SampleImages:
    return SampleImages(tmp_path / "sample", "archives")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def services(file: Path | str) -> StorageServices:
    return StorageServices(Path("/nowhere"), str(file), lock_timeout=0.2, sync=False)


def loaded(loader: ImageLoader, made: SampleImage, image: Image) -> Image:
    loader.load(image, BlobFiles(made.files))
    return image


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_a_file_has_to_be_named(kind: str) -> None:
    with pytest.raises(UsageError, match=f"{kind} wants a file"):
        KINDS[kind](services(""))


def test_there_is_no_folder_for_it(kind: str, tmp_path: Path, sample: SampleImages) -> None:
    loader = KINDS[kind](services(tmp_path / "none" / "a.tar"))
    with pytest.raises(StorageError, match=rf"there is no folder {tmp_path}/none to write a.tar into"):
        loader.has(sample.image().named(sample.name()))


def test_the_same_images_give_the_same_bytes(kind: str, tmp_path: Path, sample: SampleImages) -> None:
    made = [sample.image(text=text) for text in ("one", "two")]
    for file in ("a.tar", "b.tar"):
        for number, each in enumerate(made):
            loaded(KINDS[kind](services(tmp_path / file)), each, each.named(sample.name(tag=str(number))))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_file_that_is_there_keeps_its_place_and_mode(kind: str, tmp_path: Path, sample: SampleImages) -> None:
    (tmp_path / "real").mkdir()
    file, link = tmp_path / "real" / "images.tar", tmp_path / "link.tar"
    file.write_bytes(b"")
    file.chmod(0o640)
    link.symlink_to(file)
    made = sample.image()
    image = loaded(KINDS[kind](services(link)), made, made.named(sample.name()))
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert KINDS[kind](services(file)).has(image)
    assert [path.name for path in file.parent.iterdir()] == ["images.tar"]


def test_a_new_file_has_the_users_mode(kind: str, tmp_path: Path, sample: SampleImages) -> None:
    made = sample.image()
    before = os.umask(0o027)
    try:
        loaded(KINDS[kind](services(tmp_path / "a.tar")), made, made.named(sample.name()))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.tar").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("raw", "error", "message"),
    [
        (b"a letter to somebody", IntegrityError, "no tar archive"),
        (gzip.compress(b"some text", mtime=0), StorageError, "is compressed, so nothing can be added to it"),
    ],
)
def test_somebody_elses_file_is_left(
    raw: bytes, error: type[Exception], message: str, kind: str, tmp_path: Path, sample: SampleImages
) -> None:
    file, made = tmp_path / "a.tar", sample.image()
    file.write_bytes(raw)
    with pytest.raises(error, match=message):
        KINDS[kind](services(file)).has(made.named(sample.name()))
    with pytest.raises(error, match=message):
        loaded(KINDS[kind](services(file)), made, made.named(sample.name()))
    assert file.read_bytes() == raw
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar", "sample"}


def test_the_other_kinds_file_is_left(tmp_path: Path, sample: SampleImages) -> None:
    file, made = tmp_path / "a.tar", sample.image()
    loaded(DockerArchiveStorage(services(file)), made, made.named(sample.name()))
    raw = file.read_bytes()
    with pytest.raises(IntegrityError, match="is no OCI image layout in a tar archive"):
        loaded(OciArchiveStorage(services(file)), made, made.named(sample.name()))
    assert file.read_bytes() == raw


@pytest.mark.system
def test_the_disk_is_full(kind: str, sample: SampleImages, small_tmpfs: Callable[[int], Path]) -> None:
    file = small_tmpfs(300 << 10) / "a.tar"
    first = sample.image()
    image = loaded(KINDS[kind](services(file)), first, first.named(sample.name(tag="1")))
    raw = file.read_bytes()
    big = sample.image(layers=[sample.layer("big", 1 << 20)])
    with pytest.raises(StorageError, match=f"cannot write {file}: No space left on device"):
        loaded(KINDS[kind](services(file)), big, big.named(sample.name(tag="2")))
    assert file.read_bytes() == raw
    assert KINDS[kind](services(file)).has(image)
    assert [path.name for path in file.parent.iterdir()] == ["a.tar"]


def test_what_a_killed_one_left_is_written_over(kind: str, tmp_path: Path, sample: SampleImages) -> None:
    (tmp_path / ".a.tar.new").write_bytes(b"half")
    made = sample.image()
    loaded(KINDS[kind](services(tmp_path / "a.tar")), made, made.named(sample.name()))
    assert {path.name for path in tmp_path.iterdir()} == {"a.tar", "sample"}


def test_another_writer_is_waited_for(kind: str, tmp_path: Path, sample: SampleImages) -> None:
    made = sample.image()
    (tmp_path / "folder").mkdir()
    argv = ["flock", tmp_path / "folder", "sh", "-c", "echo locked; read line"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(StorageError, match="another process writes an archive in"):
            loaded(KINDS[kind](services(tmp_path / "folder" / "a.tar")), made, made.named(sample.name()))
        holder.communicate(b"\n")
    loaded(KINDS[kind](services(tmp_path / "folder" / "a.tar")), made, made.named(sample.name()))


def test_a_layer_that_is_not_what_the_config_says(tmp_path: Path, sample: SampleImages) -> None:
    one, other = sample.image(text="one"), sample.image(text="other")
    image = replace(one.named(sample.name()), config=other.config)
    with pytest.raises(IntegrityError, match=f"layer {other.config.diff_ids[0]} was promised"):
        loaded(DockerArchiveStorage(services(tmp_path / "a.tar")), one, image)
    assert {path.name for path in tmp_path.iterdir()} == {"sample"}


def test_a_file_of_another_size(tmp_path: Path, sample: SampleImages) -> None:
    made = sample.image()
    cut = tmp_path / "cut"
    cut.write_bytes(b"cut")
    files = {**made.files, made.manifest.layers[0].digest: cut}
    with pytest.raises(StorageError, match="has 3 bytes instead of"):
        OciArchiveStorage(services(tmp_path / "a.tar")).load(made.named(sample.name()), BlobFiles(files))


class TestOci:
    """The layout in the file."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "a.tar"

    def test_what_is_in_it(self, file: Path, sample: SampleImages) -> None:
        made = sample.image()
        image = loaded(OciArchiveStorage(services(file)), made, made.named(sample.name()))
        found = members(file)
        blobs = {name: raw for name, raw in found.items() if name.startswith("blobs/")}
        assert all(name == f"blobs/sha256/{digest_of(raw)[7:]}" for name, raw in blobs.items())
        assert found["oci-layout"] == b'{"imageLayoutVersion":"1.0.0"}'
        [entry] = json.loads(found["index.json"])["manifests"]
        assert entry["annotations"]["io.containerd.image.name"] == str(image.reference)
        [item] = json.loads(found["manifest.json"])
        assert item["RepoTags"] == [str(image.reference)]
        assert digest_of(found[item["Config"]]) == made.config.digest
        assert [found[name] for name in item["Layers"]] == [made.bytes_of(layer) for layer in made.manifest.layers]
        assert OciArchive(file, lambda: file.parent).images[0].names == (str(image.reference),)

    def test_what_no_name_needs_goes(self, file: Path, sample: SampleImages) -> None:
        old, new = sample.image(text="old"), sample.image(text="new")
        loaded(OciArchiveStorage(services(file)), old, old.named(sample.name()))
        loaded(OciArchiveStorage(services(file)), new, new.named(sample.name()))
        assert old.config.raw not in members(file).values()
        assert new.config.raw in members(file).values()

    def test_what_somebody_else_wrote_stays(self, tmp_path: Path, file: Path, sample: SampleImages) -> None:
        """skopeo's archive, with a field of somebody's in it."""
        theirs, made = sample.image(text="theirs"), sample.image(text="made")
        sample.name_in_layout("1.0", theirs.manifest)
        sample.finish()
        layout = tmp_path / "layout"
        skopeo("copy", f"oci:{tmp_path}/sample:1.0", f"oci:{layout}:1.0")
        index = json.loads((layout / "index.json").read_text())
        index["x"], index["manifests"][0]["y"] = 1, [2]
        (layout / "index.json").write_text(json.dumps(index))
        subprocess.run(["tar", "-cf", file, "-C", layout, "."], check=True)
        loader = OciArchiveStorage(services(file))
        loaded(loader, made, made.named(sample.name()))
        found = json.loads(members(file)["index.json"])
        assert found["x"] == 1
        assert found["manifests"][0] == index["manifests"][0]
        assert {image.manifest.digest for image in loader.images()} == {theirs.manifest.digest, made.manifest.digest}

    def test_a_name_by_digest(self, file: Path, sample: SampleImages) -> None:
        made = sample.image()
        image = made.named(replace(sample.name(), tag="", digest=made.manifest.digest))
        loader = OciArchiveStorage(services(file))
        loaded(loader, made, image)
        assert loader.has(image)
        assert json.loads(members(file)["manifest.json"])[0]["RepoTags"] == []

    def test_docker_gets_one_platform_of_a_name(self, file: Path, sample: SampleImages) -> None:
        made = [sample.image(platform) for platform in ("linux/arm64", "linux/amd64")]
        for each in made:
            loaded(OciArchiveStorage(services(file)), each, each.named(sample.name(), sample.index(*made)))
        [item] = json.loads(members(file)["manifest.json"])
        assert item["Config"] == f"blobs/sha256/{made[1].config.digest[7:]}"


class TestDocker:
    """docker's archive in the file."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "a.tar"

    def test_what_is_in_it(self, file: Path, sample: SampleImages) -> None:
        made = sample.image()
        image = loaded(DockerArchiveStorage(services(file)), made, made.named(sample.name()))
        found = members(file)
        [item] = json.loads(found["manifest.json"])
        assert item["RepoTags"] == [str(image.reference)]
        assert (item["Config"], found[item["Config"]]) == (f"{made.config.digest[7:]}.json", made.config.raw)
        assert [digest_of(found[name]) for name in item["Layers"]] == list(made.config.diff_ids)

    def test_an_image_has_all_its_names(self, file: Path, sample: SampleImages) -> None:
        made = sample.image()
        for tag in ("1", "2"):
            loaded(DockerArchiveStorage(services(file)), made, made.named(sample.name(tag=tag)))
        [item] = json.loads(members(file)["manifest.json"])
        assert item["RepoTags"] == [str(sample.name(tag=tag)) for tag in ("1", "2")]

    def test_who_loses_the_last_name_goes(self, file: Path, sample: SampleImages) -> None:
        old, new = sample.image(text="old"), sample.image(text="new")
        for made in (old, new):
            loaded(DockerArchiveStorage(services(file)), made, made.named(sample.name()))
        assert [image.config.digest for image in DockerArchiveStorage(services(file)).images()] == [new.config.digest]
        assert f"{old.config.digest[7:]}.json" not in members(file)

    def test_who_never_had_a_name_stays(self, tmp_path: Path, file: Path, sample: SampleImages) -> None:
        theirs, made = sample.image(text="theirs"), sample.image(text="made")
        sample.name_in_layout("1.0", theirs.manifest)
        sample.finish()
        skopeo("copy", f"oci:{tmp_path}/sample:1.0", f"docker-archive:{file}")
        loaded(DockerArchiveStorage(services(file)), made, made.named(sample.name()))
        archive = DockerArchive(file, lambda: tmp_path)
        assert [image.names for image in archive.images] == [(), (str(sample.name()),)]
        assert archive.size(theirs.config.digest) == len(theirs.config.raw)

    def test_layers_in_the_file_are_not_lacked(self, file: Path, sample: SampleImages) -> None:
        """Nor are they where they came compressed otherwise: what is in them counts."""
        base = sample.layer("base")
        first, second = (sample.image(layers=[base, sample.layer(text)]) for text in ("one", "two"))
        loader = DockerArchiveStorage(services(file))
        loaded(loader, first, first.named(sample.name("first")))
        image = second.named(sample.name("second"))
        assert loader.lacks(image) == [second.manifest.layers[1].digest]

    @pytest.mark.parametrize("change", [{"tag": "", "digest": digest_of(b"")}, {"scheme": "attic", "registry": ""}])
    def test_names_that_it_cannot_give(self, change: dict[str, str], file: Path, sample: SampleImages) -> None:
        image = sample.image().named(replace(sample.name(), **change))  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="names images by tag only"):
            DockerArchiveStorage(services(file)).has(image)
