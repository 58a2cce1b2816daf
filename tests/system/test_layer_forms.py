"""The two forms of layers, EROFS images and unpacked directories: all who read them see the same, and each container
keeps its own.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from polyarch import Session
from polyarch.container.commit import CommitRequest
from polyarch.container.layers import Layers, folder_of
from polyarch.container.mounted import in_stopped
from polyarch.container.request import RunRequest
from polyarch.container.rights import rights_at
from polyarch.container.state import Containers
from polyarch.errors import HostError
from polyarch.settings import load_settings
from polyarch.verbs.images.prune_choice import PruneRules
from support.command import Polyarch, Result
from support.commit_cases import base_layers, make_all
from support.committed_images import layout_of
from support.docker_registry import DockerRegistry
from support.layers import file, layer
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts EROFS")
FORMS = {"erofs": "erofs", "unpack": "unpacked"}


def asking(folder: Path, layers: str) -> tuple[str, Path]:
    """The words that ask for a form."""
    path = folder / f"{layers}.toml"
    path.write_text(f'layers = "{layers}"\n')
    path.chmod(0o644)
    return "--config", path


def mounted_below(root: Path) -> list[str]:
    """The lines of what is mounted in a folder, as this process sees it."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(root) in line]


@as_root
def test_all_who_read_layers_see_the_same(tmp_path: Path) -> None:
    """The same changes are made in a container of each form: `diff`, `commit` and `cp` tell the same of them."""
    image = layout_of(tmp_path / "base", list(base_layers()), "base")
    seen = {}
    for asked, form in FORMS.items():
        with Session(load_settings(tmp_path / asked, environ={}, layers=asked, sync="none")) as session:
            record = session.containers.create(image, RunRequest(name="c"))
            assert record.form == form
            folder = folder_of(tmp_path / asked / "snapshots", form, "trusted")
            assert {path.name for path in folder.iterdir()} == set(record.layers)
            rights = rights_at(tmp_path / asked)
            directory = Containers(tmp_path / asked / "containers", rights).directory(record)
            layers = Layers(record.form, tuple(folder / name for name in record.layers))
            in_stopped(directory, layers, rights, lambda root: make_all(Path(root)))
            changes = [(each.kind, each.path) for each in session.containers.diff("c")]
            committed = session.containers.commit("c", "made:1", CommitRequest(epoch=0))
            copy = tmp_path / f"{asked}.d"
            session.containers.copy("c:/case-00", str(copy), archive=True)
            seen[form] = changes, committed.image.manifest.digest, sorted(os.walk(copy))[0][2]
    assert seen["erofs"] == seen["unpacked"]
    assert len(seen["erofs"][0]) > 100
    assert mounted_below(tmp_path) == []


