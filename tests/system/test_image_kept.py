"""Giving images up and taking them elsewhere: `image rm`, `prune`, `save`, `load`."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import shutil
import time
from pathlib import Path

import pytest

from polyarch import Session
from polyarch.settings import load_settings
from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry, skopeo, skopeo_copy
from support.seen_layout import seen_layout
from support.terminal import on_a_terminal
from support.users import OrdinaryUser

pytestmark = pytest.mark.system

needs_runtime = pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is there")


@pytest.fixture
def busybox(polyarch: Polyarch, registry: DockerRegistry) -> str:
    """The name of an image at hand."""
    name = registry.ref("busybox:1.36")
    polyarch("pull", "--platform", "linux/amd64", name).ok()
    return name


def names(polyarch: Polyarch) -> set[str]:
    """What is at hand, by name; `<none>` for what has none."""
    layout = seen_layout(polyarch.root / "oci")
    return {*layout.names, *("<none>" for _ in layout.unnamed)}


def files_below(path: Path) -> set[str]:
    """The names in a folder; none where there is none."""
    return {each.name for each in path.iterdir()} if path.is_dir() else set()


def blobs(polyarch: Polyarch) -> set[str]:
    return files_below(polyarch.root / "oci" / "blobs" / "sha256")


def snapshots(polyarch: Polyarch) -> set[str]:
    folder = polyarch.root / "snapshots"
    return {name for each in files_below(folder) - {"locks"} for name in files_below(folder / each)}


def test_one_of_several_names_is_only_untagged(polyarch: Polyarch, busybox: str) -> None:
    polyarch("image", "tag", busybox, "mine:1").ok()
    before = blobs(polyarch)
    result = polyarch("image", "rm", "mine:1").ok()
    assert result.stdout == "Untagged: mine:1\n"
    assert blobs(polyarch) == before
    assert names(polyarch) == {busybox}


def test_an_image_with_several_names_goes_by_id_only_by_force(polyarch: Polyarch, busybox: str) -> None:
    polyarch("image", "tag", busybox, "mine:1").ok()
    [short] = polyarch("images", "-q").ok().stdout.split()
    refused = polyarch("image", "rm", short)
    assert refused.code == 2
    assert "has several names" in refused.stderr
    assert "--force" in refused.stderr
    result = polyarch("image", "rm", "-f", short[:6]).ok()
    assert "Untagged: mine:1\n" in result.stdout
    assert names(polyarch) == set()
    assert blobs(polyarch) == set()


@needs_runtime
def test_what_a_container_uses_stays(polyarch: Polyarch, busybox: str) -> None:
    polyarch("run", "--name", "web", busybox, "true").ok()
    before = blobs(polyarch)
    [short] = polyarch("images", "-q").ok().stdout.split()
    for word in (busybox, short):
        refused = polyarch("image", "rm", word)
        assert refused.code == 2
        assert "the container web stands on it" in refused.stderr
        assert "polyarch rm web" in refused.stderr
    [line] = polyarch("image", "prune", "--all", "--format", "json").ok().json_lines or [None]
    assert line is None
    assert polyarch("image", "rm", "-f", busybox).ok().stdout == f"Untagged: {busybox}\n"
    assert names(polyarch) == {"<none>"}
    refused = polyarch("image", "rm", "-f", short)
    assert (refused.code, "polyarch rm web" in refused.stderr) == (2, True)
    polyarch("image", "prune", "--all").ok()
    assert blobs(polyarch) == before, "a container needs its image's blobs for commit"
    polyarch("rm", "web").ok()
    assert snapshots(polyarch)
    result = polyarch("image", "prune").ok()
    assert "Untagged: localhost/unnamed@sha256:" in result.stdout
    assert "Total reclaimed space: 0B" not in result.stdout
    assert (blobs(polyarch), snapshots(polyarch), names(polyarch)) == (set(), set(), set())
    assert files_below(polyarch.root / "snapshots" / "locks") <= {"prune", "preparing"}


def test_a_damaged_image_lets_nothing_else_go(polyarch: Polyarch, busybox: str, registry: DockerRegistry) -> None:
    other = registry.ref("zstd:1.0")
    polyarch("pull", "--platform", "linux/amd64,linux/arm64", other).ok()
    damaged = _damage(polyarch, busybox)
    polyarch("container", "create", "--name", "user", other).ok()
    before = _named(polyarch)
    refused = polyarch("image", "rm", other)
    assert (refused.code, _named(polyarch)) == (2, before), refused.stderr
    assert "the container user stands on it" in refused.stderr
    assert polyarch("image", "rm", "none").code == 3
    assert polyarch("image", "rm", damaged.name[:12]).code == 9  # whose ID that is nobody can tell
    polyarch("image", "rm", "--platform", "linux/arm64", other).ok()
    assert _named(polyarch) == before
    assert polyarch("image", "rm", "--platform", "linux/amd64", busybox).code == 9
    polyarch("image", "rm", busybox).ok()
    assert _named(polyarch) == [other]
    polyarch("image", "ls").ok()


def test_a_damaged_image_that_a_container_uses_goes_by_force(polyarch: Polyarch, busybox: str) -> None:
    polyarch("container", "create", "--name", "user", busybox).ok()
    _damage(polyarch, busybox)
    assert "the container user stands on it" in polyarch("image", "rm", busybox).stderr
    polyarch("image", "rm", "-f", busybox).ok()
    assert polyarch("image", "ls", "-q").ok().stdout == ""


def _named(polyarch: Polyarch) -> list[str]:
    """What index.json names, be it damaged."""
    entries = json.loads((polyarch.root / "oci" / "index.json").read_bytes())["manifests"]
    return sorted(entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries)


def _damage(polyarch: Polyarch, name: str) -> Path:
    """Spoil the manifest of an image; its file."""
    digest = json.loads(polyarch("image", "inspect", "--format", "json", name).ok().stdout)["manifest"]
    file = polyarch.root / "oci" / "blobs" / "sha256" / digest.partition(":")[2]
    file.write_bytes(b"x" * file.stat().st_size)
    return file


def test_a_record_that_cannot_be_read_keeps_images(polyarch: Polyarch, busybox: str) -> None:
    polyarch("container", "create", "--name", "user", busybox).ok()
    (record,) = (polyarch.root / "containers").glob("*/container.json")
    record.write_text("{")
    before = snapshots(polyarch)
    said = polyarch("image", "prune", "--all", "--force").ok().stderr
    assert f"the record in {record.parent} cannot be read" in said
    assert (names(polyarch), snapshots(polyarch)) == ({busybox}, before)


@needs_runtime
def test_the_image_of_a_running_container_keeps_its_name(polyarch: Polyarch, busybox: str) -> None:
    polyarch("run", "-d", "--name", "web", busybox, "sleep", "60").ok()
    refused = polyarch("image", "rm", "-f", busybox)
    assert refused.code == 2
    assert "polyarch rm -f web" in refused.stderr
    assert names(polyarch) == {busybox}
    polyarch("rm", "-f", "web").ok()
    polyarch("image", "rm", busybox).ok()
    assert (blobs(polyarch), snapshots(polyarch)) == (set(), set()), "unpacked layers go with their image"


@needs_runtime
def test_an_ordinary_user_prunes_what_others_ids_own(
    polyarch: Polyarch, registry: DockerRegistry, unprivileged_user: OrdinaryUser
) -> None:
    name, root = registry.ref("busybox:1.36"), unprivileged_user.home / "pruned"

    def run(*words: str) -> Result:
        return polyarch(*words, root=root, user=unprivileged_user).ok()

    run("run", "--name", "web", "--platform", "linux/amd64", name, "true")
    layers = [path for path in (root / "snapshots").glob("*/*") if path.parent.name != "locks"]
    assert layers
    run("rm", "web")
    told = run("image", "prune", "--all", "--format", "json").json_lines
    assert {line["digest"][7:] for line in told if line["kind"] == "unpacked"} == {path.name for path in layers}
    assert sum(line["size"] for line in told if line["kind"] == "unpacked") > 500_000
    assert not [path for path in (root / "snapshots").glob("*/*") if path.name not in ("prune", "preparing")]


def test_an_image_whose_name_moved_is_there_until_it_is_pruned(polyarch: Polyarch, registry: DockerRegistry) -> None:
    moving = registry.ref("kept/moving:1")
    for source in ("busybox:1.36", "zstd:1.0"):
        skopeo_copy(f"docker://{registry.ref(source)}", f"docker://{moving}")
        polyarch("pull", "--platform", "linux/arm64", moving).ok()
    assert names(polyarch) == {moving, "<none>"}
    assert json.loads(skopeo("inspect", f"oci:{polyarch.root}/oci:{moving}"))["Architecture"] == "arm64"
    before = blobs(polyarch)
    told = polyarch("image", "prune", "--dry-run", "--format", "json").ok().json_lines
    assert {line["kind"] for line in told} == {"image", "blob"}
    assert blobs(polyarch) == before
    assert polyarch("image", "prune", "--format", "json").ok().json_lines == told
    assert before - blobs(polyarch) == {line["digest"][7:] for line in told if line["kind"] == "blob"}
    assert names(polyarch) == {moving}


def test_prune_by_age_and_number(polyarch: Polyarch, busybox: str) -> None:
    with Session(load_settings(polyarch.root)) as session:
        for name in ("app:0", "app:1", "app:2", "app:3", "other:1"):
            session.kept.tag(busybox, name)
    assert not polyarch("image", "prune", "--all", "--older-than", "30d", "--format", "json").ok().json_lines
    lines = polyarch("image", "prune", "--keep", "2", "-n").ok().stdout.splitlines()
    assert lines[:2] == ["Would untag: app:0", "Would untag: app:1"]
    polyarch("image", "prune", "--keep", "2").ok()
    assert names(polyarch) == {
        busybox,
        "docker.io/library/app:2",
        "docker.io/library/app:3",
        "docker.io/library/other:1",
    }
    for path in (polyarch.root / "oci" / "blobs" / "sha256").iterdir():
        os.utime(path, (time.time() - 3600, time.time() - 3600))
    polyarch("image", "prune", "--all", "--older-than", "30m").ok()
    assert (names(polyarch), blobs(polyarch)) == (set(), set())


def test_a_terminal_is_asked_before_all_goes(polyarch: Polyarch, busybox: str) -> None:
    code, written = on_a_terminal(polyarch, "image", "prune", "--all", typed={"[y/N]": "n\n"})
    assert (code, f"  {busybox}" in written.splitlines()) == (0, True)  # whole, though other names go, too
    assert names(polyarch) == {busybox}
    code, written = on_a_terminal(polyarch, "image", "prune", "--all", typed={"[y/N]": "y\n"})
    assert (code, "Total reclaimed space" in written) == (0, True)
    assert names(polyarch) == set()
    assert "[y/N]" not in on_a_terminal(polyarch, "image", "prune", "--all")[1], "nothing is asked where nothing goes"


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_images_are_saved_and_loaded(
    kind: str, polyarch: Polyarch, registry: DockerRegistry, busybox: str, tmp_path: Path
) -> None:
    polyarch("image", "tag", busybox, "mine:1").ok()
    file, elsewhere = tmp_path / "images.tar", tmp_path / "elsewhere"
    file.write_bytes(b"what was there")
    polyarch("image", "save", "--type", kind, "-o", file, busybox, "mine:1").ok()
    assert sorted(path.name for path in tmp_path.iterdir() if "images" in path.name) == ["images.tar"]
    assert skopeo("inspect", f"{kind}:{file}:{busybox}")
    (tmp_path / "images.tar.gz").write_bytes(gzip.compress(file.read_bytes(), 1))
    shown = [f"Loaded image: {name} (linux/amd64)\n" for name in (busybox, "mine:1")]
    (tmp_path / "images.tar.xz").write_bytes(lzma.compress(file.read_bytes(), preset=0))
    for source in (file, tmp_path / "images.tar.gz", tmp_path / "images.tar.xz"):
        shutil.rmtree(elsewhere, ignore_errors=True)
        loaded = polyarch("image", "load", "-i", source, root=elsewhere).ok()
        assert sorted(loaded.stdout.splitlines(keepends=True)) == sorted(shown)
        assert set(seen_layout(elsewhere / "oci").names) == {busybox, "docker.io/library/mine:1"}
        assert not (elsewhere / "temporary").is_dir() or not list((elsewhere / "temporary").iterdir())


def test_an_archive_goes_through_a_pipe(polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> None:
    name, elsewhere = registry.ref("busybox:1.36"), tmp_path / "elsewhere"
    polyarch("pull", "--all-platforms", name).ok()
    archive = tmp_path / "archive.tar"

    def led(where: str, *words: str, root: Path | None = None) -> Result:
        prefix = ("sh", "-c", f'exec "$@" {where}{archive}', "sh")
        return polyarch.finish(polyarch.start(*words, root=root, prefix=prefix), "", 120)

    saved = led(">", "image", "save", "--all-platforms", name).ok()
    assert f"Loading {name} into stdout\n" in saved.stderr
    result = led("<", "image", "load", "--format", "json", root=elsewhere).ok()
    assert [line["reference"] for line in result.json_lines] == [f"oci-archive:stdin:{name}"] * 7
    assert str(elsewhere) not in result.stderr
    here = polyarch("image", "ls", "--format", "json").ok().json_lines
    assert polyarch("image", "ls", "--format", "json", root=elsewhere).ok().json_lines == here


@pytest.mark.parametrize(
    ("content", "code"), [(b"", 7), (b"no archive" * 1000, 7), (b"\x1f\x8bbroken", 7), (None, 3)], ids=str
)
def test_no_archive(content: bytes | None, code: int, polyarch: Polyarch, tmp_path: Path) -> None:
    file = tmp_path / "file.tar"
    if content is not None:
        file.write_bytes(content)
    result = polyarch("image", "load", "-i", file)
    assert result.code == code
    assert result.stderr.count(str(file)) == 1
    assert "Traceback" not in result.stderr


def test_no_archive_on_stdin(polyarch: Polyarch) -> None:
    result = polyarch("image", "load", stdin="no archive" * 1000)
    assert result.code == 7
    assert result.stderr == "error: stdin is no image archive: no tar archive\n"


def test_what_cannot_be_saved(polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> None:
    name, file = registry.ref("busybox:1.36"), tmp_path / "file.tar"
    assert polyarch("image", "save", "-o", file, "no/such:1").code == 3
    polyarch("pull", "--platform", "linux/arm64,linux/amd64", name).ok()
    result = polyarch("image", "save", "--type", "docker-archive", "--all-platforms", "-o", file, name)
    assert (result.code, "one platform of a name" in result.stderr) == (2, True)
    lost, long = tmp_path / "none" / "file.tar", tmp_path / ("long" * 100)
    for place, code, message in ((lost, 2, f"{lost.parent} does not exist"), (long, 9, f"cannot write {long}: ")):
        result = polyarch("image", "save", "-o", place, name)
        assert result.code == code
        assert f"error: {message}" in result.stderr
    assert polyarch("image", "save", "--format", "json", name).code == 2
    assert list(tmp_path.glob("*.tar")) + list(tmp_path.glob(".*")) == []
