"""The archives that are sent to docker."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from polyarch.contract import IntegrityError, OtherSize, TarMember, decompressed, tar_chunks
from polyarch.testing.conformance.images import BlobFiles, SampleImages
from polyarch_plugins.storages.docker.archive import layers_only, layout

BLOCK = 512


@pytest.fixture
def sample(tmp_path: Path) -> SampleImages:
    return SampleImages(tmp_path / "sample", "docker-archive")


def files_of(pieces: Iterable[bytes]) -> dict[str, bytes]:
    """The files in a tar archive, as the standard library reads it."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces)), mode="r:") as opened:
        return {each.name: opened.extractfile(each).read() for each in opened}  # type: ignore[union-attr]


def test_docker_gets_config_and_missing_layers(sample: SampleImages) -> None:
    made = sample.image(layers=[sample.layer("one"), sample.layer("two"), sample.layer("three")])
    image = made.named(sample.name(tag="1.0"))
    missing = [layer.digest for layer in image.manifest.layers[1:]]
    blobs = BlobFiles({digest: path for digest, path in made.files.items() if digest in missing})
    files = files_of(tar_chunks(layers_only(image, blobs, missing, ())))
    (item,) = json.loads(files.pop("manifest.json"))
    assert item["RepoTags"] == [f"{sample.name().name}:1.0"]
    assert files.pop(item["Config"]) == image.config.raw
    assert [layer.removesuffix(".tar") for layer in item["Layers"]] == [
        layer.digest.removeprefix("sha256:") for layer in image.manifest.layers
    ]
    assert files == {
        f"{digest.removeprefix('sha256:')}.tar": gzip.decompress(made.files[digest].read_bytes()) for digest in missing
    }


def test_other_engines_get_a_whole_layout(sample: SampleImages) -> None:
    """Every blob as it is; containerd's name of the image stands in the index, docker's in manifest.json."""
    made = sample.image(odd=True)
    image = made.named(sample.name(tag="1.0"))
    files = files_of(tar_chunks(layout(image, BlobFiles(made.files))))
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert (entry["digest"], entry["size"]) == (image.manifest.digest, len(image.manifest.raw))
    assert entry["annotations"] == {
        "io.containerd.image.name": f"{sample.name().name}:1.0",
        "org.opencontainers.image.ref.name": "1.0",
    }
    (item,) = json.loads(files["manifest.json"])
    expected = {f"blobs/{image.manifest.digest.replace(':', '/')}": image.manifest.raw}
    expected |= {f"blobs/{digest.replace(':', '/')}": path.read_bytes() for digest, path in made.files.items()}
    assert {name: data for name, data in files.items() if name.startswith("blobs/")} == expected
    assert [files[name] for name in (item["Config"], *item["Layers"])] == [
        made.files[blob.digest].read_bytes() for blob in (image.manifest.config, *image.manifest.layers)
    ]


def _tar_file(*sizes: int) -> bytes:
    return b"".join(
        tar_chunks([TarMember(f"file-{i}", size, lambda size=size: (bytes(size),)) for i, size in enumerate(sizes)])
    )  # type: ignore[misc]


PLAIN = _tar_file(5, 70_000, 0)
PACKED = gzip.compress(PLAIN)


@pytest.mark.parametrize(
    ("blob", "reads"),
    [
        (PACKED, 1),
        (gzip.compress(PLAIN, 0), 1),  # larger than what is in it
        (gzip.compress(PLAIN[:-BLOCK]) + gzip.compress(PLAIN[-BLOCK:]), 3),  # looks as if it had the last member alone
        (gzip.compress(PLAIN[:-9]) + gzip.compress(PLAIN[-9:]), 2),  # several members, as eStargz has them
        (PACKED + bytes(1024), 2),
        (PACKED[:-4] + (len(PLAIN) + BLOCK).to_bytes(4, "little"), 1),  # which is no sound gzip file
        (PLAIN, 2),
        (b"\x1f\x8b", 1),
    ],
    ids=["gzip", "stored", "wrong guess", "members", "padded", "lying", "plain", "short"],
)
def test_a_layer_is_read_again_where_it_does_not_tell_its_size(
    blob: bytes, reads: int, sample: SampleImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = sample.image(layers=[sample.layer("any")]).named(sample.name())
    digest = image.manifest.layers[0].digest
    (tmp_path / "blob").write_bytes(blob)
    read = []

    def counted(source: BinaryIO, where: str) -> Iterator[bytes]:
        read.append(where)
        return decompressed(source, where)

    monkeypatch.setattr("polyarch_plugins.storages.docker.archive.decompressed", counted)

    def sent(known: Collection[str] = ()) -> bytes:
        try:
            return b"".join(tar_chunks(layers_only(image, BlobFiles({digest: tmp_path / "blob"}), [digest], known)))
        except OtherSize as other:
            return sent([other.name])

    if blob in (b"\x1f\x8b", PACKED[:-4] + (len(PLAIN) + BLOCK).to_bytes(4, "little")):
        with pytest.raises(IntegrityError):
            sent()
    else:
        assert files_of([sent()])[f"{digest.removeprefix('sha256:')}.tar"] == PLAIN
    assert len(read) == reads
