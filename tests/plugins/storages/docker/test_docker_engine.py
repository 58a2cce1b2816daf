"""What engines say that the real one of the tests does not: newer dockers, podman's imitation, and nonsense.

The shapes are those of docs.docker.com/reference/api/engine/version/v1.51, and of podman's API
(docs.podman.io/en/latest/_static/api.html, SystemPing: the header `Libpod-API-Version`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from polyarch.contract import HostError, ImageLoader, PolyarchError, StorageError, StorageServices
from polyarch.registry.local import LocalHttp
from polyarch.testing.conformance.images import BlobFiles, SampleImages
from polyarch_plugins.storages.docker.loader import open_docker
from support.unix_http import Asked, Said, unix_http

Answers = dict[str, object]
CLASSIC = {"DriverStatus": [["Backing Filesystem", "extfs"], ["Supports d_type", "true"]]}
CONTAINERD = {"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}


@pytest.fixture
def sample(tmp_path: Path) -> SampleImages:
    return SampleImages(tmp_path / "sample", "docker-engine")


@contextmanager
def engine(
    path: Path, answers: Answers, *, ping: dict[str, str] | None = None
) -> Iterator[tuple[ImageLoader, list[Asked]]]:
    """A loader over an engine that answers so, by path; what it does not know it has not got."""

    def answer(asked: Asked) -> Said:
        said = answers.get(asked.path.partition("?")[0])
        if isinstance(said, Said):
            return said
        if asked.path == "/_ping":
            return Said(b"OK", headers=ping or {})
        if said is None:
            return Said(b'{"message":"No such image: it"}', 404)
        return Said(said if isinstance(said, bytes) else json.dumps(said).encode())

    http = LocalHttp(path)
    with unix_http(path, answer) as asked:
        services = StorageServices(path.parent, str(path), http_at=lambda _: http)
        try:
            yield open_docker(services), asked
        finally:
            http.close()


def test_containerds_store_gets_all_blobs_and_knows_images_by_their_manifests(
    sample: SampleImages, tmp_path: Path
) -> None:
    made = sample.image(layers=[sample.layer("one"), sample.layer("two")])
    image = made.named(sample.name(tag="1.0"))
    known = {"Id": image.manifest.digest, "RootFS": {"Type": "layers", "Layers": list(image.config.diff_ids)}}
    answers: Answers = {
        "/info": CONTAINERD,
        "/images/json": [{"Id": image.manifest.digest}],
        f"/images/{image.manifest.digest}/json": known,
        "/images/load": b'{"stream":"Loaded image: it"}\n',
    }
    with engine(tmp_path / "engine.sock", answers) as (loader, asked):
        assert not loader.has(image)
        assert set(loader.lacks(image)) == {layer.digest for layer in image.manifest.layers}
        answers[f"/images/{image.reference.name}:1.0/json"] = known
        loader.load(image, BlobFiles(made.files))
        assert loader.has(image)
    (load,) = [each for each in asked if each.method == "POST"]
    assert b"oci-layout" in load.body
    assert b"io.containerd.image.name" in load.body
    assert load.headers["Content-Type"] == "application/x-tar"
    assert "quiet=1" in load.path


def test_podmans_imitation_gets_all_blobs(sample: SampleImages, tmp_path: Path) -> None:
    image = sample.image().named(sample.name())
    known = {"Id": image.config.digest, "RootFS": {"Type": "layers", "Layers": list(image.config.diff_ids)}}
    answers: Answers = {"/info": CLASSIC, "/images/json": [{"Id": "id"}], "/images/id/json": known}
    path = tmp_path / "engine.sock"
    with engine(path, answers, ping={"Libpod-API-Version": "4.3.1"}) as (loader, _):
        assert set(loader.lacks(image)) == {layer.digest for layer in image.manifest.layers}
    path.unlink()
    with engine(path, answers) as (loader, _):
        assert set(loader.lacks(image)) == set()


def test_an_image_that_cannot_be_unpacked(sample: SampleImages, tmp_path: Path) -> None:
    """daemon/containerd/image_exporter.go: the load goes on, with a line in its stream."""
    made = sample.image()
    said = b'{"stream":"Error unpacking image it:1: no sound archive\\n"}\r\n{"stream":"Loaded image: it:1\\n"}\r\n'
    with engine(tmp_path / "engine.sock", {"/info": CONTAINERD, "/images/load": said}) as (loader, _):
        with pytest.raises(StorageError, match="docker cannot load it: Error unpacking image it:1: no sound archive"):
            loader.load(made.named(sample.name()), BlobFiles(made.files))


def test_a_load_without_effect(sample: SampleImages, tmp_path: Path) -> None:
    made = sample.image()
    answers: Answers = {"/info": CLASSIC, "/images/json": [], "/images/load": b""}
    with engine(tmp_path / "engine.sock", answers) as (loader, _):
        with pytest.raises(StorageError, match="the name stands for another image there"):
            loader.load(made.named(sample.name()), BlobFiles(made.files))


def test_layers_that_docker_gave_up_meanwhile(sample: SampleImages, tmp_path: Path) -> None:
    """Somebody removes the image with the same layers between two questions: files are wanted that nobody has."""
    made = sample.image()
    answers: Answers = {"/info": CLASSIC, "/images/json": []}
    with engine(tmp_path / "engine.sock", answers) as (loader, _):
        with pytest.raises(StorageError, match="docker has given up layers") as raised:
            loader.load(made.named(sample.name()), BlobFiles({}))
    assert raised.value.hint == "try again"


Nonsense = Callable[[ImageLoader, SampleImages], object]


def _lacks(loader: ImageLoader, sample: SampleImages) -> object:
    return loader.lacks(sample.image().named(sample.name()))


def _load(loader: ImageLoader, sample: SampleImages) -> object:
    made = sample.image()
    return loader.load(made.named(sample.name()), BlobFiles(made.files))


def _list(loader: ImageLoader, sample: SampleImages) -> object:
    return list(loader.summaries())  # type: ignore[attr-defined]


ONE = {"/images/json": [{"Id": "id"}]}


@pytest.mark.parametrize(
    ("ask", "answers", "kind", "message"),
    [
        (_lacks, {"/info": Said(b"<html>", 502)}, StorageError, "docker: <html>"),
        (_lacks, {"/info": Said(b'["a"]', 502)}, StorageError, r'docker: \["a"\]'),
        (_lacks, {"/info": Said(b"", 500)}, StorageError, "docker: status 500"),
        (_lacks, {"/info": Said(b'{"message":"broken\\u001b[31m"}', 500)}, StorageError, r"broken\\x1b\[31m"),
        (_lacks, {"/info": b"{"}, StorageError, "docker's answer is no JSON"),
        (_lacks, {"/info": b"[" * 100_000}, StorageError, "docker's answer is no JSON"),
        (_lacks, {"/info": []}, StorageError, "docker's answer is no object"),
        (_lacks, {"/info": {"DriverStatus": 7}}, StorageError, "docker's answer is no list"),
        (_lacks, {"/info": CLASSIC, "/images/json": {}}, StorageError, "docker's answer is no list"),
        (_lacks, {"/info": Said(b"{", cut=True)}, HostError, "docker does not answer: .*broke off"),
        (_load, {"/info": CLASSIC, "/images/json": [], "/images/load": b"nonsense"}, StorageError, "no JSON"),
        (_load, {"/info": CLASSIC, "/images/json": [], "/images/load": b"7"}, StorageError, "no object"),
        (_load, {"/info": CLASSIC, "/images/json": [], "/images/load": Said(b"", cut=True)}, HostError, "broke off"),
        (
            _load,
            {"/info": CLASSIC, "/images/json": [], "/images/load": b'{"error":"it is full"}'},
            StorageError,
            "full",
        ),
        (_list, {**ONE, "/images/id/json": {"RepoTags": ["app:1"]}}, StorageError, "no ID and size of app:1"),
        (_list, {**ONE, "/images/id/json": {"RepoTags": ["app:1"], "Id": "x", "Size": 1}}, StorageError, "no ID and"),
    ],
)
def test_nonsense_is_told(
    ask: Nonsense, answers: Answers, kind: type[PolyarchError], message: str, sample: SampleImages, tmp_path: Path
) -> None:
    with engine(tmp_path / "engine.sock", answers) as (loader, _), pytest.raises(kind, match=message):
        ask(loader, sample)


def test_odd_images_do_not_matter(sample: SampleImages, tmp_path: Path) -> None:
    """Images without names, layers or platform are in the way of nothing."""
    image = sample.image().named(sample.name())
    identifier = f"sha256:{'1' * 64}"
    known = {
        "Id": identifier,
        "Size": 5,
        "RepoTags": None,
        "RepoDigests": ["app@" + identifier],
        "Architecture": "arm64",
    }
    answers: Answers = {
        "/info": CLASSIC,
        "/images/json": [{"Id": "none"}, {"Id": "gone"}, {"Id": "known"}],
        "/images/none/json": {"Id": identifier, "RepoTags": [], "RootFS": {"Type": "layers"}},
        "/images/known/json": {**known, "Os": "linux", "Variant": "v8", "RootFS": None},
    }
    with engine(tmp_path / "engine.sock", answers) as (loader, _):
        assert set(loader.lacks(image)) == {layer.digest for layer in image.manifest.layers}
        (summary,) = loader.summaries()  # type: ignore[attr-defined]
    assert (str(summary.reference), summary.digest) == (f"docker.io/library/app@{identifier}", identifier)
    assert (str(summary.platform), summary.created, summary.size) == ("linux/arm64", "", 5)
