"""push, copy and index between real registries, and what other tools make of the result."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch.errors import NotFoundError, NoVariantError, UnauthorizedError, UnreachableError, UsageError
from polyarch.session import Session
from polyarch.settings import Settings
from polyarch.unpack.entrypoint import Mislabelled
from support.command import Polyarch
from support.docker_registry import DockerRegistry, skopeo
from support.dockerd import Dockerd
from support.podman_engine import PodmanEngine
from support.pushing import OCI_INDEX, artifact, document, put_document, raw
from support.taking_registry import TakingRegistry

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """A second registry, with nothing in it."""
    server = DockerRegistry(tmp_path_factory.mktemp("target"))
    yield server
    server.stop()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(Settings(root=tmp_path / "root", home=tmp_path)) as opened:
        yield opened


def uploads(registry: DockerRegistry, before: int) -> list[str]:
    return [each.path for each in registry.access_log()[before:] if "/blobs/uploads/" in each.path]


def test_copy_brings_everything_byte_for_byte_and_nothing_to_the_disk(
    polyarch: Polyarch, session: Session, registry: DockerRegistry, target: DockerRegistry, tmp_path: Path
) -> None:
    name = "moving/everything"
    session.moving.copy(registry.ref("busybox:1.36"), registry.ref(f"{name}:1.0"))
    index = document(registry.address, name, "1.0")
    whole = raw(registry.address, name, "1.0")
    assert whole is not None
    entries = [entry for entry in index["manifests"] if entry["platform"]["os"] == "linux"]
    assert len(entries) >= 5
    assert len(index["manifests"]) > len(entries)  # the attestations
    signature = artifact(registry.address, name, b"signed", entries[0])
    about = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [signature]}
    put_document(registry.address, name, about, entries[0]["digest"].replace(":", "-"))
    cosign = f"{entries[1]['digest'].replace(':', '-')}.sig"
    artifact(registry.address, name, b"signed, too", None, cosign)

    # A process that may not write a byte into any file. It has no bytecode to write, either.
    words = ["prlimit", "--fsize=0"]
    env = {"PYTHONDONTWRITEBYTECODE": "1"}
    arguments = ("copy", "--format", "json", registry.ref(f"{name}:1.0"), target.ref(f"{name}:2.0"))
    result = polyarch.finish(polyarch.start(*arguments, prefix=words, env=env)).ok()

    (said,) = result.json_lines
    assert raw(target.address, name, "2.0") == whole
    assert said["made"] is False
    for entry in [*index["manifests"], signature]:
        assert raw(target.address, name, entry["digest"]) == raw(registry.address, name, entry["digest"])
    fallback = document(target.address, name, entries[0]["digest"].replace(":", "-"))
    assert [entry["digest"] for entry in fallback["manifests"]] == [signature["digest"]]
    assert fallback["manifests"][0]["artifactType"] == "application/vnd.example.signature"
    assert fallback["manifests"][0]["annotations"] == {"org.example.kept": "yes"}
    assert raw(target.address, name, cosign) == raw(registry.address, name, cosign)
    assert not list(polyarch.root.rglob("*/blobs/*"))
    skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{target.ref(f'{name}:2.0')}", f"dir:{tmp_path}/d")

    before = len(target.access_log())
    again = session.moving.copy(registry.ref(f"{name}:1.0"), target.ref(f"{name}:2.0"))
    assert {blob.status for blob in again.blobs} == {"exists"}
    assert not uploads(target, before)


def test_copy_within_a_registry_mounts(session: Session, registry: DockerRegistry) -> None:
    before = len(registry.access_log())
    said = session.moving.copy(registry.ref("docker-list:1.0"), registry.ref("moving/mounted:1"))
    assert {blob.status for blob in said.blobs} == {"mounted"}
    assert said.uploaded_bytes == 0
    assert not any(access.blob for access in registry.access_log()[before:])


def test_copy_of_some_platforms(session: Session, registry: DockerRegistry, target: DockerRegistry) -> None:
    source = registry.ref("busybox:1.36")
    done = session.moving.copy(source, target.ref("moving/some:1"), platform="linux/arm64,linux/arm/v7")
    assert done.made
    index = document(target.address, "moving/some", "1")
    images = [entry["platform"]["architecture"] for entry in index["manifests"] if "annotations" not in entry]
    assert sorted(images) == ["arm", "arm64"]
    about = {entry["annotations"]["vnd.docker.reference.digest"] for entry in index["manifests"][2:]}
    assert about == {entry["digest"] for entry in index["manifests"][:2]}  # their attestations came along
    with pytest.raises(NoVariantError, match="there are: linux/amd64"):
        session.moving.copy(source, target.ref("moving/no:1"), platform="linux/riscv64")


def test_copy_out_of_a_folder(
    session: Session, sample_layout: Path, target: DockerRegistry, registry: DockerRegistry
) -> None:
    session.moving.copy(f"oci:{sample_layout}:busybox:1.36", target.ref("moving/layout:1"))
    assert raw(target.address, "moving/layout", "1") == raw(registry.address, "busybox", "1.36")


def test_push_and_push_again(polyarch: Polyarch, registry: DockerRegistry, target: DockerRegistry) -> None:
    source, name = registry.ref("v7-v5:1.0"), target.ref("moving/pushed:1.0")
    polyarch("pull", "--all-platforms", source).ok()
    first = polyarch("push", source, name).ok()
    assert first.stdout.splitlines()[0] == f"The push refers to repository [{target.address}/moving/pushed]"
    assert ": Pushed" in first.stdout
    assert raw(target.address, "moving/pushed", "1.0") == raw(registry.address, "v7-v5", "1.0")
    before = len(target.access_log())
    (said,) = polyarch("push", "--format", "json", source, name).ok().json_lines
    assert {blob["status"] for blob in said["blobs"]} == {"exists"}
    assert said["uploaded_bytes"] == 0
    assert not uploads(target, before)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_an_interrupted_copy_ends_at_once_and_leaves_no_name(
    polyarch: Polyarch, sample_layout: Path, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    taking, begun, end = TakingRegistry(), threading.Event(), threading.Event()

    def silent(method: str, path: str) -> None:
        if method == "PUT":
            begun.set()
            end.wait(60)

    monkeypatch.setattr(taking, "refusal", silent)
    try:
        process = polyarch.start("copy", f"oci:{sample_layout}:v7-v5:1.0", f"{taking.address}/app:1.0")
        assert begun.wait(60)
        process.send_signal(how)
        result = polyarch.finish(process)
        assert result.code == 130
        assert result.stderr == "error: interrupted\n"
        assert not taking.manifests
    finally:
        end.set()
        taking.stop()


def test_push_mounts_what_another_repository_there_has(session: Session, registry: DockerRegistry) -> None:
    session.pull(registry.ref("docker-list:1.0"), platform="linux/arm64")
    said = session.moving.push(registry.ref("docker-list:1.0"), registry.ref("moving/near:1")).to_json()
    assert {blob["status"] for blob in said["blobs"]} == {"mounted"}  # type: ignore[attr-defined]
    assert said["made"] is True
    assert said["platform"] == "linux/arm64"


def test_push_of_what_is_at_hand_makes_a_new_index(
    session: Session, registry: DockerRegistry, target: DockerRegistry
) -> None:
    source = registry.ref("busybox:1.36")
    session.pull(source, platform="linux/arm64,linux/amd64")
    session.moving.push(source, target.ref("moving/two:1"))
    entries = document(target.address, "moving/two", "1")["manifests"]
    assert [entry["platform"]["architecture"] for entry in entries] == ["amd64", "arm64"]
    assert session.moving.push(source, target.ref("moving/one:1"), platform="linux/arm64").made
    assert len(document(target.address, "moving/one", "1")["manifests"]) == 1
    with pytest.raises(NotFoundError, match=r"at hand: linux/amd64, linux/arm64"):
        session.moving.push(source, target.ref("moving/none:1"), platform="linux/386")
    assert raw(target.address, "moving/none", "1") is None


def test_an_index_goes_whole_where_the_rest_is_there_already(
    session: Session, registry: DockerRegistry, target: DockerRegistry
) -> None:
    source, name = registry.ref("busybox:1.36"), target.ref("moving/rest:1")
    session.moving.copy(source, target.ref("moving/rest:old"))
    session.pull(source, platform="linux/arm64")
    assert not session.moving.push(source, name).made
    assert raw(target.address, "moving/rest", "1") == raw(registry.address, "busybox", "1.36")


def test_push_to_a_registry_that_is_read_only(session: Session, registry: DockerRegistry, tmp_path: Path) -> None:
    server = DockerRegistry(tmp_path / "read-only", {"storage": _read_only(tmp_path)})
    try:
        session.pull(registry.ref("arm64-only:1.0"), platform="linux/arm64")
        with pytest.raises(UnreachableError, match=r"answered 405 for the upload of blob .*: Method not allowed"):
            session.moving.push(registry.ref("arm64-only:1.0"), server.ref("moving/x:1"))
    finally:
        server.stop()


def _read_only(folder: Path) -> dict[str, object]:
    return {
        "filesystem": {"rootdirectory": str(folder / "storage")},
        "maintenance": {"readonly": {"enabled": True}},
    }


def test_an_index_of_architecture_tags_is_chosen_from_by_others(
    polyarch: Polyarch, session: Session, registry: DockerRegistry, dockerd: Dockerd, podman: PodmanEngine
) -> None:
    name = registry.ref("moving/tagged:1.0")
    sources = [registry.ref(f"moving/tagged:1.0-{ending}") for ending in ("amd64", "arm64v8", "armhf")]
    for source in sources:
        session.moving.copy(source.replace("moving/", ""), source)
    (said,) = polyarch("index", "create", "--format", "json", name, *sources).ok().json_lines
    assert [entry["platform"] for entry in said["manifests"]] == ["linux/amd64", "linux/arm64", "linux/arm/v7"]
    assert said["blobs"] == []  # they are in this repository already
    configs = {}
    for entry in said["manifests"]:
        manifest = document(registry.address, "moving/tagged", entry["digest"])
        configs[entry["platform"]] = manifest["config"]["digest"]
    for platform, arguments in {
        "linux/amd64": ("--override-arch", "amd64"),
        "linux/arm64": ("--override-arch", "arm64"),
        "linux/arm/v7": ("--override-arch", "arm", "--override-variant", "v7"),
    }.items():
        config = skopeo(*arguments, "inspect", "--tls-verify=false", "--config", f"docker://{name}")
        assert json.loads(config)["architecture"] == platform.split("/")[1]
        dockerd.docker("pull", "--quiet", "--platform", platform, name)
        assert dockerd.inspect(name)["Id"] == configs[platform]
        podman.podman("pull", "--quiet", "--tls-verify=false", "--platform", platform, name)
        assert f"sha256:{podman.inspect(name)['Id'].removeprefix('sha256:')}" == configs[platform]
    dockerd.docker("rmi", name)
    podman.podman("rmi", name)


def test_index_from_another_registry_appended_to_and_removed_from(
    session: Session, registry: DockerRegistry, target: DockerRegistry
) -> None:
    name, verbs = target.ref("moving/joined:1.0"), session.moving

    def platforms() -> list[str]:
        return [entry.platform for entry in verbs.inspect_index(name).entries]

    verbs.create_index(name, [registry.ref("tagged:1.0-amd64"), registry.ref("arm-only:1.0")])
    assert platforms() == ["linux/amd64", "linux/arm/v7"]  # v7: its program's
    with pytest.raises(UsageError, match="are both for linux/arm/v7"):
        verbs.append_to_index(name, [registry.ref("tagged:1.0-armhf")])
    with pytest.raises(Mislabelled):
        verbs.append_to_index(name, [registry.ref("liar:1.0")])
    with pytest.raises(UsageError, match=r"are both for linux/amd64"):  # what the liar really is
        verbs.append_to_index(name, [registry.ref("liar:1.0")], allow_mislabelled=True)
    planned = verbs.append_to_index(name, [registry.ref("tagged:1.0-arm64v8")], dry_run=True)
    assert not planned.pushed
    assert platforms() == ["linux/amd64", "linux/arm/v7"]
    done = verbs.append_to_index(name, [registry.ref("tagged:1.0-arm64v8")])
    assert done.digest == planned.digest
    assert platforms() == ["linux/amd64", "linux/arm/v7", "linux/arm64"]
    verbs.remove_from_index(name, ["linux/arm/v7", registry.ref("tagged:1.0-amd64")])
    assert platforms() == ["linux/arm64"]
    with pytest.raises(UsageError, match="nothing would be left"):
        verbs.remove_from_index(name, ["linux/arm64"])
    with pytest.raises(NotFoundError):
        verbs.remove_from_index(name, ["linux/s390x"])
    with pytest.raises(NotFoundError, match=r"no digest in the index .*/joined:1.0, and as an image"):
        verbs.remove_from_index(name, [registry.ref("moving/foo")])


def test_what_is_at_hand_only_has_to_be_pushed_first(
    session: Session, registry: DockerRegistry, target: DockerRegistry
) -> None:
    session.pull(registry.ref("arm64-only:1.0"), platform="linux/arm64")
    here, there = target.ref("moving/here:1.0"), target.ref("moving/there:1.0")
    session.kept.tag(registry.ref("arm64-only:1.0"), here)
    verbs, first = session.moving, f"push it first, and take that name: polyarch push {here} TO"
    with pytest.raises(NotFoundError) as copied:
        verbs.copy(here, there)
    assert copied.value.hint == f"{here} is at hand on this machine: push it from here: polyarch push {here} {there}"
    with pytest.raises(NotFoundError) as joined:
        verbs.create_index(there, [registry.ref("busybox:1.36"), here])
    assert joined.value.hint == f"{here} is at hand on this machine: {first}"
    with pytest.raises(NotFoundError) as elsewhere:
        verbs.create_index(there, [here.replace("here", "nowhere")])
    assert "push" not in (elsewhere.value.hint or "")


def test_what_asks_for_a_login_may_be_at_hand_only(
    session: Session, registry: DockerRegistry, authed_registry: DockerRegistry, target: DockerRegistry
) -> None:
    session.pull(registry.ref("arm64-only:1.0"), platform="linux/arm64")
    here = authed_registry.ref("moving/here:1.0")
    session.kept.tag(registry.ref("arm64-only:1.0"), here)
    with pytest.raises(UnauthorizedError) as caught:
        session.moving.copy(here, target.ref("moving/there:1.0"))
    hint = caught.value.hint or ""
    assert "polyarch login" in hint
    assert f"; or {here} is at hand on this machine: push it from here" in hint


@pytest.mark.parametrize("to", ["127.0.0.1:5000", "localhost", "registry.example:443"])
def test_a_registry_is_no_name(session: Session, registry: DockerRegistry, to: str) -> None:
    with pytest.raises(UsageError, match="is a registry, and no name in it"):
        session.moving.copy(registry.ref("arm64-only:1.0"), to)


def test_an_index_brings_all_its_entries_as_they_are(
    session: Session, registry: DockerRegistry, target: DockerRegistry
) -> None:
    name, source = target.ref("moving/all:1.0"), registry.ref("busybox:1.36")
    session.moving.create_index(name, [source])
    made = document(target.address, "moving/all", "1.0")["manifests"]
    assert made == document(registry.address, "busybox", "1.36")["manifests"]
    removed = session.moving.remove_from_index(name, [made[0]["digest"][:19]])
    assert len(removed.entries) == len(made) - 2  # its attestation went with it
