"""Pushing and copying with a registry that misbehaves, or changes while it is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch.errors import IntegrityError, PolyarchError, UnauthorizedError, UnreachableError, UsageError
from polyarch.events import BlobPushed, Event, PushFinished, PushStarted, VariantChosen, Warned
from polyarch.oci.descriptor import Descriptor
from polyarch.registry import retry
from polyarch.session import Session
from polyarch.settings import Settings
from support.layout_files import Layout
from support.pushing import OCI_INDEX, artifact, document, put_blob, put_document, raw
from support.taking_registry import TakingRegistry


@pytest.fixture
def taking() -> Iterator[TakingRegistry]:
    server = TakingRegistry()
    yield server
    server.stop()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def session(tmp_path: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    with Session(Settings(root=tmp_path / "root", home=tmp_path, retries=1), emit=events.append) as opened:
        yield opened


@pytest.fixture
def layout(sample_layout: Path) -> str:
    return f"oci:{sample_layout}"


def name(server: TakingRegistry, text: str) -> str:
    return f"{server.address}/{text}"


def warnings(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


def test_what_is_told_of_a_push(session: Session, taking: TakingRegistry, layout: str, events: list[Event]) -> None:
    session.pull(f"{layout}:arm64-only:1.0", platform="linux/arm64")
    kept = session.images()[0].reference
    session.moving.push(str(kept), name(taking, "app"))
    first, last = events[-1], next(event for event in events if isinstance(event, PushStarted))
    assert isinstance(first, PushFinished)
    assert (first.reference, last.tag_defaulted) == (name(taking, "app:latest"), True)
    assert {event.status for event in events if isinstance(event, BlobPushed)} == {"uploaded"}
    order = [each.path.rpartition("/")[2] for each in taking.requests("PUT") if "/manifests/" in each.path]
    assert order[-1] == "latest"


@pytest.mark.parametrize("what", ["blobs/uploads", "manifests/sha256", "manifests/1.0"])
def test_an_interrupted_push_leaves_no_name(session: Session, taking: TakingRegistry, layout: str, what: str) -> None:
    taking.behaviour.refusals = [("PUT", what, 500, {})] * 9
    with pytest.raises(UnreachableError):
        session.moving.copy(f"{layout}:v7-v5:1.0", name(taking, "app:1.0"))
    assert ("app", "1.0") not in taking.manifests
    taking.behaviour.refusals = []
    done = session.moving.copy(f"{layout}:v7-v5:1.0", name(taking, "app:1.0"))
    assert done.root.digest == done.to_json()["digest"]
    assert ("app", "1.0") in taking.manifests


def test_wrong_bytes_are_never_finished(
    session: Session, taking: TakingRegistry, layout: str, sample_layout: Path
) -> None:
    """The source is damaged, and the target believes anything: no blob but the right ones is there."""
    session.moving.copy(f"{layout}:arm64-only:1.0", name(taking, "source:1.0"))
    largest = max(taking.blobs, key=lambda key: len(taking.blobs[key]))
    content = bytearray(taking.blobs[largest])
    content[1000] ^= 1
    taking.blobs[largest] = bytes(content)
    other = TakingRegistry()
    try:
        with pytest.raises(IntegrityError, match="its upload was not finished"):
            session.moving.copy(name(taking, "source:1.0"), name(other, "copy:1.0"))
        assert not any(digest == largest[1] for _, digest in other.blobs)
        assert not other.manifests
    finally:
        other.stop()


def test_a_tag_that_moves_meanwhile(
    session: Session, taking: TakingRegistry, layout: str, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.moving.copy(f"{layout}:v7-v5:1.0", name(taking, "source:1.0"))
    session.moving.copy(f"{layout}:arm64-only:1.0", name(taking, "source:new"))
    before = raw(taking.address, "source", "1.0")
    honest = taking.refusal

    def moving(method: str, path: str):  # type: ignore[no-untyped-def]
        if method == "POST":  # what was read first is on its way
            taking.manifests["source", "1.0"] = taking.manifests["source", "new"]
        return honest(method, path)

    monkeypatch.setattr(taking, "refusal", moving)
    taking.behaviour.mounts = False
    session.moving.copy(name(taking, "source:1.0"), name(taking, "target:1.0"))
    assert raw(taking.address, "target", "1.0") == before
    assert any("moved meanwhile" in text for text in warnings(events))


def test_a_tag_that_moves_while_it_is_pulled(session: Session, taking: TakingRegistry, layout: str) -> None:
    """The pull stays with what it resolved, and says so."""
    source, events = name(taking, "source:1.0"), list[Event]()
    session.moving.copy(f"{layout}:v7-v5:1.0", source)
    session.moving.copy(f"{layout}:arm64-only:1.0", name(taking, "source:new"))

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, VariantChosen):
            taking.manifests["source", "1.0"] = taking.manifests["source", "new"]

    with Session(session.settings, emit=emit) as pulling:
        [result] = pulling.pull(source, platform="linux/arm/v7")
        assert result.platform == "linux/arm/v7"
        [told] = [text for text in warnings(events) if "moved meanwhile" in text]
        assert told.startswith(source)
        assert told.endswith(f"what was taken is {result.root.digest}")
        events.clear()
        pulling.pull(name(taking, "source:new"), platform="linux/arm64")
        assert not any("moved meanwhile" in text for text in warnings(events))


@pytest.mark.parametrize("api", [True, False])
def test_the_list_of_referrers_is_kept_where_the_registry_does_not(
    session: Session, taking: TakingRegistry, layout: str, api: bool
) -> None:
    session.moving.copy(f"{layout}:arm64-only:1.0", name(taking, "source:1.0"))
    index = document(taking.address, "source", "1.0")
    subject = index["manifests"][0]
    tag = subject["digest"].replace(":", "-")
    signature = artifact(taking.address, "source", b"signed", subject)
    put_document(
        taking.address,
        "source",
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{**signature, "unknown": [1]}]},
        tag,
    )
    other = TakingRegistry()
    try:
        other.behaviour.subjects = api
        mine = put_blob(other.address, "copy", b"{}", "x")
        old = {**mine, "mediaType": index["manifests"][0]["mediaType"], "unknown": "kept"}
        if not api:
            put_document(
                other.address, "copy", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [old], "more": 1}, tag
            )
        done = session.moving.copy(name(taking, "source:1.0"), name(other, "copy:1.0"))
        assert done.referrers == (signature["digest"],)
        assert raw(other.address, "copy", signature["digest"]) == raw(taking.address, "source", signature["digest"])
        if api:
            assert raw(other.address, "copy", tag) is None
            return
        listed = document(other.address, "copy", tag)
        assert listed["manifests"][0] == old
        assert listed["more"] == 1
        assert [entry["digest"] for entry in listed["manifests"][1:]] == [signature["digest"]]
        session.moving.copy(name(taking, "source:1.0"), name(other, "copy:1.0"))
        assert document(other.address, "copy", tag) == listed  # once, however often
    finally:
        other.stop()


def test_what_is_listed_and_is_not_there_is_passed_over(
    session: Session, taking: TakingRegistry, layout: str, events: list[Event]
) -> None:
    session.moving.copy(f"{layout}:arm64-only:1.0", name(taking, "source:1.0"))
    subject = document(taking.address, "source", "1.0")["manifests"][0]
    lost = {**subject, "digest": f"sha256:{'2' * 64}"}
    about = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [lost]}
    put_document(taking.address, "source", about, subject["digest"].replace(":", "-"))
    assert session.moving.copy(name(taking, "source:1.0"), name(taking, "target:1.0")).referrers == ()
    assert any("though it is listed" in text for text in warnings(events))


def test_foreign_layers_are_named_and_not_moved(session: Session, taking: TakingRegistry) -> None:
    config = put_blob(
        taking.address, "source", b'{"architecture":"amd64","os":"windows","rootfs":{}}',
        "application/vnd.oci.image.config.v1+json",
    )  # fmt: skip
    foreign = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": f"sha256:{'1' * 64}",
        "size": 99,
        "urls": ["https://elsewhere.example/layer"],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [foreign],
    }
    put_document(taking.address, "source", manifest, "1.0")
    done = session.moving.copy(name(taking, "source:1.0"), name(taking, "target:1.0"))
    assert [blob.descriptor.digest for blob in done.blobs] == [config["digest"]]
    assert raw(taking.address, "target", "1.0") == raw(taking.address, "source", "1.0")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_name_has_the_registrys_words(
    session: Session, taking: TakingRegistry, layout: str, status: int
) -> None:
    taking.behaviour.refusals = [("PUT", "/manifests/1.0", status, {})] * 3
    with pytest.raises(UnauthorizedError, match=r"refuses the push of the index: the registry's own words"):
        session.moving.copy(f"{layout}:v7-v5:1.0", name(taking, "app:1.0"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"127.0.0.1:1/x@sha256:{'0' * 64}", "names a digest"),
        ("oci:/nowhere", "nothing can be pushed there"),
    ],
)
def test_names_that_nothing_can_be_given(session: Session, layout: str, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        session.moving.copy(f"{layout}:v7-v5:1.0", text)


def test_a_registry_that_refuses_is_asked_once(
    session: Session, taking: TakingRegistry, layout: str, events: list[Event]
) -> None:
    taking.behaviour.refusals = [("POST", "", 403, {})] * 9
    with pytest.raises(UnauthorizedError):
        session.moving.copy(f"{layout}:busybox:1.36", name(taking, "app:1.0"))
    assert len(taking.requests("POST")) == 1


def test_an_index_is_changed_as_the_registry_has_it(
    session: Session, taking: TakingRegistry, layout: str, tmp_path: Path
) -> None:
    """A mirror has what it was before: nothing of the registry's own is lost by that."""
    stale = TakingRegistry()
    try:
        for server in (taking, stale):
            session.moving.copy(f"{layout}:arm64-only:1.0", name(server, "app:arm64"))
            session.moving.create_index(name(server, "app:1.0"), [name(server, "app:arm64")])
        session.moving.copy(f"{layout}:v7-v5:1.0", name(taking, "app:arm"))
        session.moving.append_to_index(name(taking, "app:1.0"), [name(taking, "app:arm")])
        whole = document(taking.address, "app", "1.0")["manifests"]
        conf = tmp_path / "registries.conf"
        conf.write_text(
            f'[[registry]]\nlocation = "{taking.address}"\n[[registry.mirror]]\nlocation = "{stale.address}"\n'
        )
        stale.asked.clear()
        with Session(Settings(root=tmp_path / "other", registries_conf=str(conf), retries=1)) as mirrored:
            mirrored.moving.append_to_index(name(taking, "app:1.0"), [name(taking, "app:arm64")])
            assert document(taking.address, "app", "1.0")["manifests"] == whole
            mirrored.moving.remove_from_index(name(taking, "app:1.0"), ["linux/arm64"])
        assert stale.requests("GET"), "the mirror is asked for what is only read"
        assert document(taking.address, "app", "1.0")["manifests"] == [each for each in whole if each != whole[0]]
    finally:
        stale.stop()


