"""A second version of an image: pushed as zstd:chunked into Debian's registry, pulled where the first one is."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from polyarch.oci.digest import digest_of
from polyarch.testing.layout_writer import MTIME, Layer, LayoutWriter, folder, link, regular
from support.chunked_layers import MadeLayer, estargz, zstd_chunked
from support.command import Polyarch
from support.docker_registry import DockerRegistry, skopeo
from support.faults import honest, stall_after
from support.faulty_registry import FaultyRegistry
from support.layout_files import Layout
from support.podman_engine import PodmanEngine
from support.processes import await_true

pytestmark = pytest.mark.system

FILES = 300
AMD64 = {"os": "linux", "architecture": "amd64"}


def _contents(changed: bool) -> dict[str, bytes]:
    """Two in a hundred small files differ, each in its beginning."""
    source = random.Random(5)
    found = {f"srv/{number:03}": source.randbytes(source.randrange(100, 9000)) for number in range(FILES)}
    return {name: b"new" + data if changed and int(name[4:]) % 50 == 7 else data for name, data in found.items()}


def _layout(directory: Path, changed: bool) -> Path:
    """The version as a gzip image, called `app:1` or `app:2`."""
    writer = LayoutWriter(directory)
    files = [regular(name, data) for name, data in _contents(changed).items()]
    layer = writer.layer([folder("srv"), *files, link("srv/link", "001"), link("srv/hard", "srv/002", hard=True)], "x")
    writer.name(f"app:{2 if changed else 1}", writer.image(AMD64, [layer]))
    writer.finish()
    return directory


@pytest.fixture(scope="module")
def versions(registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Both versions in the registry, as zstd:chunked, put there by polyarch."""
    place = tmp_path_factory.mktemp("versions")
    polyarch = Polyarch(place)
    names = []
    for number, changed in enumerate((False, True), 1):
        layout = _layout(place / f"layout-{number}", changed)
        (pulled,) = polyarch("pull", f"oci:{layout}:app:{number}", "--format", "json").ok().json_lines
        name = registry.ref(f"small-updates:{number}")
        pushed = polyarch("push", pulled["name"], name, "--compression", "zstd:chunked", "--format", "json").ok()
        assert "gets a new manifest, its layers compressed by zstd:chunked" in pushed.stderr
        assert pushed.json_lines[0]["made"] is True
        assert pushed.json_lines[0]["digest"] != pulled["manifest"]
        names.append(name)
    return names[0], names[1]


def test_only_changed_files_travel(
    polyarch: Polyarch, registry: DockerRegistry, versions: tuple[str, str], tmp_path: Path
) -> None:
    one, two = versions
    polyarch("pull", one).ok()
    planned = polyarch("pull", two, "--dry-run", "--format", "json").ok().json_lines[0]
    before = len(registry.access_log())
    pulled = polyarch("pull", two, "--format", "json").ok().json_lines[0]
    (layer,) = pulled["layers"]
    travelled = [access.size for access in registry.access_log()[before:] if access.blob == layer["digest"]]
    assert {access.status for access in registry.access_log()[before:] if access.blob == layer["digest"]} == {206}
    assert sum(travelled) == layer["size"] - layer["reused_bytes"] < 0.05 * layer["size"]
    assert layer["status"] == "downloaded"
    assert planned["layers"][0] == {**layer, "status": "missing"}
    assert polyarch("verify", two).ok()
    tree = tmp_path / "tree"
    polyarch("image", "unpack", two, tree).ok()
    files = {str(path.relative_to(tree)): path for path in tree.rglob("*") if path.is_file()}
    assert {name: path.read_bytes() for name, path in files.items()} == {
        **_contents(True),
        "srv/link": _contents(True)["srv/001"],
        "srv/hard": _contents(True)["srv/002"],
    }
    assert files["srv/hard"].samefile(files["srv/002"])
    assert files["srv/link"].readlink() == Path("001")
    assert {path.lstat().st_mtime for path in files.values()} == {MTIME}


def test_skopeo_reads_what_was_pushed(versions: tuple[str, str], tmp_path: Path) -> None:
    skopeo("copy", "--src-tls-verify=false", f"docker://{versions[0]}", f"dir:{tmp_path}")
    (layer,) = json.loads((tmp_path / "manifest.json").read_bytes())["layers"]
    plain = subprocess.run(
        ["zstd", "-dcq", tmp_path / layer["digest"][7:]], capture_output=True, check=True, timeout=60
    ).stdout
    config = json.loads((tmp_path / "manifest.json").read_bytes())["config"]["digest"][7:]
    assert [digest_of(plain)] == json.loads((tmp_path / config).read_bytes())["rootfs"]["diff_ids"]


