"""`pull --prepare`: layers are ready to be run when the pull is done, and right whatever happened on the way."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch import Session
from polyarch.errors import IntegrityError
from polyarch.events import BlobDone, Event
from polyarch.settings import Settings
from polyarch.testing.layout_writer import LayoutWriter, folder, link, regular
from polyarch.verbs.images.prune_choice import PruneRules
from support.command import Polyarch
from support.committed_images import layout_of
from support.docker_registry import DockerRegistry
from support.exchange import Answer, Body, Request
from support.faulty_registry import FaultyRegistry
from support.layers import diff_id, file, layer
from support.layout_files import Layout
from support.owners import owner_of
from support.processes import await_true
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts EROFS")
PREPARE = ("--progress", "none", "pull", "--prepare", "--format", "json")
SEED = 8


@pytest.fixture(params=["root", "ordinary user"])
def owner(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[OrdinaryUser | None, Path]:
    user = owner_of(request, soak=False)
    return user, (user.home / "prepared-root" if user else tmp_path / "root")


def made(root: Path) -> dict[Path, int]:
    """The layers that are ready, with the numbers of their directories; what has a dot in front is none."""
    return {
        path: path.stat().st_ino
        for path in (root / "snapshots").glob("*/*")
        if path.parent.name != "locks" and not path.name.startswith(".")
    }


def left(root: Path) -> list[Path]:
    """What is neither a layer nor a lock."""
    return list((root / "snapshots").glob("*/.*"))


def test_run_finds_everything_ready(
    owner: tuple[OrdinaryUser | None, Path], polyarch: Polyarch, registry: DockerRegistry
) -> None:
    """The layers' blobs are not read again: they could not be."""
    (user, root), name = owner, registry.ref("busybox:1.36")
    (told,) = polyarch(*PREPARE, name, root=root, user=user).ok().json_lines
    assert told["prepared"] == ("unpacked" if user else "erofs")
    ready = made(root)
    assert len(ready) == len(told["layers"])
    for each in told["layers"]:
        (root / "oci" / "blobs" / "sha256" / each["digest"][7:]).write_bytes(b"no archive")
    ran = polyarch("--progress", "none", "run", "--rm", name, "echo", "hello", root=root, user=user).ok()
    assert ran.stdout == "hello\n"
    assert (made(root), left(root)) == (ready, [])


def test_an_image_at_hand_is_prepared(polyarch: Polyarch, registry: DockerRegistry) -> None:
    name = registry.ref("busybox:1.36")
    (told,) = polyarch("--progress", "none", "pull", "--format", "json", name).ok().json_lines
    assert (told["prepared"], made(polyarch.root)) == (None, {})
    (told,) = polyarch(*PREPARE, name).ok().json_lines
    assert told["status"] == "up-to-date"
    assert told["prepared"] in ("erofs", "unpacked")
    assert len(made(polyarch.root)) == len(told["layers"])


def test_of_several_platforms_those_that_run_here(polyarch: Polyarch, registry: DockerRegistry) -> None:
    words = ("--platform", "linux/amd64,linux/arm64,linux/s390x", "--emulation", "never")
    told = polyarch(*PREPARE, *words, registry.ref("busybox:1.36")).ok().json_lines
    native = {line["platform"] for line in polyarch("device", "--format", "json").ok().json_lines}
    ready = {line["platform"] for line in told if line["prepared"]}
    assert len(ready) == 1
    assert ready <= {platform.rpartition("/v")[0] or platform for platform in native} | native
    assert len(told) == 3


@pytest.mark.parametrize("words", [("--into", "docker"), ("--dry-run",)])
def test_words_that_do_not_go_together(polyarch: Polyarch, words: tuple[str, ...]) -> None:
    result = polyarch("pull", "--prepare", *words, "busybox")
    assert result.code == 2
    assert "hint: leave out --prepare" in result.stderr


def test_prune_keeps_what_a_name_needs(polyarch: Polyarch, registry: DockerRegistry) -> None:
    name = registry.ref("busybox:1.36")
    polyarch(*PREPARE, name).ok()
    ready = made(polyarch.root)
    polyarch("image", "prune").ok()
    assert made(polyarch.root) == ready
    polyarch("image", "rm", name).ok()
    assert made(polyarch.root) == {}


def test_prune_takes_nothing_while_a_pull_prepares(polyarch: Polyarch, registry: DockerRegistry) -> None:
    """Layers have no name and no container that needs them before the pull is done."""
    unneeded = polyarch.root / "snapshots" / "erofs" / ("0" * 64)
    unneeded.mkdir(parents=True)
    seen = []

    def prune(event: Event) -> None:
        if isinstance(event, BlobDone) and not seen:
            with Session(settings) as other:
                other.kept.prune(PruneRules())
            seen.append(unneeded.is_dir())

    settings = Settings(root=polyarch.root, home=polyarch.root, sync="none")
    with Session(settings, emit=prune) as session:
        session.pull(registry.ref("busybox:1.36"), prepare=True)
        session.kept.prune(PruneRules())
    assert (set(seen), unneeded.is_dir()) == ({True}, False)


