"""Pulls into archives, foreign layouts and buckets through the command, and what others make of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.command import Polyarch
from support.containerd_engine import ContainerdEngine
from support.docker_registry import DockerRegistry, skopeo
from support.dockerd import Dockerd
from support.layout_files import Layout
from support.podman_engine import PodmanEngine
from support.s3_server import S3Server

pytestmark = pytest.mark.system
BUSYBOX = "busybox:1.36"
ARCHIVES = ("oci-archive", "docker-archive")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


def config_of(sample_layout: Path, name: str, architecture: str) -> str:
    layout = Layout(sample_layout)
    return str(layout.json(layout.manifest(name, architecture))["config"]["digest"])


@pytest.fixture(scope="module", params=ARCHIVES)
def two_images(
    request: pytest.FixtureRequest, registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An archive with `busybox:1.36` and `arm64-only:1.0`, both for arm64, under the registry's names."""
    folder = tmp_path_factory.mktemp("two")
    polyarch, file = Polyarch(folder), folder / "images.tar"
    names = (registry.ref(BUSYBOX), registry.ref("arm64-only:1.0"))
    polyarch("pull", "--platform", "linux/arm64", "--into", f"{request.param}:{file}", *names).ok()
    return file


def test_docker_loads_it(two_images: Path, registry: DockerRegistry, sample_layout: Path, dockerd: Dockerd) -> None:
    dockerd.clear()
    dockerd.docker("load", "--input", str(two_images))
    assert dockerd.images() == {
        registry.ref(name): config_of(sample_layout, name, "arm64") for name in (BUSYBOX, "arm64-only:1.0")
    }


def test_podman_loads_it(two_images: Path, registry: DockerRegistry, sample_layout: Path, podman: PodmanEngine) -> None:
    podman.clear()
    podman.podman("load", "--input", str(two_images))
    assert podman.images() == {
        registry.ref(name): config_of(sample_layout, name, "arm64") for name in (BUSYBOX, "arm64-only:1.0")
    }


def test_containerd_imports_it(
    two_images: Path, registry: DockerRegistry, sample_layout: Path, containerd: ContainerdEngine
) -> None:
    containerd.ctr("images", "import", "--platform", "linux/arm64", str(two_images))
    for name in (BUSYBOX, "arm64-only:1.0"):
        manifest = json.loads(containerd.ctr("content", "get", containerd.images()[registry.ref(name)]))
        assert manifest["config"]["digest"] == config_of(sample_layout, name, "arm64")


@pytest.mark.parametrize("kind", [*ARCHIVES, "oci"])
def test_skopeo_reads_it(
    kind: str, polyarch: Polyarch, registry: DockerRegistry, sample_layout: Path, tmp_path: Path
) -> None:
    place, name = f"{kind}:{tmp_path / 'images'}", registry.ref(BUSYBOX)
    polyarch("pull", "--platform", "linux/arm64", "--into", place, name).ok()
    raw = json.loads(skopeo("inspect", "--raw", f"{place}:{name}"))
    assert raw["config"]["digest"] == config_of(sample_layout, BUSYBOX, "arm64")


@pytest.mark.parametrize("kind", [*ARCHIVES, "oci"])
def test_it_is_listed(kind: str, polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> None:
    place = f"{kind}:{tmp_path / 'images'}"
    polyarch("pull", "--platform", "linux/arm64", "--into", place, registry.ref(BUSYBOX)).ok()
    [line] = polyarch("image", "ls", "--storage", place, "--format", "json").ok().json_lines
    assert (line["repository"], line["tag"], line["platform"]) == (registry.ref("busybox"), "1.36", "linux/arm64")


def test_what_umoci_made_is_added_to_and_read(
    polyarch: Polyarch, registry: DockerRegistry, sample_layout: Path, tmp_path: Path
) -> None:
    layout = tmp_path / "layout"
    subprocess.run(["umoci", "init", "--layout", layout], check=True)
    subprocess.run(["umoci", "new", "--image", f"{layout}:mine"], check=True)
    polyarch("pull", "--platform", "linux/arm64", "--into", f"oci:{layout}", registry.ref(BUSYBOX)).ok()
    listed = subprocess.run(["umoci", "ls", "--layout", layout], check=True, capture_output=True, text=True).stdout
    assert sorted(listed.split()) == sorted(["mine", registry.ref(BUSYBOX)])
    subprocess.run(["umoci", "gc", "--layout", layout], check=True, capture_output=True)
    [result] = (
        polyarch("pull", "--format", "json", "--platform", "linux/arm64", f"oci:{layout}:{registry.ref(BUSYBOX)}")
        .ok()
        .json_lines
    )
    assert result["status"] == "downloaded"
    [image] = polyarch("image", "ls", "--format", "json").ok().json_lines
    assert image["id"] == config_of(sample_layout, BUSYBOX, "arm64")


def test_the_registrys_digest_survives_a_bucket(
    polyarch: Polyarch, registry: DockerRegistry, s3: S3Server, sample_layout: Path, tmp_path: Path
) -> None:
    """All platforms go into a bucket; what is pulled from there has the digest that everybody knows."""
    place = f"s3://{s3.bucket()}/fleet"
    polyarch("pull", "--all-platforms", "--into", place, registry.ref(BUSYBOX), env=s3.environ).ok()
    words = ("pull", "--format", "json", "--platform", "linux/arm64")
    missing = polyarch(*words, f"{place}:busybox:1.36", env=s3.environ)
    assert missing.json_lines[0]["error"]["code"] == "not-found"  # it is kept under the whole name
    [result] = polyarch(*words, f"{place}:1.36", env=s3.environ, root=tmp_path / "other").ok().json_lines
    assert result["digest"] == Layout(sample_layout).names[BUSYBOX]["digest"]
    tags = polyarch("tags", "-q", f"{place}", env=s3.environ).ok().stdout
    assert registry.ref(BUSYBOX) in tags


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("oci:none", 3, "there is no folder {here}/none"),
        ("oci-archive:none.tar", 3, "there is no file {here}/none.tar"),
        ("docker-archive:none.tar:busybox", 3, "there is no file {here}/none.tar"),
        ("oci:.", 7, "{here} is no OCI image layout"),
        ("oci:text", 7, "{here}/text is a file, not a folder\nhint: an archive is oci-archive:FILE"),
        ("oci-archive:text", 7, "{here}/text: no tar archive"),
        ("docker-archive:text", 7, "{here}/text: no tar archive"),
        ("docker-archive:layout.tar", 7, "{here}/layout.tar is no whole docker archive"),
        ("oci-archive:layout.tar", 2, "holds several images"),
        ("oci-archive:layout.tar:nothing", 3, "'nothing' is not in {here}/layout.tar"),
        ("oci:", 2, "is not an image reference"),
    ],
)
def test_what_cannot_be_pulled(
    text: str, code: int, message: str, polyarch: Polyarch, sample_layout: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "text").write_text("some text")
    if "layout.tar" in text:
        subprocess.run(["tar", "-cf", here / "layout.tar", "-C", sample_layout, "."], check=True)
    result = polyarch("pull", "--platform", "linux/arm64", text, cwd=here)
    assert result.code == code, result.stderr
    assert message.format(here=here) in result.stderr


