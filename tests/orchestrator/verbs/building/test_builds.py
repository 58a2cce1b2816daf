"""`session.builds` around a builder that does as it is told: bases offered, results taken, verified and named."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from polyarch.composition import as_files
from polyarch.contract import Build, Builder, Digest, Image, Platform
from polyarch.errors import HostError, IntegrityError, NoVariantError, PolyarchError, UsageError
from polyarch.events import BuildSaid, Event
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.document import Index
from polyarch.oci.layout import Layout
from polyarch.oci.media_types import DOCKER_LAYER_GZIP, OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_MANIFEST
from polyarch.oci.written import encode, write_manifest
from polyarch.reference import parse_reference
from polyarch.session import Session
from polyarch.settings import Settings
from polyarch.verbs.building import build
from polyarch.verbs.building.build import BuildParts, BuildRequest, BuildVerbs
from polyarch.verbs.building.result import BuiltVariant
from polyarch_platforms.platform import from_oci, parse

AMD64, ARM64 = parse("amd64"), parse("arm64")


def archive(**files: bytes) -> bytes:
    """A tar with these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


@dataclass
class Scripted:
    """A builder whose image is its last base with one more layer, or with `layers` alone."""

    layers: tuple[bytes, ...] = (archive(added=b"one file"),)
    from_base: bool = True
    platform: Platform | None = None
    wrong: bytes = b""
    annotations: dict[str, str] = field(default_factory=dict)
    lack: str = ""
    fault: PolyarchError | None = None
    seen: list[Build] = field(default_factory=list)
    closed: int = 0

    def missing(self) -> str:
        return self.lack

    def close(self) -> None:
        self.closed += 1

    def build(self, build: Build) -> None:
        self.seen.append(build)
        build.say("STEP 1")
        if self.fault:
            raise self.fault
        layout = Layout(build.output)
        layout.create()

        def blob(data: bytes, kind: str, stored: bytes | None = None) -> Descriptor:
            descriptor = Descriptor(kind, f"sha256:{hashlib.sha256(data).hexdigest()}", len(data))
            layout.make_blob_directory(descriptor.digest)
            layout.blob_path(descriptor.digest).write_bytes(data if stored is None else stored)
            return descriptor

        config: dict[str, object] = {"rootfs": {"diff_ids": []}, "config": {}}
        known: list[Digest] = []
        layers: list[Descriptor] = []
        if self.from_base:
            document = fetched(build, build.bases[-1].digest)
            base = json.loads(document)
            config = json.loads(fetched(build, base["config"]["digest"], "blobs"))
            known = config["rootfs"]["diff_ids"]  # type: ignore[index]
            layers = [Descriptor(OCI_LAYER, diff_id, 0) for diff_id in known]
            fetched(build, base["layers"][0]["digest"], "blobs")
        else:
            config |= {"os": build.platform.os, "architecture": build.platform.architecture}
        if self.platform:
            config |= {"os": self.platform.os, "architecture": self.platform.architecture}
        plain = [gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer for layer in self.layers]
        config["rootfs"] = {
            "type": "layers",
            "diff_ids": [*known, *(f"sha256:{hashlib.sha256(layer + self.wrong).hexdigest()}" for layer in plain)],
        }
        layers += [blob(layer, OCI_LAYER_GZIP if layer[:2] == b"\x1f\x8b" else OCI_LAYER) for layer in self.layers]
        manifest = write_manifest(blob(encode(config), OCI_CONFIG), layers, self.annotations)
        entry = blob(manifest.raw, OCI_MANIFEST)
        layout.write_index([entry])


def fetched(build: Build, digest: Digest, kind: str = "manifests") -> bytes:
    """What is offered to the builder."""
    registry, _, repository = build.bases[-1].location.partition("/")
    with urllib.request.urlopen(f"http://{registry}/v2/{repository}/{kind}/{digest}") as answer:
        return bytes(answer.read())


@dataclass
class Builds:
    """`builds(builder, …)` builds in a session of its own; `text` is the Dockerfile."""

    session: Session
    folder: Path
    source: str
    events: list[Event] = field(default_factory=list)
    text: str = "FROM busybox:1.36\nCOPY . /\n"
    emulators: bool = True
    stand_in: Callable[[str], str] = lambda platform: platform

    pulls: list[str] = field(default_factory=list)

    def image(self, name: str, platform: str, pull: str = "missing") -> Image:
        self.pulls.append(pull)
        platform = self.stand_in(platform)
        (pulled,) = self.session.pull(self.source, platform=platform)
        found = self.session.image(str(pulled.name), platform=platform)
        return replace(found, reference=parse_reference(name))

    def __call__(self, builder: Builder, *platforms: str, **wishes: object) -> tuple[BuiltVariant, ...]:
        (self.folder / "Dockerfile").write_text(self.text)
        parts = BuildParts(
            builders=lambda name, run: [("scripted", builder)],
            image=self.image,
            storage=lambda: as_files(self.session.storage()),
            name=parse_reference,
            platform=self.session.platform,
            machine=lambda: self.session.machine,
            sources=lambda: self.session.emulator_sources if self.emulators else (),
        )
        request = BuildRequest(self.folder, ["app:1", "app:latest"], platforms=platforms)
        verbs = BuildVerbs(self.session.settings, parts, self.events.append)
        return verbs.build(replace(request, **wishes))  # type: ignore[arg-type]

    def named(self) -> list[str]:
        return sorted({image.reference.familiar for image in self.session.images() if "app" in str(image.reference)})


