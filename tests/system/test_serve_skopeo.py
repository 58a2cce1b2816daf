"""The oci storage offered as a registry, read by skopeo."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.oci.digest import digest_of
from polyarch.reference import parse_reference
from polyarch.serve.server import serving
from polyarch_plugins.storages.oci.storage import OciStorage
from support.docker_registry import skopeo, skopeo_copy
from support.layout_files import Layout

pytestmark = pytest.mark.system

NO_TLS = "--tls-verify=false"
NAMES = [
    "busybox:1.36",
    "library/busybox:1.36",
    "docker.io/library/busybox:latest",
    "docker-list:1.0",
    "single:1.0",
    "arm64-only:1.0",
    "nested:1.0",
    "no-platform:1.0",
    "duplicates:1.0",
    "arm64v8/app:1.0",
    "clock-armhf:1.0",
    "tagged:1.0-arm64v8",
]


@pytest.fixture(scope="module")
def storage(sample_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> OciStorage:
    """polyarch's own storage, which holds all sample images."""
    folder = tmp_path_factory.mktemp("served") / "oci"
    shutil.copytree(sample_layout, folder)
    return OciStorage(folder)


@pytest.fixture(scope="module")
def address(storage: OciStorage) -> Iterator[str]:
    """Where the storage is served."""
    with serving(storage) as address:
        yield address


def raw(address: str, name: str) -> str:
    """The digest of what skopeo gets for a name; it ends what it prints with a line feed of its own."""
    return digest_of(skopeo("inspect", NO_TLS, "--raw", f"docker://{address}/{name}").encode().removesuffix(b"\n"))


def roots(directory: Path) -> dict[str, str]:
    """What each name of a layout points at."""
    entries = json.loads((directory / "index.json").read_bytes())["manifests"]
    return {entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"] for entry in entries}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_points_at_what_it_pointed_at(address: str, sample_layout: Path, name: str) -> None:
    """Also the index with attestations, since the storage has all of it."""
    assert raw(address, name) == roots(sample_layout)[name.removeprefix("docker.io/library/")]


@pytest.mark.parametrize("name", ["busybox:1.36", "docker-list:1.0", "single:1.0", "arm64-only:1.0"])
def test_every_platform_is_copied_byte_for_byte(address: str, sample_layout: Path, tmp_path: Path, name: str) -> None:
    skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{address}/{name}", f"dir:{tmp_path / 'copy'}")
    copied = {digest_of(path.read_bytes()) for path in (tmp_path / "copy").iterdir()}
    layout = Layout(sample_layout)
    waiting = [roots(sample_layout)[name]]
    while waiting:
        digest = waiting.pop()
        assert digest in copied
        document = json.loads(layout.path(digest).read_bytes())
        waiting += [entry["digest"] for entry in document.get("manifests", [])]
        assert {blob["digest"] for blob in (*document.get("layers", []),)} <= copied


@pytest.mark.parametrize(("architecture", "variant"), [("amd64", ""), ("arm64", ""), ("arm", "v7"), ("s390x", "")])
def test_skopeo_chooses_from_it(address: str, sample_layout: Path, architecture: str, variant: str) -> None:
    options = ["--override-os=linux", f"--override-arch={architecture}", f"--override-variant={variant}"]
    told = json.loads(skopeo(*options, "inspect", NO_TLS, f"docker://{address}/busybox:1.36"))
    assert told["Architecture"] == architecture
    digest = Layout(sample_layout).manifest("busybox:1.36", architecture, variant or None)
    assert told["Layers"] == [layer["digest"] for layer in Layout(sample_layout).layers(digest)]
    assert raw(address, f"busybox@{digest}") == digest


def test_tags_are_listed(address: str) -> None:
    told = json.loads(skopeo("list-tags", NO_TLS, f"docker://{address}/tagged"))
    assert told["Tags"] == ["1.0-amd64", "1.0-arm64v8", "1.0-armhf"]


def test_the_variants_at_hand_are_served_as_an_index_of_their_own(storage: OciStorage, tmp_path: Path) -> None:
    smaller = OciStorage(tmp_path / "oci")
    images = {str(image.platform): image for image in storage.find(parse_reference("busybox:1.36"))}
    for platform in ("linux/arm64", "linux/s390x"):
        image = images[platform]
        for blob in image.manifest.blobs:
            with smaller.write_blob(blob) as writer:
                if writer:
                    writer.write(storage.blob_path(blob.digest).read_bytes())
                    writer.finish()
        smaller.commit(image)
    with serving(smaller) as address:
        told = json.loads(skopeo("inspect", NO_TLS, "--raw", f"docker://{address}/busybox:1.36"))
        assert [entry["platform"]["architecture"] for entry in told["manifests"]] == ["arm64", "s390x"]
        skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{address}/busybox:1.36", f"oci:{tmp_path}/all")
        root = images["linux/arm64"].root
        assert raw(address, f"busybox@{root.digest}") == root.digest
        target = f"oci:{tmp_path}/one"
        options = ["--override-os=linux", "--override-arch=s390x"]
        skopeo(*options, "copy", "--src-tls-verify=false", f"docker://{address}/busybox@{root.digest}", target)


def test_pulls_while_the_storage_changes(address: str, storage: OciStorage, tmp_path: Path) -> None:
    """Names come and go while clients read; nobody gets an error for what stays."""
    stop = threading.Event()
    (image, *_) = storage.find(parse_reference("single:1.0"))

    def change() -> None:
        name = parse_reference("comes-and-goes:1.0")
        while not stop.is_set():
            storage.commit(replace(image, reference=name))
            storage.remove(name)

    changer = threading.Thread(target=change)
    changer.start()
    try:
        with ThreadPoolExecutor(4) as clients:
            list(
                clients.map(
                    lambda i: skopeo_copy(
                        f"docker://{address}/single:1.0", f"oci:{tmp_path}/{i}", "--src-tls-verify=false"
                    ),
                    range(8),
                )
            )
    finally:
        stop.set()
        changer.join()
