"""What the sample images are, as skopeo and the real registry see them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.testing.big_image import big_image
from polyarch.testing.sample_images import PLATFORMS
from support.docker_registry import DockerRegistry, skopeo
from support.layout_files import Layout

pytestmark = pytest.mark.system

ELF_MACHINES = {"amd64": 62, "arm64": 183, "armhf": 40, "armel": 40, "i386": 3, "s390x": 22, "ppc64el": 21}


@pytest.fixture(scope="module")
def layout(sample_layout: Path) -> Layout:
    return Layout(sample_layout)


def raw(registry: DockerRegistry, name: str) -> bytes:
    return skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{registry.ref(name)}").encode()


def test_registry_holds_every_name_byte_for_byte(registry: DockerRegistry, layout: Layout) -> None:
    for name, entry in layout.names.items():
        assert f"sha256:{hashlib.sha256(raw(registry, name)).hexdigest()}" == entry["digest"], name


@pytest.mark.parametrize(
    ("architecture", "variant", "platform"),
    [
        ("amd64", "", {"os": "linux", "architecture": "amd64"}),
        ("386", "", {"os": "linux", "architecture": "386"}),
        ("arm64", "v8", {"os": "linux", "architecture": "arm64", "variant": "v8"}),
        ("arm", "v7", {"os": "linux", "architecture": "arm", "variant": "v7"}),
        ("arm", "v5", {"os": "linux", "architecture": "arm", "variant": "v5"}),
        ("s390x", "", {"os": "linux", "architecture": "s390x"}),
        ("ppc64le", "", {"os": "linux", "architecture": "ppc64le"}),
    ],
)
def test_skopeo_chooses_the_entry(
    registry: DockerRegistry, layout: Layout, architecture: str, variant: str, platform: dict[str, str]
) -> None:
    options = ["--override-os", "linux", "--override-arch", architecture, "--override-variant", variant]
    reference = f"docker://{registry.ref('busybox:1.36')}"
    config = json.loads(skopeo(*options, "inspect", "--config", "--tls-verify=false", reference))
    assert {key: config[key] for key in platform} == platform
    chosen = layout.json(layout.manifest("busybox:1.36", architecture, variant or None))
    assert layout.json(chosen["config"]["digest"]) == config


def test_each_platform_has_its_own_layer_and_all_share_one(layout: Layout) -> None:
    entries = [entry for entry in layout.entries("busybox:1.36") if entry["platform"]["os"] == "linux"]
    first, second = zip(
        *([layer["digest"] for layer in layout.layers(entry["digest"])] for entry in entries), strict=True
    )
    assert len(set(first)) == len(PLATFORMS) == 7
    assert len(set(second)) == 1


def test_attestations_name_the_manifests(layout: Layout) -> None:
    entries = layout.entries("busybox:1.36")
    unknown = [entry for entry in entries if entry["platform"] == {"os": "unknown", "architecture": "unknown"}]
    subjects = [entry["annotations"]["vnd.docker.reference.digest"] for entry in unknown]
    assert subjects == [entry["digest"] for entry in entries if entry not in unknown]
    assert {entry["annotations"]["vnd.docker.reference.type"] for entry in unknown} == {"attestation-manifest"}


@pytest.mark.parametrize("architecture", PLATFORMS)
def test_programs_are_for_their_architecture(foreign_busybox: Callable[[str], Path], architecture: str) -> None:
    header = foreign_busybox(architecture).read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert int.from_bytes(header[18:20], "little" if header[5] == 1 else "big") == ELF_MACHINES[architecture]


def test_shapes(layout: Layout) -> None:
    def platforms(name: str) -> list[dict[str, str] | None]:
        return [entry.get("platform") for entry in layout.entries(name)]

    arm64 = {"os": "linux", "architecture": "arm64", "variant": "v8"}
    armv7 = {"os": "linux", "architecture": "arm", "variant": "v7"}
    assert platforms("arm64-only:1.0") == platforms("liar:1.0") == [arm64]
    assert platforms("duplicates:1.0") == [arm64, arm64]
    assert platforms("v7-v5:1.0") == [armv7, {**armv7, "variant": "v5"}]
    assert platforms("arm-only:1.0") == platforms("unlabelled-v5:1.0") == [{"os": "linux", "architecture": "arm"}]
    assert platforms("no-platform:1.0") == [None, None, None]
    assert [entry["mediaType"].split(".")[3] for entry in layout.entries("nested:1.0")] == ["manifest", "index"]
    assert layout.names["single:1.0"]["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert layout.names["docker-list:1.0"]["mediaType"].endswith("manifest.list.v2+json")
    assert not {"tagged:1.0", "tagged:latest", "app:1.0", "clock:1.0"} & set(layout.names)


@pytest.mark.parametrize(("name", "machine"), [("liar:1.0", 62), ("arm-only:1.0", 40), ("unlabelled-v5:1.0", 40)])
def test_what_mislabelled_images_hold(layout: Layout, tmp_path: Path, name: str, machine: int) -> None:
    manifest = layout.entries(name)[0]["digest"]
    unpacked = [
        "tar",
        "-xzf",
        str(layout.path(layout.layers(manifest)[0]["digest"])),
        "-C",
        str(tmp_path),
        "bin/busybox",
    ]
    subprocess.run(unpacked, check=True)
    assert int.from_bytes((tmp_path / "bin/busybox").read_bytes()[18:20], "little") == machine


def test_umoci_merges_the_layers(sample_layout: Path, tmp_path: Path) -> None:
    """A second opinion on the tars: umoci unpacks them, and the whiteouts of the second layer take effect."""
    if shutil.which("umoci") is None:
        pytest.skip("the program umoci is not installed")
    bundle = tmp_path / "bundle"
    name = f"{sample_layout}:tagged:1.0-amd64"
    unpack = ["umoci", "unpack", "--rootless", "--image", name, str(bundle)]
    done = subprocess.run(unpack, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    root = bundle / "rootfs"
    assert (root / "etc/motd").read_text() == "written by the second layer\n"
    assert not (root / "etc/removed-by-second-layer").exists()
    assert [path.name for path in (root / "var/cache/replaced").iterdir()] == ["new"]
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (root / "bin/[").stat().st_ino == (root / "bin/busybox").stat().st_ino


def test_the_module_writes_the_same_layout_again(
    sample_layout: Path, test_cache: Path, tmp_path: Path, foreign_busybox: Callable[[str], Path]
) -> None:
    foreign_busybox("amd64")
    argv = [sys.executable, "-m", "polyarch.testing.sample_images", str(tmp_path / "again"), "--cache", str(test_cache)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {name: entry["digest"] for name, entry in Layout(sample_layout).names.items()}
    assert dict(line.split() for line in done.stdout.splitlines()) == names
    compared = ["diff", "-r", str(sample_layout), str(tmp_path / "again")]
    assert subprocess.run(compared, capture_output=True).returncode == 0


def test_the_module_tells_in_one_line_what_is_wrong(test_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    argv = [sys.executable, "-m", "polyarch.testing.sample_images", str(tmp_path / "file"), "--cache", str(test_cache)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert done.stderr.startswith("error: ")


def test_big_image_in_small(tmp_path: Path) -> None:
    digests = [
        big_image(tmp_path / name, layers=2, compressed_bytes=300_000, tar_bytes=2_000_000, entries=300)
        for name in ("one", "two")
    ]
    assert digests[0] == digests[1]
    layout = Layout(tmp_path / "one")
    layers = layout.layers(digests[0])
    names: list[str] = []
    for layer in layers:
        with tarfile.open(layout.path(layer["digest"])) as tar:
            names += tar.getnames()
    assert len(layers) == 2
    assert len(names) >= 300
    assert sum(layer["size"] for layer in layers) >= 300_000
    merged = {path.name for path in Path("/").iterdir() if path.is_symlink() and path.resolve().parent == Path("/usr")}
    assert merged <= set(names)
    assert all(name.startswith("usr/") or name == "usr" for name in set(names) - merged)
    assert not any(name.startswith("usr/local/") for name in names)
    assert "Layers" in skopeo("inspect", f"oci:{tmp_path}/one:big:1.0")