@pytest.mark.parametrize(
    ("into", "code", "message"),
    [
        ("oci-archive", 2, "oci-archive wants a file"),
        ("docker-archive:", 2, "docker-archive wants a file"),
        ("oci-archive:none/a.tar", 9, "there is no folder"),
        ("oci-archive:text", 7, "text: no tar archive"),
        ("oci-archive:.", 7, "is not a plain file"),
        ("oci:text", 9, "text is a file, not a folder\nhint: for an archive: --into oci-archive:FILE"),
        ("s3:", 2, "s3 wants a bucket"),
        ("s3://no-such-bucket/x", 3, "there is no such bucket"),
    ],
)
def test_what_cannot_be_pulled_into(
    into: str, code: int, message: str, polyarch: Polyarch, registry: DockerRegistry, s3: S3Server, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("some text")
    result = polyarch("pull", "--into", into, registry.ref(BUSYBOX), cwd=tmp_path, env=s3.environ)
    assert result.code == code, result.stderr
    assert message in result.stderr


def test_the_disk_of_an_archive_is_full(
    polyarch: Polyarch, registry: DockerRegistry, small_tmpfs: Callable[[int], Path]
) -> None:
    disk = small_tmpfs(500 << 10)
    words = ("pull", "--format", "json", "--platform", "linux/arm64", "--into", f"oci-archive:{disk}/a.tar")
    result = polyarch(*words, registry.ref(BUSYBOX))
    assert result.code == 9, result.stderr
    assert list(disk.iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    [line] = polyarch(*words, registry.ref(BUSYBOX)).ok().json_lines
    assert line["downloaded_bytes"] == 0  # what came before was kept


def test_a_compressed_archive_on_a_full_disk(
    polyarch: Polyarch, sample_layout: Path, tmp_path: Path, small_tmpfs: Callable[[int], Path]
) -> None:
    """It is decompressed below the root folder."""
    file, root = tmp_path / "layout.tar.gz", small_tmpfs(500 << 10)
    subprocess.run(["tar", "-czf", file, "-C", sample_layout, "."], check=True)
    result = polyarch("pull", "--platform", "linux/arm64", f"oci-archive:{file}:busybox:1.36", root=root)
    assert result.code == 9, result.stderr
    assert "cannot decompress" in result.stderr
    assert list((root / "temporary").iterdir()) == []


def test_memory_stays_small(polyarch: Polyarch, s3: S3Server, tmp_path: Path) -> None:
    """A layer of 48 MiB goes from an archive into a bucket; Python, obstore and two parts of 8 MiB are in memory."""
    from polyarch.testing.layout_writer import LayoutWriter, regular
    from polyarch_platforms.architecture import load
    from polyarch_platforms.tiny import tiny_program

    writer = LayoutWriter(tmp_path / "layout")
    layers = [writer.layer([regular("bin/sh", tiny_program(load()["arm64"]), 0o755)], "COPY sh /bin")]
    layers += [writer.layer([regular("bulk", os.urandom(48 << 20))], "COPY bulk /")]
    writer.name("big:1.0", writer.image({"os": "linux", "architecture": "arm64"}, layers))
    writer.finish()
    subprocess.run(["tar", "-cf", tmp_path / "big.tar", "-C", tmp_path / "layout", "."], check=True)
    script = (
        "import sys, polyarch.cli\n"
        "try:\n    polyarch.cli.main()\n"
        "finally:\n    print(open('/proc/self/status').read(), file=sys.stderr)\n"
    )
    words = ["pull", "--platform", "linux/arm64", "--into", f"s3://{s3.bucket()}/a", f"oci-archive:{tmp_path}/big.tar"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "POLYARCH_ROOT": str(polyarch.root), **s3.environ}
    done = subprocess.run([sys.executable, "-c", script, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stderr.partition("VmHWM:")[2].split()[0]) < 80 << 10
