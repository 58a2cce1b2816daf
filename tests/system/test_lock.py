"""`polyarch lock` and `pull --locked` against a real registry, whose tags move, vanish, and come by convention."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry, skopeo_copy
from support.layout_files import Layout

pytestmark = pytest.mark.system

Point = Callable[[str, str], str]


@pytest.fixture
def point(registry: DockerRegistry, request: pytest.FixtureRequest) -> Point:
    """`point("app:1.0", "busybox:1.36")` lets a name of this test's own stand for a sample image; the whole name."""
    folder = "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).strip("-")

    def set_name(name: str, sample: str) -> str:
        whole = registry.ref(f"{folder}/{name}")
        skopeo_copy(f"docker://{registry.ref(sample)}", f"docker://{whole}", "--quiet")
        return whole

    return set_name


@pytest.fixture
def lock(polyarch: Polyarch, tmp_path: Path) -> Callable[..., Result]:
    """`polyarch lock` in the folder of the test."""
    return lambda *words: polyarch("lock", *words, cwd=tmp_path)


def vanish(registry: DockerRegistry, whole: str) -> None:
    """Take a tag out of the registry's storage."""
    name, _, tag = whole.removeprefix(f"{registry.address}/").rpartition(":")
    shutil.rmtree(registry.storage / f"docker/registry/v2/repositories/{name}/_manifests/tags/{tag}")


def entries(tmp_path: Path) -> dict[str, dict[str, Any]]:
    document = tomllib.loads((tmp_path / "polyarch.lock").read_text())
    return {image["reference"]: image for image in document["image"]}


def test_the_life_of_a_lock(
    lock: Callable[..., Result],
    point: Point,
    polyarch: Polyarch,
    registry: DockerRegistry,
    sample_layout: Path,
    tmp_path: Path,
) -> None:
    app, box = point("app:1.0", "busybox:1.36"), point("box:1.0", "v7-v5:1.0")
    sample = Layout(sample_layout)
    assert lock(app, box).ok().stdout.count("locked to") == 2
    first = (tmp_path / "polyarch.lock").read_text()
    entry = entries(tmp_path)[app]
    assert entry["digest"] == sample.names["busybox:1.36"]["digest"]
    assert entry["served_by"] == registry.address
    variants = {each["platform"]: (each["manifest"], each["size"]) for each in entry["variants"]}
    assert variants["linux/arm/v7"][0] == sample.manifest("busybox:1.36", "arm", "v7")
    assert len(variants) == 7
    for digest, size in variants.values():
        assert sample.path(digest).stat().st_size == size

    # What stays the same keeps its time, and costs a HEAD request a name, and what it points at by its digest.
    asked = len(registry.access_log())
    assert lock("--update").ok().stdout.count("unchanged") == 2
    assert lock("--check").ok().stdout.count("unchanged") == 2
    requests = [access.method for access in registry.access_log()[asked:] if "/manifests/" in access.path]
    assert requests == ["HEAD", "GET"] * 4
    assert lock(app).ok().stdout.endswith("unchanged, " + entry["digest"][7:19] + "\n")
    assert (tmp_path / "polyarch.lock").read_text() == first

    point("app:1.0", "docker-list:1.0")
    now = sample.names["docker-list:1.0"]["digest"]
    moved = lock("--check", "--format", "json")
    assert moved.code == 7
    checked = {line["reference"]: line for line in moved.json_lines[:-1]}
    assert checked[box]["status"] == "same"
    assert checked[app]["status"] == "moved"
    assert (checked[app]["digest"], checked[app]["now"]) == (entry["digest"], now)
    arm64 = next(each for each in checked[app]["moved"] if each["platform"] == "linux/arm64")
    assert arm64 == {
        "platform": "linux/arm64",
        "old": variants["linux/arm64"][0],
        "new": sample.manifest("docker-list:1.0", "arm64"),
    }
    assert moved.json_lines[-1]["error"]["details"] == {"moved": [app], "gone": []}
    assert lock("--check", "-q").stdout == f"{app}\n"
    assert lock("--check", box).code == 0
    assert (tmp_path / "polyarch.lock").read_text() == first

    asked = len(registry.access_log())
    refused = polyarch("pull", "--locked", tmp_path / "polyarch.lock", app)
    assert refused.code == 7
    assert f"hint: to take what it stands for now: polyarch lock --update {app}" in refused.stderr
    assert "/blobs/" not in " ".join(access.path for access in registry.access_log()[asked:])

    # An update touches what moved, and no other line.
    assert "updated" in lock("--update", app).ok().stdout
    before, after = first.splitlines(), (tmp_path / "polyarch.lock").read_text().splitlines()
    assert before[before.index(f'reference = "{box}"') :] == after[after.index(f'reference = "{box}"') :]
    assert entries(tmp_path)[app]["digest"] == now

    vanish(registry, box)
    gone = lock("--check")
    assert gone.code == 3
    assert f"{box}: gone" in gone.stdout
    point("app:1.0", "busybox:1.36")
    both = lock("--check", "--format", "json")
    assert both.code == 7
    assert both.json_lines[-1]["error"]["details"] == {"moved": [app], "gone": [box]}
    partly = lock("--update")
    assert partly.code == 10
    assert entries(tmp_path)[app]["digest"] == entry["digest"]
    assert box in entries(tmp_path)