def test_one_image_is_no_index(session: Session, layout: str) -> None:
    with pytest.raises(UsageError, match="is one image, not an index"):
        session.moving.inspect_index(f"{layout}:single:1.0")


def test_push_of_what_is_not_at_hand(session: Session) -> None:
    with pytest.raises(PolyarchError, match="is not in the storage"):
        session.moving.push("nothing:1.0", "127.0.0.1:1/x:1")


def test_push_by_the_place_that_it_came_from(session: Session, layout: str) -> None:
    """What is at hand has a name of its own."""
    with pytest.raises(PolyarchError, match="is not in the storage") as caught:
        session.moving.push(f"{layout}:single:1.0", "127.0.0.1:1/x:1")
    assert "the last line of that is its name here" in (caught.value.hint or "")


def test_attestations_at_hand_go_along(
    session: Session, taking: TakingRegistry, layout: str, sample_layout: Path
) -> None:
    """An index of which all is at hand goes byte for byte; of attestations only those that are."""
    written = Layout(sample_layout)
    session.pull(f"{layout}:busybox:1.36", all_platforms=True)
    kept = str(session.images()[0].reference)
    attestations = [entry for entry in written.entries("busybox:1.36") if "annotations" in entry]

    def bring(entries: list[dict[str, object]]) -> None:
        for entry in entries:
            manifest = written.json(str(entry["digest"]))
            for each in (entry, manifest["config"], *manifest["layers"]):
                blob = Descriptor(each["mediaType"], each["digest"], each["size"])
                with session.storage().write_blob(blob) as writer:
                    if writer is not None:
                        writer.write(written.path(blob.digest).read_bytes())
                        writer.finish()

    bring(attestations[:1])
    assert session.moving.push(kept, name(taking, "app:some")).made
    entries = document(taking.address, "app", "some")["manifests"]
    assert entries == written.entries("busybox:1.36")[: len(entries)]
    assert entries[-1] == attestations[0]
    bring(attestations[1:])
    done = session.moving.push(kept, name(taking, "app:all"))
    assert not done.made
    assert done.root.digest == written.names["busybox:1.36"]["digest"]


