"""A device's script beside real engines, and what a plan makes of what they have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyarch.fleet.facts import DeviceFacts, EngineKind
from polyarch.fleet.offers import Content, Offer, content_of
from polyarch.fleet.plan import make_plan
from polyarch.fleet.planned import DevicePlan, PlanSettings, Wish
from polyarch.oci.config import parse_config
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.document import Manifest, parse_document
from polyarch.oci.media_types import OCI_MANIFEST
from polyarch.reference import parse_reference
from polyarch.selection.types import Candidate
from polyarch_platforms.platform import parse
from support.containerd_engine import ContainerdEngine
from support.device_answers import engine_of, facts_of, program, run_script
from support.docker_registry import DockerRegistry, skopeo_copy
from support.dockerd import Dockerd
from support.layout_files import Layout
from support.podman_engine import PodmanEngine

pytestmark = pytest.mark.system
NAME = "fleet.example/busybox:1.36"
KINDS: tuple[EngineKind, ...] = ("docker", "podman", "containerd", "oci")


class Machine:
    """This machine as a device of a fleet, with engines of the tests' own."""

    def __init__(self, folder: Path, dockerd: Dockerd, podman: PodmanEngine, containerd: ContainerdEngine) -> None:
        words = " ".join(word if word != "podman" else "/usr/bin/podman" for word in podman.command)
        program(folder / "bin", "podman", f'exec {words} "$@"')
        self.data = folder / "data"
        self.environ = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(folder),
            "XDG_DATA_HOME": str(self.data),
            **dockerd.environ,
            **containerd.environ,
        }

    def facts(self) -> DeviceFacts:
        """What it answers now."""
        return facts_of(run_script(self.environ))


@pytest.fixture(scope="module")
def machine(
    tmp_path_factory: pytest.TempPathFactory,
    dockerd: Dockerd,
    podman: PodmanEngine,
    containerd: ContainerdEngine,
    registry: DockerRegistry,
    sample_layout: Path,
) -> Iterator[Machine]:
    """Every engine has brought the image in by digest, as a fleet's pull does, and given it the name asked for."""
    made = Machine(tmp_path_factory.mktemp("device"), dockerd, podman, containerd)
    source = f"{registry.address}/busybox@{Layout(sample_layout).manifest('busybox:1.36', 'amd64')}"
    for engine, insecure in ((dockerd.docker, ()), (podman.podman, ("--tls-verify=false",))):
        engine("pull", "--quiet", *insecure, source)
        engine("tag", source, NAME)
    dockerd.docker("rmi", source)
    podman.podman("untag", source, source)
    containerd.ctr("images", "pull", "--plain-http", source)
    containerd.ctr("images", "tag", "--force", source, NAME)
    containerd.ctr("images", "rm", source)
    place = made.data / "polyarch" / "oci"
    place.parent.mkdir(parents=True)
    skopeo_copy(f"docker://{source}", f"oci:{place}:{NAME}", "--src-tls-verify=false")
    yield made
    dockerd.docker("rmi", NAME)
    podman.podman("image", "rm", NAME)
    containerd.ctr("images", "rm", "--sync", NAME)


def _content(layout: Layout) -> Content:
    manifest = parse_document(layout.path(layout.manifest("busybox:1.36", "amd64")).read_bytes())
    assert isinstance(manifest, Manifest)
    return content_of(manifest, parse_config(layout.path(manifest.config.digest).read_bytes()))


def _planned(facts: DeviceFacts, kind: EngineKind, content: Content, name: str = NAME) -> DevicePlan:
    reference = parse_reference(name)
    candidate = Candidate(parse("amd64"), Descriptor(OCI_MANIFEST, content.manifest, 1), reference, "manifest")
    offers = {name: Offer(reference, (candidate,))}
    settings = PlanSettings(platform=parse("amd64"))
    return make_plan([(Wish("here", (name,), kind), facts)], offers, {content.manifest: content}, settings).devices[0]


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_was_pulled_by_digest_is_at_hand(kind: EngineKind, machine: Machine, sample_layout: Path) -> None:
    content = _content(Layout(sample_layout))
    facts = machine.facts()
    engine = engine_of(facts, kind)
    assert (engine.refused, engine.complete, engine.in_use) == ("", True, True)
    assert engine.free
    assert engine.version or kind == "oci"
    device = _planned(facts, kind, content)
    assert (device.verdict, device.images[0].present, device.missing_bytes) == ("ready", True, 0)
    # Under a name that it does not have nothing is missing but the name.
    device = _planned(facts, kind, content, "fleet.example/other:1")
    assert (device.verdict, device.missing_bytes) == ("will-pull", 0)


def test_each_engine_is_told_as_it_is(machine: Machine, dockerd: Dockerd, podman: PodmanEngine) -> None:
    facts = machine.facts()
    assert tuple(engine.kind for engine in facts.engines) == KINDS
    assert facts.engine() == engine_of(facts, "docker")
    docker = engine_of(facts, "docker")
    assert docker.place == str(dockerd.data)
    assert {name for image in docker.images for name in image.names} == {
        str(parse_reference(name)) for name in dockerd.images() if "<none>" not in name
    }
    assert engine_of(facts, "podman").place == str(podman.data)
    assert engine_of(facts, "containerd").namespace == "default"
    assert docker.version == dockerd.docker("version", "--format", "{{.Server.Version}}").strip()


def test_busybox_asks_as_well(machine: Machine, foreign_busybox: Callable[[str], Path]) -> None:
    busybox = foreign_busybox("amd64")
    mine, others = machine.facts(), facts_of(run_script(machine.environ, (busybox, "sh")))
    for one, other in zip(mine.engines, others.engines, strict=True):
        assert (one.kind, one.images, one.blobs, one.place) == (other.kind, other.images, other.blobs, other.place)


def test_engines_that_do_not_answer_say_why(machine: Machine, tmp_path: Path) -> None:
    gone = tmp_path / "gone.sock"
    lost = {"DOCKER_HOST": f"unix://{gone}", "CONTAINERD_ADDRESS": str(gone)}
    facts = facts_of(run_script({**machine.environ, **lost}))
    assert "Cannot connect to the Docker daemon" in engine_of(facts, "docker").refused
    assert engine_of(facts, "containerd").refused == f"there is no socket {gone}"
    chosen = facts.engine()
    assert chosen
    assert chosen.kind == "podman"