def test_a_pull_takes_the_locked_manifests_alone(
    lock: Callable[..., Result], point: Point, polyarch: Polyarch, sample_layout: Path, tmp_path: Path
) -> None:
    app, other = point("app:1.0", "busybox:1.36"), point("other:1.0", "docker-list:1.0")
    sample = Layout(sample_layout)
    file = tmp_path / "polyarch.lock"
    lock("--platform", "arm64,linux/arm/v6", app).ok()
    lock(other).ok()
    assert entries(tmp_path)[app]["platforms"] == ["linux/arm/v6", "linux/arm64"]
    assert [each["platform"] for each in entries(tmp_path)[app]["variants"]] == ["linux/arm/v5", "linux/arm64"]

    pulled = polyarch("pull", "--locked", file, "--platform", "linux/arm64", "--format", "json").ok().json_lines
    assert [(line["name"], line["manifest"]) for line in pulled] == [
        (app, sample.manifest("busybox:1.36", "arm64")),
        (other, sample.manifest("docker-list:1.0", "arm64")),
    ]
    assert pulled[0]["digest"] == sample.names["busybox:1.36"]["digest"]
    everything = polyarch("pull", "--locked", file, "--all-platforms", "--format", "json", app).ok().json_lines
    assert [line["platform"] for line in everything] == ["linux/arm/v5", "linux/arm64"]

    lacks = polyarch("pull", "--locked", file, "--platform", "linux/amd64", app)
    assert lacks.code == 4
    assert "linux/amd64 would be taken, which the lock lacks (it has linux/arm/v5, linux/arm64)" in lacks.stderr
    unknown = polyarch("pull", "--locked", file, other, "nowhere/at:all", "nowhere:2")
    assert unknown.code == 2
    assert unknown.stdout == ""
    assert "nowhere/at:all, nowhere:2 are not in" in unknown.stderr
    assert polyarch("pull", "--locked", tmp_path / "none").code == 2
    assert polyarch("pull").code == 2

    # A lock that says another size, or another manifest, was edited: the check says so, and an update mends it.
    text = file.read_text()
    file.write_text(text.replace("size = 558", "size = 559"))
    assert polyarch("pull", "--locked", file, "--platform", "linux/arm64", app).code == 7
    assert "559 bytes" in lock("--check", app).stderr
    digest = sample.manifest("busybox:1.36", "arm64")
    file.write_text(text.replace(digest, sample.manifest("busybox:1.36", "arm", "v7")))
    edited = polyarch("pull", "--locked", file, "--platform", "linux/arm64", app)
    assert edited.code == 7
    assert "for linux/arm64, the registry" in edited.stderr
    assert "the lock was changed by hand" in edited.stderr
    for names in ([app], []):
        checked = lock("--check", *names)
        assert (checked.code, app in checked.stdout) == (7, False)
        assert edited.stderr.splitlines()[0] in checked.stderr
    assert "updated" in lock("--update", app).ok().stdout
    assert entries(tmp_path)[app]["variants"] == tomllib.loads(text)["image"][0]["variants"]
    lock("--check").ok()

    # The platform is gone, and still it is the move that is told.
    file.write_text(text)
    point("app:1.0", "arm64-only:1.0")
    assert polyarch("pull", "--locked", file, "--platform", "linux/arm/v6", app).code == 7
    assert polyarch("pull", "--locked", file, "--all-platforms", app).code == 7