@as_root
@pytest.mark.parametrize("asked", FORMS)
def test_a_container_of_an_image_runs(asked: str, polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> None:
    name = registry.ref("busybox:1.36")
    words = (*asking(tmp_path, asked), "--progress", "none")
    ran = polyarch(*words, "run", "--name", "c", name, "sh", "-c", "rm /bin/ls; echo x > /bin/new; stat -c %a /").ok()
    assert ran.stdout == "755\n"
    assert {path.name for path in (polyarch.root / "snapshots").iterdir()} == {
        "locks",
        "erofs" if asked == "erofs" else "trusted",
    }
    # Whatever the settings say now, it is of the form that it was made with.
    for other in FORMS:
        told = polyarch(*asking(tmp_path, other), "diff", "c").ok().stdout
        assert told == "C /bin\nD /bin/ls\nA /bin/new\n"
    assert mounted_below(polyarch.root) == []


@as_root
def test_a_container_of_the_time_before_there_were_forms(
    polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path
) -> None:
    words = ("container", "create", "--name", "old", registry.ref("busybox:1.36"), "sh", "-c", "echo y > /bin/new")
    polyarch(*asking(tmp_path, "unpack"), "--progress", "none", *words).ok()
    (record,) = (polyarch.root / "containers").glob("*/container.json")
    document = json.loads(record.read_text())
    assert document.pop("form") == "unpacked"
    record.write_text(json.dumps(document))
    polyarch("container", "start", "-a", "old").ok()
    assert polyarch("diff", "old").ok().stdout == "C /bin\nA /bin/new\n"
    polyarch("cp", "old:/bin/new", tmp_path / "copy").ok()
    assert (tmp_path / "copy").read_text() == "y\n"
    polyarch("commit", "old", "new:1").ok()


@as_root
def test_one_image_is_in_one_form(polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path) -> None:
    """What is whole in a form is used as it is; what is not is made in the form that fits here."""
    one, other = registry.ref("busybox:1.36"), layout_of(tmp_path / "other", [layer(file("a"))], "other")
    run = ("--progress", "none", "run", "--rm")
    polyarch(*asking(tmp_path, "unpack"), *run, one, "true").ok()
    polyarch(*run, one, "true").ok()
    assert not (polyarch.root / "snapshots" / "erofs").exists()
    polyarch("container", "create", other).ok()
    assert list((polyarch.root / "snapshots" / "erofs").iterdir())


def test_a_form_that_cannot_be_is_told(
    polyarch: Polyarch, registry: DockerRegistry, unprivileged_user: OrdinaryUser, tmp_path: Path
) -> None:
    words = asking(unprivileged_user.home, "erofs")

    def run(*more: str) -> Result:
        return polyarch(*words, "--progress", "none", *more, user=unprivileged_user)

    refused = run("run", "--rm", registry.ref("busybox:1.36"), "true")
    assert refused.code == 125
    assert "error: layers are to be EROFS images" in refused.stderr
    assert "only root may mount one" in refused.stderr
    assert run("pull", "--prepare", registry.ref("busybox:1.36")).code == 8
    (check,) = [each for each in run("doctor", "--format", "json").json_lines if each.get("name") == "layers"]
    assert (check["verdict"], check["essential"]) == ("failed", True)


@as_root
def test_an_archive_that_several_layers_have_is_there_once(tmp_path: Path) -> None:
    """The same layer above another one has metadata of its own."""
    same = layer(file("same", "x" * 1_000_000))
    images = [layout_of(tmp_path / name, [layer(file("below", name)), same], name) for name in ("one", "two")]
    root = tmp_path / "root"
    with Session(load_settings(root, environ={}, layers="erofs", sync="none")) as session:
        for number, image in enumerate(images):
            session.containers.create(image, RunRequest(name=f"c{number}"))
    archives = [path.stat() for path in (root / "snapshots" / "erofs").glob("*/layer.tar")]
    big = [status for status in archives if status.st_size > 1_000_000]
    assert [status.st_nlink for status in big] == [2, 2]
    assert len({status.st_ino for status in big}) == 1
    with Session(load_settings(root, environ={})) as session:
        for number in range(2):
            session.containers.remove(f"c{number}")
        freed = [each.size for each in session.kept.prune(PruneRules(everything=True)) if each.kind == "unpacked"]
    assert 1_000_000 < sum(freed) < 1_900_000, "its space is counted once"


@as_root
def test_a_layer_that_cannot_be_an_erofs_image_is_unpacked_with_its_image(tmp_path: Path) -> None:
    """Of a file with holes the pieces do not begin with blocks (GNU tar's pax format 0.1)."""
    pax = {"GNU.sparse.size": b"4096", "GNU.sparse.numblocks": b"1", "GNU.sparse.map": b"100,50"}
    image = layout_of(tmp_path / "base", [layer(file("a")), layer(file("holes", "x" * 50, pax=pax))], "base")
    for asked in ("auto", "erofs"):
        with Session(load_settings(tmp_path / asked, environ={}, layers=asked, sync="none")) as session:
            if asked == "erofs":
                with pytest.raises(HostError, match="cannot be an EROFS image"):
                    session.containers.create(image, RunRequest(name="c"))
                with pytest.raises(HostError, match="cannot be an EROFS image"):
                    session.pull(image, prepare=True)
                assert session.containers.all() == ()
                continue
            record = session.containers.create(image, RunRequest(name="c"))
            assert (record.form, session.containers.find("c").form) == ("unpacked", "unpacked")
            assert session.containers.diff("c") == ()
            assert (tmp_path / asked / "snapshots/trusted" / record.layers[0] / "holes").stat().st_size == 4096
            (told,) = session.pull(image, prepare=True)
            assert told.prepared == "unpacked"