def test_an_id_is_one_variant(session: Session, taking: TakingRegistry, layout: str, events: list[Event]) -> None:
    session.pull(f"{layout}:v7-v5:1.0", all_platforms=True)
    first, second = session.images()
    for text in (first.config.digest, first.manifest.digest[7:19], f"{first.reference.name}@{first.manifest.digest}"):
        assert session.moving.push(text, name(taking, "app:one")).root.digest == first.manifest.digest
        assert not [key for key in taking.manifests if second.manifest.digest in key]
    assert not warnings(events)
    whole = session.moving.push(first.root.digest, name(taking, "app:whole"))
    assert whole.root.digest == first.root.digest


def test_an_id_does_not_say_where_to_push(session: Session, layout: str) -> None:
    session.pull(f"{layout}:arm64-only:1.0", platform="linux/arm64")
    identifier = session.images()[0].config.digest.removeprefix("sha256:")[:12]
    with pytest.raises(UsageError, match="does not say under which name"):
        session.moving.push(identifier)


def test_entries_without_platforms_get_their_programs(
    session: Session, taking: TakingRegistry, layout: str, events: list[Event]
) -> None:
    made = session.moving.create_index(name(taking, "app"), [f"{layout}:no-platform:1.0"])
    assert any(event.tag_defaulted for event in events if isinstance(event, PushStarted))
    assert [entry.platform for entry in made.entries] == ["linux/amd64", "linux/arm64", "linux/arm/v7"]
    body = json.loads(taking.manifests["app", "latest"][1])
    assert body["manifests"][2]["platform"] == {"architecture": "arm", "os": "linux", "variant": "v7"}


def test_two_of_one_platform_are_refused(session: Session, taking: TakingRegistry, layout: str) -> None:
    with pytest.raises(UsageError, match=r"two manifests of .* are for linux/arm64"):
        session.moving.create_index(name(taking, "app:1.0"), [f"{layout}:duplicates:1.0"])
    assert not taking.manifests


def test_docker_images_are_joined_in_dockers_list(session: Session, taking: TakingRegistry, layout: str) -> None:
    made = session.moving.create_index(name(taking, "app:1.0"), [f"{layout}:single:1.0"])
    assert made.media_type == "application/vnd.docker.distribution.manifest.list.v2+json"
    assert Layout(Path(layout.removeprefix("oci:"))).names["single:1.0"]["digest"] == made.entries[0].descriptor.digest