@pytest.mark.costly
def test_podman_pushes_and_polyarch_reuses(
    polyarch: Polyarch, registry: DockerRegistry, podman: PodmanEngine, tmp_path: Path
) -> None:
    results: list[dict[str, Any]] = []
    for number, changed in enumerate((False, True), 1):
        layout = _layout(tmp_path / f"layout-{number}", changed)
        image = podman.podman("pull", "-q", f"oci:{layout}:app:{number}").strip()
        name = registry.ref(f"podman-chunked:{number}")
        podman.podman(
            "push", "-q", "--tls-verify=false", "--format=oci", "--compression-format=zstd:chunked", image, name
        )
        results += polyarch("pull", name, "--format", "json").ok().json_lines
    (layer,) = results[1]["layers"]
    assert 0 < layer["size"] - layer["reused_bytes"] < 0.05 * layer["size"]


@pytest.mark.costly
def test_podman_reads_the_table_that_polyarch_writes(registry: DockerRegistry, versions: tuple[str, str]) -> None:
    """With `enable_partial_images` podman takes files one by one by the table, without reading the archive."""
    engine = PodmanEngine()
    try:
        settings = engine.folder / "storage.conf"
        settings.write_text(
            f"""[storage]
            driver = "overlay"
            graphroot = "{engine.folder}/graph"
            runroot = "{engine.folder}/runroot"
            [storage.options]
            pull_options = {{enable_partial_images = "true", use_hard_links = "false", ostree_repos = ""}}
            """
        )
        argv = ["env", *(f"{key}={value}" for key, value in engine.environ.items())]
        argv += [f"CONTAINERS_STORAGE_CONF={settings}", "podman", "--log-level=debug"]

        def podman(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([*argv, *arguments], capture_output=True, text=True, timeout=120, check=True)

        pulled = podman("pull", "--tls-verify=false", versions[1])
        assert "Retrieved partial blob" in pulled.stderr
        mounted = Path(podman("image", "mount", versions[1]).stdout.strip())
        try:
            assert {name: (mounted / name).read_bytes() for name in _contents(True)} == _contents(True)
            assert (mounted / "srv/link").readlink() == Path("001")
            assert (mounted / "srv/hard").samefile(mounted / "srv/002")
        finally:
            podman("image", "umount", "--all")
    finally:
        subprocess.run(["umount", "--lazy", engine.folder / "graph" / "overlay"], capture_output=True)
        engine.stop()


def _made_layout(directory: Path, layers: dict[str, MadeLayer]) -> Layout:
    """Images of one layer each that has a table of contents."""
    writer = LayoutWriter(directory)
    for name, made in layers.items():
        blob = writer.blob(made.blob, made.descriptor.media_type)
        image = writer.image(AMD64, [Layer(blob["digest"], blob["size"], "zstd", digest_of(made.tar), "x")])
        document = json.loads((directory / "blobs" / image["digest"].replace(":", "/")).read_bytes())
        document["layers"] = [made.descriptor.to_json()]
        writer.name(name, writer.document(document))
    writer.finish()
    return Layout(directory)


@pytest.mark.parametrize("make", [zstd_chunked, estargz])
def test_a_pull_that_is_killed_goes_on(polyarch: Polyarch, tmp_path: Path, make: Any) -> None:
    old, new = make(_contents(False)), make(_contents(True))
    registry = FaultyRegistry(_made_layout(tmp_path / "layout", {"app:1": old, "app:2": new}))
    digest = new.descriptor.digest
    try:
        polyarch("pull", registry.ref("app:1")).ok()
        registry.script("GET", digest, *[honest] * 4)

        stalls, stalling = stall_after(0, registry.stopping), [True]
        registry.script("GET", digest, lambda *asked: (stalls if stalling else honest)(*asked), forever=True)
        process = polyarch.start("pull", registry.ref("app:2"), "--max-connections", "1")
        await_true(lambda: len(registry.asked("GET", digest)) > 4, "the pull is under way")
        (partial,) = (polyarch.root / "oci" / ".polyarch" / "partial").iterdir()
        await_true(lambda: partial.stat().st_size > 0, "a part of the layer is here")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kept = partial.read_bytes()
        assert new.blob.startswith(kept)
        asked = len(registry.asked("GET", digest))
        stalling.clear()
        pulled = polyarch("pull", registry.ref("app:2"), "--format", "json").ok().json_lines[0]
        assert pulled["layers"][0]["reused_bytes"] > 0.9 * len(new.blob)
        again = [request.byte_range for request in registry.asked("GET", digest)[asked:]]
        assert all(part is not None and (part[0] >= len(kept) or part[0] > 0.9 * len(new.blob)) for part in again)
        assert polyarch("verify", registry.ref("app:2")).ok()
    finally:
        registry.stop()


@pytest.mark.costly
@pytest.mark.host
@pytest.mark.skipif(shutil.which("buildah") is None, reason="buildah is not installed")
def test_a_build_writes_tables_of_contents(polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "data").write_bytes(random.Random(1).randbytes(300_000))
    (tmp_path / "context" / "Dockerfile").write_text("FROM scratch\nCOPY data /data\n")
    name = registry.ref("built-chunked:1")
    polyarch("build", "-t", name, "--compression", "zstd:chunked", "--push", tmp_path / "context").ok()
    told = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}"))
    (layer,) = told["layers"]
    assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+zstd"
    assert "io.github.containers.zstd-chunked.manifest-checksum" in layer["annotations"]
    assert polyarch("verify", name).ok()