@pytest.fixture
def builds(sample_layout: Path, tmp_path: Path) -> Iterator[Builds]:
    (tmp_path / "context").mkdir()
    with Session(Settings(tmp_path / "root", registries_conf="none", containerd_hosts="none")) as session:
        yield Builds(session, tmp_path / "context", f"oci:{sample_layout}:busybox:1.36")


def test_several_platforms_stand_under_one_index(builds: Builds) -> None:
    built = builds(Scripted(), "linux/amd64", "linux/arm64", "amd64")
    assert [str(each.platform) for each in built] == ["linux/amd64", "linux/arm64"]
    root = built[0].root
    assert isinstance(root, Index)
    assert [entry.digest for entry in root.manifests] == [each.manifest.digest for each in built]
    assert [str(entry.platform) for entry in root.manifests] == ["linux/amd64", "linux/arm64"]
    for name in ("app:1", "app:latest"):
        for each in built:
            found = builds.session.image(name, platform=str(each.platform))
            assert (found.root.digest, found.manifest.digest) == (root.digest, each.manifest.digest)
    assert all(not each.problems for each in builds.session.kept.verify("app:1"))


def test_bases_are_asked_for_where_that_is_wished(builds: Builds) -> None:
    builds(Scripted(), "linux/arm64")
    builds(Scripted(), "linux/arm64", pull=True)
    assert builds.pulls == ["missing", "always"]


def test_one_platform_is_a_manifest(builds: Builds) -> None:
    (built,) = builds(Scripted(), "linux/arm64")
    assert built.root == built.manifest


def test_layers_of_the_base_are_kept_and_new_ones_compressed(builds: Builds) -> None:
    (built,) = builds(Scripted(), "linux/amd64")
    base = builds.image("busybox:1.36", "linux/amd64")
    assert built.manifest.layers[:-1] == base.manifest.layers
    new = built.manifest.layers[-1]
    assert new.media_type == OCI_LAYER_GZIP
    with as_files(builds.session.storage()).open_blob(new.digest) as stream:
        assert gzip.decompress(stream.read()) == Scripted().layers[0]


def test_layers_of_docker_are_called_as_oci_calls_them(builds: Builds) -> None:
    builds.source = builds.source.replace("busybox:1.36", "docker-list:1.0")
    (built,) = builds(Scripted(), "linux/amd64")
    base = builds.image("busybox:1.36", "linux/amd64")
    assert {layer.media_type for layer in base.manifest.layers} == {DOCKER_LAYER_GZIP}
    assert {layer.media_type for layer in built.manifest.layers} == {OCI_LAYER_GZIP}
    assert [layer.digest for layer in built.manifest.layers[:-1]] == [layer.digest for layer in base.manifest.layers]


def test_the_base_is_annotated_as_people_know_it(builds: Builds) -> None:
    base = builds.image("busybox:1.36", "linux/amd64")
    name, digest = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"
    in_the_store = {name: f"docker.io/library/busybox@{base.manifest.digest}", digest: "sha256:" + "0" * 64, "a": "b"}
    (built,) = builds(Scripted(annotations=in_the_store), "linux/amd64")
    outside = {name: "docker.io/library/busybox:1.36", digest: base.manifest.digest, "a": "b"}
    assert built.manifest.annotations == outside


def test_a_compressed_layer_stays_as_it_is(builds: Builds) -> None:
    packed = gzip.compress(archive(added=b"one file"), 1)
    (built,) = builds(Scripted(layers=(packed,)), "linux/amd64")
    assert built.manifest.layers[-1].digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"


@pytest.mark.parametrize("layer", [archive(a=b"1"), gzip.compress(archive(a=b"1"))], ids=["plain", "gzip"])
def test_another_diff_id_is_refused(layer: bytes, builds: Builds) -> None:
    with pytest.raises(IntegrityError, match="a layer of what was built"):
        builds(Scripted(layers=(layer,), wrong=b"!"), "linux/amd64")
    assert builds.named() == []


def test_a_program_for_another_platform_is_refused(builds: Builds) -> None:
    builds.stand_in = lambda platform: "linux/arm64"
    with pytest.raises(IntegrityError, match=r"app:1 \(linux/amd64\) is mislabelled") as caught:
        builds(Scripted(), "linux/amd64")
    assert "FROM without --platform" in str(caught.value.hint)
    assert builds.named() == []


@pytest.mark.parametrize("asked", ["linux/arm64", "linux/arm/v7", "linux/arm/v6"])
def test_what_comes_from_scratch_is_labelled_with_what_was_asked_for(asked: str, builds: Builds) -> None:
    builds.text = "FROM scratch\nCOPY . /\n"
    (built,) = builds(Scripted(from_base=False, platform=AMD64), asked)
    assert str(built.config.platform) == asked
    assert str(from_oci(json.loads(built.config.raw))) == asked


