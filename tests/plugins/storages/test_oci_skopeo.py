"""skopeo as the second opinion: it reads what is stored here, and what it wrote is a storage."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from polyarch.contract import Layout
from polyarch.oci.digest import digest_of
from polyarch.reference import parse_reference
from polyarch_platforms.platform import parse
from support.docker_registry import DockerRegistry, skopeo
from support.memory_registry import MadeImage, index_document, made_image
from support.storages import Opener, blobs_in, store

pytestmark = pytest.mark.system

SHARED = b"shared" * 100
AMD64 = made_image("linux/amd64", b"amd64", SHARED)
ARM64 = made_image("linux/arm64", b"arm64", SHARED)
DOCKER_ARM64 = made_image("linux/arm64", b"docker arm64", SHARED, docker=True)
DOCKER_S390X = made_image("linux/s390x", b"docker s390x", SHARED, docker=True)


def _inspect(place: Path, name: str, platform: str = "") -> dict[str, object]:
    os_arch = ["--override-arch", platform] if platform else []
    answer: dict[str, object] = json.loads(skopeo(*os_arch, "inspect", f"oci:{place}:{name}"))
    return answer


def _id(image: MadeImage) -> str:
    return f"{'docker' if 'docker' in image.manifest.media_type else 'oci'}-{image.platform.architecture}"


def _layers(image: MadeImage) -> list[str]:
    return [layer.digest for layer in image.manifest.layers]


@pytest.mark.parametrize("image", [AMD64, ARM64, DOCKER_ARM64, DOCKER_S390X], ids=_id)
@pytest.mark.parametrize(
    "name", ["docker.io/library/busybox:1.36", "10.0.0.7:5000/a/b:1.0-arm64v8", f"ghcr.io/a/b@{AMD64.manifest.digest}"]
)
def test_a_single_image_is_read_on_any_machine(open_at: Opener, place: Path, image: MadeImage, name: str) -> None:
    root = index_document([AMD64.manifest.descriptor, image.manifest.descriptor])
    store(open_at(), AMD64, "another:1")
    store(open_at(), image, name, root)
    read = _inspect(place, name)
    assert read["Architecture"] == image.platform.architecture
    assert read["Layers"] == _layers(image)
    skopeo("copy", f"oci:{place}:{name}", f"dir:{place.parent}/copy")
    assert (place.parent / "copy" / "manifest.json").read_bytes() == image.manifest.raw
    for digest, data in image.blobs.items():
        assert (place.parent / "copy" / digest.partition(":")[2]).read_bytes() == data


@pytest.mark.parametrize(
    "images",
    [(AMD64, ARM64), (AMD64, DOCKER_ARM64), (DOCKER_S390X, DOCKER_ARM64), (AMD64, ARM64, DOCKER_S390X)],
    ids=lambda images: " ".join(_id(image) for image in images),
)
def test_each_platform_of_a_name_is_read(open_at: Opener, place: Path, images: Sequence[MadeImage]) -> None:
    root = index_document([image.manifest.descriptor for image in images])
    for image in images:
        store(open_at(), image, "busybox:1.36", root)
    name = "docker.io/library/busybox:1.36"
    for image in images:
        read = _inspect(place, name, image.platform.architecture)
        assert read["Layers"] == _layers(image)
    skopeo("copy", "--all", "--preserve-digests", f"oci:{place}:{name}", f"dir:{place.parent}/copy")
    copied = {f"sha256:{path.name.removesuffix('.manifest.json')}" for path in (place.parent / "copy").iterdir()}
    assert copied >= {image.manifest.digest for image in images}
    assert copied >= {digest for image in images for digest in image.blobs}


def test_a_name_outside_the_grammar_does_not_disturb_the_others(open_at: Opener, place: Path) -> None:
    """skopeo takes no such name on its command line; the layout stays readable all the same."""
    store(open_at(), ARM64, "[::1]:5000/a__b:1")
    store(open_at(), ARM64, "fine:1")
    assert _inspect(place, "docker.io/library/fine:1")["Architecture"] == "arm64"
    refused = subprocess.run(
        ["skopeo", "inspect", f"oci:{place}:[::1]:5000/a__b:1"], capture_output=True, text=True, check=False
    )
    assert "Invalid image" in refused.stderr


def test_what_skopeo_copied_is_a_storage(open_at: Opener, place: Path, registry: DockerRegistry) -> None:
    for arch, name in (("arm64", "busybox:1.36"), ("s390x", "docker.io/library/other:1")):
        skopeo(
            "--override-arch", arch, "copy", "--src-tls-verify=false",
            f"docker://{registry.ref('busybox:1.36')}", f"oci:{place}:{name}",
        )  # fmt: skip
    assert {(str(image.reference), str(image.platform)) for image in open_at().images()} == {
        ("docker.io/library/busybox:1.36", "linux/arm64"),
        ("docker.io/library/other:1", "linux/s390x"),
    }
    (image,) = open_at().find(parse_reference("busybox:1.36"))
    assert image.root == image.manifest
    assert image.config.digest == image.manifest.config.digest
    assert not (place / ".polyarch").exists()


def test_what_skopeo_copied_whole_is_a_storage(open_at: Opener, place: Path, registry: DockerRegistry) -> None:
    """Every platform, each with its attestation, which is no image."""
    source = f"docker://{registry.ref('busybox:1.36')}"
    skopeo("copy", "--all", "--src-tls-verify=false", source, f"oci:{place}:busybox:1.36")
    images = open_at().find(parse_reference("busybox:1.36"))
    expected = {"amd64", "arm64", "arm/v5", "arm/v7", "386", "ppc64le", "s390x"}
    assert {str(image.platform) for image in images} == {f"linux/{name}" for name in expected}
    raw = skopeo("inspect", "--raw", "--tls-verify=false", source).encode()
    assert {image.root.digest for image in images} == {digest_of(raw)}


def test_entries_without_platform_are_told_by_their_config(
    open_at: Opener, place: Path, registry: DockerRegistry
) -> None:
    source = f"docker://{registry.ref('no-platform:1.0')}"
    skopeo("copy", "--all", "--src-tls-verify=false", source, f"oci:{place}:no-platform:1.0")
    images = open_at().find(parse_reference("no-platform:1.0"))
    assert {str(image.platform) for image in images} == {"linux/amd64", "linux/arm64", "linux/arm/v7"}


def test_a_layout_of_skopeo_is_written_on(open_at: Opener, place: Path, registry: DockerRegistry) -> None:
    source = f"docker://{registry.ref('busybox:1.36')}"
    skopeo("copy", "--all", "--src-tls-verify=false", source, f"oci:{place}:theirs:1")
    skopeo("copy", "--src-tls-verify=false", f"docker://{registry.ref('single:1.0')}", f"oci:{place}")
    store(open_at(), ARM64, "ours:1")
    assert _inspect(place, "theirs:1", "s390x")["Architecture"] == "s390x"
    assert _inspect(place, "docker.io/library/ours:1")["Layers"] == _layers(ARM64)
    (unnamed,) = [image for image in open_at().images() if image.reference.registry == "localhost"]
    assert open_at().find(unnamed.reference) == (unnamed,)
    # One platform of theirs goes; the rest can still be read by both.
    theirs = parse_reference("theirs:1")
    before = {str(image.platform) for image in open_at().find(theirs)}
    assert open_at().remove(theirs, parse("linux/amd64"))
    assert {str(image.platform) for image in open_at().find(theirs)} == before - {"linux/amd64"}
    name = "docker.io/library/theirs:1"
    assert _inspect(place, name, "s390x")["Architecture"] == "s390x"
    assert open_at().remove(unnamed.reference)
    assert open_at().remove(theirs)
    open_at().prune()
    assert blobs_in(place) == {*ARM64.blobs, ARM64.manifest.digest}


def test_skopeo_takes_over_a_name(open_at: Opener, place: Path) -> None:
    """What it wrote last is what the name stands for, to both."""
    store(open_at(), ARM64, "busybox:1.36", index_document([ARM64.manifest.descriptor]))
    store(open_at(place.parent / "other"), AMD64, "x:1")
    name = "docker.io/library/busybox:1.36"
    skopeo("copy", "--preserve-digests", f"oci:{place.parent}/other:docker.io/library/x:1", f"oci:{place}:{name}")
    (image,) = open_at().find(parse_reference("busybox:1.36"))
    assert image.manifest == AMD64.manifest
    assert _inspect(place, name)["Architecture"] == "amd64"
    assert len(Layout(place).entries()) == 2