def test_variants_by_tag_convention(
    lock: Callable[..., Result], point: Point, polyarch: Polyarch, sample_layout: Path, tmp_path: Path
) -> None:
    app, arm64 = point("app:1.0", "tagged:1.0-amd64"), point("app:1.0-arm64v8", "tagged:1.0-arm64v8")
    sample = Layout(sample_layout)
    digest = sample.names["tagged:1.0-arm64v8"]["digest"]
    lock("--platform", "linux/amd64,linux/arm64", app).ok()
    entry = entries(tmp_path)[app]
    assert entry["digest"] == sample.names["tagged:1.0-amd64"]["digest"]
    assert [(each["manifest"], each.get("reference")) for each in entry["variants"]] == [
        (entry["digest"], None),
        (digest, arm64),
    ]
    assert "unchanged" in lock("--check").ok().stdout
    assert "unchanged" in lock("--update").ok().stdout
    file = tmp_path / "polyarch.lock"
    for words in (["--platform", "linux/arm64"], ["--all-platforms"]):
        pulled = polyarch("pull", "--locked", file, *words, "--format", "json").ok().json_lines
        assert pulled[-1]["manifest"] == digest
    (tmp_path / "compose.yml").write_text(f"services:\n  a:\n    image: {app}\n    platform: linux/arm64\n")
    assert f"    image: {arm64}@{digest}\n" in lock("--apply", "compose.yml").ok().stdout

    # The name itself still stands for the same; the one that the convention led to does not.
    point("app:1.0-arm64v8", "single:1.0")
    moved = lock("--check")
    assert moved.code == 7
    assert "linux/amd64" not in moved.stdout
    refused = polyarch("pull", "--locked", file, "--platform", "linux/arm64")
    assert refused.code == 7
    assert f"{arm64} moved since it was locked" in refused.stderr


def test_files_that_name_images(lock: Callable[..., Result], point: Point, polyarch: Polyarch, tmp_path: Path) -> None:
    app, box = point("app:1.0", "busybox:1.36"), point("box:1.0", "v7-v5:1.0")
    compose = f"""\
services:
  app: {{image: "{app.removesuffix(":1.0")}:${{TAG:-1.0}}", platform: linux/arm64}}  # kept
  box:
    image: {box}
    platform: linux/riscv64
"""
    (tmp_path / "compose.yml").write_text(compose)
    (tmp_path / "Dockerfile").write_text(
        f"ARG TAG=1.0\nFROM {app[:-3]}$TAG AS base\nFROM base\nCOPY --from={box} a b\n"
    )
    locked = lock("--from", "compose.yml")
    assert locked.code == 0
    assert f"warning: {box}: the lock lacks linux/riscv64 (it has linux/arm/v5, linux/arm/v7)" in locked.stderr
    assert set(entries(tmp_path)) == {app, box}
    assert "lacks linux/riscv64" in lock("--check", "--from", "compose.yml").ok().stderr
    lock("--check", "--from", "Dockerfile").ok()

    digest = entries(tmp_path)[app]["digest"]
    missing = lock("--apply", "compose.yml")
    assert missing.code == 2
    assert "compose.yml, line 4" in missing.stderr
    (tmp_path / "compose.yml").write_text(compose.replace("riscv64", "arm/v6"))
    copy = lock("--apply", "compose.yml").ok().stdout
    assert f'image: "{app}@{digest}", platform: linux/arm64}}  # kept' in copy
    told = lock("--apply", "Dockerfile", "-o", "Pinned", "--format", "json").ok().json_lines
    assert [(line["line"], line["name"]) for line in told] == [(2, app), (4, box)]
    assert f"FROM {app}@{digest} AS base\nFROM base\nCOPY --from={box}@sha256:" in (tmp_path / "Pinned").read_text()

    # What was pinned is locked under the tag still.
    assert lock("--from", "Pinned").ok().stdout.count("unchanged") == 2
    assert set(entries(tmp_path)) == {app, box}
    lock("--check", "--from", "Pinned").ok()

    (tmp_path / "more.yml").write_text(f"services: {{x: {{image: '{app}-x'}}, y: {{image: other}}}}\n")
    unlocked = lock("--check", "--from", "more.yml")
    assert unlocked.code == 2
    assert f"{app}-x, other:latest are not in polyarch.lock" in unlocked.stderr
    assert lock("--update", "other").code == 2
    assert lock("--apply", "more.yml").code == 2


def test_what_cannot_be_locked(lock: Callable[..., Result], point: Point, tmp_path: Path) -> None:
    app = point("app:1.0", "busybox:1.36")
    assert lock(f"{app}-none").code == 3
    assert lock("--platform", "linux/riscv64", app).code == 4
    assert not (tmp_path / "polyarch.lock").exists()
    assert lock("--check").code == 2
    assert lock("--update").code == 2
    assert lock().code == 2
    assert lock("oci:/nowhere:1").code == 2
    assert lock("--check", "--update").code == 2
    assert lock(app, "-o", "x").code == 2
    assert lock("--from", "none.yml").code == 2
    lock("-f", "other.lock", "--platform", "linux/riscv64,linux/s390x", app).ok()
    text = (tmp_path / "other.lock").read_text()
    (tmp_path / "other.lock").write_text(text.replace("version = 1", "<<<<<<< HEAD\nversion = 1"))
    for words in (["--check"], ["--update"], [app]):
        conflict = lock("-f", "other.lock", *words)
        assert conflict.code == 2
        assert "other.lock, line 2: a merge conflict is not settled" in conflict.stderr