def test_without_an_emulator_nothing_is_fetched(builds: Builds) -> None:
    builds.emulators = False
    with pytest.raises(HostError, match="no static QEMU for s390x here"):
        builds(Scripted(), "linux/s390x")
    assert list(builds.session.images()) == []


def test_nothing_that_is_no_base_can_be_read(builds: Builds, tmp_path: Path) -> None:
    """Not even what lies in the storage."""
    other = builds.image("busybox:1.36", "linux/s390x")

    class Curious(Scripted):
        def build(self, build: Build) -> None:
            with pytest.raises(urllib.error.HTTPError, match="404"):
                fetched(build, other.manifest.digest)
            with pytest.raises(urllib.error.HTTPError, match="404"):
                fetched(build, other.manifest.layers[0].digest, "blobs")
            super().build(build)

    builds(Curious(), "linux/amd64")


def test_what_a_builder_is_asked_for(builds: Builds, tmp_path: Path) -> None:
    builder = Scripted()
    secret = tmp_path / "token"
    (builds.folder / "Dockerfile.dockerignore").write_text("*")
    builds(
        builder,
        "linux/arm64",
        arguments={"A": "1", "TARGETOS": "mine"},
        target="x",
        secrets={"token": secret},
        cache=False,
    )
    (build,) = builder.seen
    assert (build.context, build.target, build.secrets, build.cache) == (builds.folder, "x", {"token": secret}, False)
    assert build.ignore == builds.folder / "Dockerfile.dockerignore"
    assert build.arguments["A"] == "1"
    assert build.arguments["TARGETOS"] == "mine"
    assert build.arguments["TARGETPLATFORM"] == "linux/arm64"
    base = builds.image("busybox:1.36", "linux/arm64")
    assert build.layers == set(base.config.diff_ids)
    assert [(one.name, one.digest) for one in build.bases] == [("docker.io/library/busybox", base.manifest.digest)]


def test_lines_are_told_with_their_platform(builds: Builds) -> None:
    builds(Scripted(), "linux/amd64", "linux/arm64")
    said = [event for event in builds.events if isinstance(event, BuildSaid)]
    assert sorted(said, key=lambda each: each.platform) == [
        BuildSaid("linux/amd64", "STEP 1"),
        BuildSaid("linux/arm64", "STEP 1"),
    ]


def test_a_failure_names_nothing_and_closes_the_builder(builds: Builds) -> None:
    builder = Scripted(fault=UsageError("buildah: no such step"))
    with pytest.raises(UsageError, match="no such step"):
        builds(builder, "linux/amd64", "linux/arm64")
    assert builder.closed == 1
    assert builds.named() == []
    assert list((builds.session.settings.root / "build" / "tmp").iterdir()) == []


def test_without_a_builder_it_says_how_to_get_one(builds: Builds) -> None:
    with pytest.raises(HostError, match="buildah is not installed") as caught:
        builds(Scripted(lack="buildah is not installed"))
    assert caught.value.hint == "apt install buildah"


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"names": []}, "the image needs a name"),
        ({"names": ["UPPER"]}, "UPPER"),
        ({"context": Path("/nowhere")}, "/nowhere is no folder"),
        ({"file": Path("/nowhere/Dockerfile")}, "there is no /nowhere/Dockerfile"),
        ({"platforms": ["linux/none"]}, "no architecture is called"),
    ],
    ids=str,
)
def test_wrong_words(wishes: dict[str, object], words: str, builds: Builds) -> None:
    builder = Scripted()
    with pytest.raises(UsageError, match=words):
        builds(builder, **wishes)
    assert builder.seen == []


def test_an_epoch_that_is_no_number(builds: Builds) -> None:
    builds.session.settings = replace(builds.session.settings, environ={"SOURCE_DATE_EPOCH": "soon"})
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        builds(Scripted())


def test_the_epoch_is_handed_on(builds: Builds) -> None:
    builds.session.settings = replace(builds.session.settings, environ={"SOURCE_DATE_EPOCH": "1700000000"})
    builder = Scripted()
    builds(builder)
    assert builder.seen[0].timestamp == 1_700_000_000


def test_emulation_that_is_not_allowed(builds: Builds) -> None:
    builds.session.settings = replace(builds.session.settings, emulation="never")
    with pytest.raises(NoVariantError, match="steps for linux/s390x run here only by emulation"):
        builds(Scripted(), "linux/s390x")
    builds(Scripted(), str(builds.session.machine.platform))


def test_without_a_private_table_the_hosts_entries_serve(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "private_refusal", lambda: HostError("Linux 5.10 has no private binfmt_misc"))
    monkeypatch.setattr(build, "registered_emulator", lambda name: None)
    with pytest.raises(HostError, match=r"has no private binfmt_misc: steps for s390x cannot be run") as caught:
        builds(Scripted(), "linux/s390x")
    assert caught.value.hint == "as root: polyarch emulator install s390x"
    monkeypatch.setattr(build, "registered_emulator", lambda name: object())
    builds(Scripted(), "linux/s390x")