@pytest.mark.parametrize("form", ["erofs", "unpack"])
def test_a_layer_with_another_diff_id_is_never_named(polyarch: Polyarch, tmp_path: Path, form: str) -> None:
    """Its blob is what the manifest says, and the archive is sound; the config promises another one."""
    if form == "erofs" and os.geteuid() != 0:
        pytest.skip("only root mounts EROFS")
    (tmp_path / "form.toml").write_text(f'layers = "{form}"\n')
    base, right, wrong = (layer(file("bin/sh", text)) for text in ("base", "right", "wrong"))
    layout_of(tmp_path / "layout", [base, right], "bad")
    _promise(tmp_path / "layout", diff_id(right), diff_id(wrong))
    result = polyarch("--config", tmp_path / "form.toml", *PREPARE, f"oci:{tmp_path / 'layout'}:bad")
    assert result.code == 7
    assert "was promised" in result.stderr
    assert {path.name for path in made(polyarch.root)} <= {diff_id(base)[7:]}
    assert left(polyarch.root) == []
    assert polyarch("image", "ls", "-q").ok().stdout == ""


def _promise(directory: Path, old: str, new: str) -> None:
    """Write another diff ID into the config of a layout's one image."""
    blobs = directory / "blobs" / "sha256"
    writer = LayoutWriter(directory)
    index = json.loads((directory / "index.json").read_text())
    (entry,) = index["manifests"]
    manifest = json.loads((blobs / entry["digest"][7:]).read_text())
    config = (blobs / manifest["config"]["digest"][7:]).read_text()
    assert old in config
    manifest["config"] = writer.blob(config.replace(old, new).encode(), manifest["config"]["mediaType"])
    entry.update(writer.blob(json.dumps(manifest).encode(), entry["mediaType"]))
    (directory / "index.json").write_text(json.dumps(index))


@pytest.fixture(scope="module")
def heavy(registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image whose layers need each other, large enough for a kill to meet the work."""
    writer, source = LayoutWriter(tmp_path_factory.mktemp("heavy") / "layout"), random.Random(SEED)
    layers = []
    for number in range(4):
        entries = [folder("data")] if not number else [link("data/again", f"data/{number - 1}", hard=True)]
        entries += [regular(f"data/{number}", source.randbytes(3 << 20))]
        entries += [regular(f"many/{number}-{each}", b"x" * 600) for each in range(1500)]
        layers.append(writer.layer(entries, f"layer {number}"))
    writer.name("heavy-prepared:1.0", writer.image({"os": "linux", "architecture": "amd64"}, layers))
    writer.finish()
    registry.fill(Layout(writer.directory))
    return registry.ref("heavy-prepared:1.0")


def test_killed_ones_leave_nothing_wrong(
    polyarch: Polyarch, heavy: str, tmp_path: Path, count: Callable[[int, int], int]
) -> None:
    """By SIGKILL, at random moments: the next one finishes, with the same bytes as one that was never killed."""
    words = (*PREPARE, "--platform", "linux/amd64", heavy)
    polyarch(*words, root=tmp_path / "whole").ok()
    whole, chance, met = _content(tmp_path / "whole"), random.Random(SEED), 0
    for turn in range(count(4, 300)):
        root = tmp_path / f"root-{turn}"
        for _ in range(2):
            process = polyarch.start(*words, root=root)
            if turn % 4:  # most shall meet the work on layers
                await_true(
                    lambda root=root, process=process: bool(left(root)) or process.poll() is not None, "a layer begun"
                )
            time.sleep(chance.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            met += bool(left(root))
        polyarch(*words, root=root).ok()
        assert left(root) == []
        assert _content(root) == whole
        shutil.rmtree(root)
    assert met, "no kill met the work on a layer"


def _content(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted((root / "snapshots").rglob("*"))
        if path.is_file() and "locks" not in path.parts
    }


def test_no_layer_of_a_blob_with_another_digest_is_named(faulty_registry: FaultyRegistry, tmp_path: Path) -> None:
    """The archive in it is the right one: only the time in gzip's header is another (RFC 1952, 2.3)."""

    def at_another_time(_: Request, answer: Answer) -> Answer:
        data = b"".join(answer.body.chunks())
        return replace(answer, body=Body(data[:4] + bytes([data[4] ^ 1]) + data[5:]))

    layout = faulty_registry.layout
    for each in layout.layers(layout.manifest("busybox:1.36", "amd64")):
        faulty_registry.script("GET", f"/blobs/{each['digest']}", at_another_time, forever=True)
    settings = Settings(root=tmp_path / "root", home=tmp_path, retries=1, sync="none")
    with Session(settings) as session, pytest.raises(IntegrityError):
        session.pull(faulty_registry.ref("busybox:1.36"), platform="linux/amd64", prepare=True)
    assert (made(tmp_path / "root"), left(tmp_path / "root")) == ({}, [])
