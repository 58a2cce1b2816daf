"""The storage `oci`: names, images, and what goes with them."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.contract import (
    Descriptor,
    HasBlobFiles,
    Layout,
    ListsImages,
    NotFoundError,
    ReadsBlobs,
    RemovesImages,
    StorageError,
    StorageServices,
)
from polyarch.oci.digest import digest_of
from polyarch.oci.document import parse_document
from polyarch.reference import Reference, parse_reference
from polyarch_platforms.platform import Platform, parse
from polyarch_plugins.storages.oci.plugin import polyarch_storages
from polyarch_plugins.storages.oci.storage import OciStorage
from support.memory_registry import index_document, made_image
from support.storages import Opener, blobs_in, descriptor_of, partials_in, store, write

SHARED = b"shared by all" * 100
AMD64 = made_image("linux/amd64", b"amd64", SHARED)
ARM64 = made_image("linux/arm64", b"arm64", SHARED)
ARM_V7 = made_image("linux/arm/v7", b"arm v7", SHARED, docker=True)
INDEX = index_document(
    [replace(image.manifest.descriptor, platform=image.platform) for image in (AMD64, ARM64, ARM_V7)]
)
NAME = parse_reference("busybox:1.36")


def _platforms(storage: OciStorage, reference: Reference = NAME) -> set[str]:
    return {str(image.platform) for image in storage.find(reference)}


def test_the_plugin_makes_a_storage_with_every_ability(tmp_path: Path) -> None:
    (plugin,) = polyarch_storages()
    made = plugin.factory(StorageServices(tmp_path))
    assert isinstance(made, OciStorage)
    assert made.directory == tmp_path / "oci"
    assert all(isinstance(made, ability) for ability in (ReadsBlobs, HasBlobFiles, ListsImages, RemovesImages))
    elsewhere = plugin.factory(StorageServices(tmp_path, location=str(tmp_path / "else")))
    assert isinstance(elsewhere, OciStorage)
    assert elsewhere.directory == tmp_path / "else"
    assert list(tmp_path.iterdir()) == []


def test_reading_makes_nothing(storage: OciStorage, place: Path) -> None:
    assert storage.find(NAME) == ()
    assert list(storage.images()) == []
    assert not storage.has_blob(descriptor_of(b"x"))
    assert storage.prune() == ()
    with pytest.raises(NotFoundError):
        storage.remove(NAME)
    with pytest.raises(NotFoundError):
        storage.open_blob(digest_of(b"x"))
    with pytest.raises(NotFoundError):
        storage.blob_path(digest_of(b"x"))
    assert not place.exists()


def test_an_image_is_found_again(open_at: Opener, place: Path) -> None:
    store(open_at(sync=True), ARM64, "busybox:1.36", INDEX)
    (image,) = open_at().find(NAME)
    assert image == ARM64.stored_as("busybox:1.36", INDEX)
    with open_at().open_blob(digest_of(SHARED)) as stream:
        assert stream.read() == SHARED
    assert open_at().blob_path(digest_of(SHARED)).read_bytes() == SHARED
    assert blobs_in(place) == {*ARM64.blobs, ARM64.manifest.digest, INDEX.digest}
    assert partials_in(place) == {}


@pytest.mark.parametrize("docker_first", [False, True])
def test_platforms_of_one_root_stand_together(storage: OciStorage, docker_first: bool) -> None:
    images = [AMD64, ARM64, ARM_V7]
    for image in reversed(images) if docker_first else images:
        store(storage, image, "busybox:1.36", INDEX)
    assert _platforms(storage) == {"linux/amd64", "linux/arm64", "linux/arm/v7"}
    assert {image.root.digest for image in storage.find(NAME)} == {INDEX.digest}
    assert len(Layout(storage.directory).entries()) == 1


def test_another_root_takes_the_name_alone(storage: OciStorage) -> None:
    store(storage, AMD64, "busybox:1.36", INDEX)
    store(storage, ARM64, "busybox:1.36", INDEX)
    newer = made_image("linux/arm64", b"newer", SHARED)
    store(storage, newer, "busybox:1.36")
    assert storage.find(NAME) == (newer.stored_as("busybox:1.36"),)


def test_the_same_platform_is_replaced(storage: OciStorage) -> None:
    other = made_image("linux/arm64", b"other")
    root = index_document([ARM64.manifest.descriptor, other.manifest.descriptor])
    store(storage, ARM64, "busybox:1.36", root)
    store(storage, other, "busybox:1.36", root)
    assert [image.manifest for image in storage.find(NAME)] == [other.manifest]


@pytest.mark.parametrize("first", ["linux/arm/v8", "linux/arm/v6"])
def test_a_platform_that_was_proven_later_replaces_the_first(storage: OciStorage, first: str) -> None:
    store(storage, ARM_V7, "busybox:1.36", INDEX, parse(first))
    store(storage, AMD64, "busybox:1.36", INDEX)
    assert _platforms(storage) == {first, "linux/amd64"}
    store(storage, ARM_V7, "busybox:1.36", INDEX)
    assert _platforms(storage) == {"linux/arm/v7", "linux/amd64"}


@pytest.mark.parametrize("docker", [False, True])
def test_the_proven_platform_is_kept_beside_the_config(storage: OciStorage, docker: bool) -> None:
    image = made_image("linux/arm/v7", b"x", docker=docker)
    store(storage, image, "a", platform=Platform("linux", "arm", "v6"))
    (found,) = storage.find(parse_reference("a"))
    assert (str(found.platform), str(found.config.platform)) == ("linux/arm/v6", "linux/arm/v7")


def test_names_do_not_meet(storage: OciStorage) -> None:
    names = ["busybox", "busybox:1.36", "ghcr.io/a/busybox:1.36", "[::1]:5000/a__b:1", f"x@{ARM64.manifest.digest}"]
    for name in names:
        store(storage, ARM64, name)
    assert {str(image.reference) for image in storage.images()} == {str(parse_reference(name)) for name in names}
    for name in names:
        assert [str(image.reference) for image in storage.find(parse_reference(name))] == [str(parse_reference(name))]


def test_a_digest_finds_root_and_manifest_under_any_tag(storage: OciStorage) -> None:
    store(storage, AMD64, "busybox:1.36", INDEX)
    store(storage, ARM64, "busybox:1.36", INDEX)

    def found(text: str) -> set[str]:
        return _platforms(storage, parse_reference(text))

    assert found(f"busybox@{INDEX.digest}") == {"linux/amd64", "linux/arm64"}
    assert found(f"busybox@{digest_of(INDEX.raw, 'sha512')}") == {"linux/amd64", "linux/arm64"}
    assert found(f"busybox@{ARM64.manifest.digest}") == {"linux/arm64"}
    assert found(f"busybox:1.36@{ARM64.manifest.digest}") == {"linux/arm64"}
    assert found(f"busybox:1.36@{INDEX.digest}") == {"linux/amd64", "linux/arm64"}
    assert found(f"busybox:1.36@{digest_of(b'other')}") == set()
    assert found(f"busybox:2@{INDEX.digest}") == set()
    assert found(f"other@{INDEX.digest}") == set()
    assert found(f"busybox@{ARM_V7.manifest.digest}") == set()


def test_a_name_by_digest_is_kept(storage: OciStorage) -> None:
    by_digest = f"busybox@{INDEX.digest}"
    store(storage, ARM64, by_digest, INDEX)
    (image,) = storage.find(parse_reference(by_digest))
    assert str(image.reference) == f"docker.io/library/{by_digest}"
    assert storage.find(parse_reference("busybox")) == ()


def test_tag_and_digest_is_kept_by_its_tag(storage: OciStorage) -> None:
    store(storage, ARM64, f"busybox:1.36@{INDEX.digest}", INDEX)
    assert [image.reference for image in storage.find(NAME)] == [NAME]


def test_an_image_without_its_blobs_is_not_named(storage: OciStorage, place: Path) -> None:
    write(storage, SHARED)
    with pytest.raises(StorageError, match="is not in"):
        storage.commit(ARM64.stored_as("busybox:1.36"))
    assert storage.find(NAME) == ()
    assert Layout(place).entries() == ()


def test_an_image_that_lost_a_blob_is_not_found(storage: OciStorage) -> None:
    for lost in (digest_of(SHARED), ARM64.manifest.config.digest, ARM64.manifest.digest):
        store(storage, ARM64, "busybox:1.36", INDEX)
        assert _platforms(storage) == {"linux/arm64"}
        path = storage.blob_path(lost)
        path.write_bytes(path.read_bytes()[:-1])  # as a power failure may leave it
        assert storage.find(NAME) == ()
        path.unlink()
        assert storage.find(NAME) == ()


def test_a_root_that_was_taken_away_is_made_good_by_the_manifest(storage: OciStorage) -> None:
    store(storage, ARM64, "busybox:1.36", INDEX)
    storage.blob_path(INDEX.digest).unlink()
    assert [image.root for image in storage.find(NAME)] == [ARM64.manifest]
    store(storage, ARM64, "busybox:1.36", INDEX)
    assert [image.root for image in storage.find(NAME)] == [INDEX]


def test_a_damaged_image_is_told_and_can_be_removed(storage: OciStorage) -> None:
    store(storage, ARM64, "busybox:1.36")
    store(storage, AMD64, "other")
    path = storage.blob_path(ARM64.manifest.digest)
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    for read in (lambda: storage.find(NAME), lambda: list(storage.images())):
        with pytest.raises(StorageError, match=r"busybox:1.36: blob .* is damaged") as caught:
            read()
        assert caught.value.hint == "polyarch image rm busybox:1.36, then pull it again"
    with pytest.raises(StorageError, match="damaged"):
        storage.prune()
    assert storage.find(parse_reference("other"))
    # What the damaged one needs cannot be told: nothing goes with the name, and nothing that another needs.
    assert storage.remove(parse_reference("other")) == ()
    assert storage.remove(NAME) == (ARM64.manifest.digest,)
    storage.prune()
    assert blobs_in(storage.directory) == set()


def test_removing_a_name_takes_only_what_nothing_else_needs(storage: OciStorage, place: Path) -> None:
    store(storage, ARM64, "busybox:1.36", INDEX)
    store(storage, ARM64, "busybox:latest", INDEX)
    store(storage, AMD64, "other")
    assert storage.remove(NAME) == ()
    gone = set(storage.remove(parse_reference("busybox")))
    assert gone == {*ARM64.blobs, ARM64.manifest.digest, INDEX.digest} - {digest_of(SHARED)}
    assert blobs_in(place) == {*AMD64.blobs, AMD64.manifest.digest}
    assert [str(image.reference) for image in storage.images()] == ["docker.io/library/other:latest"]
    storage.remove(parse_reference("other"))
    assert blobs_in(place) == set()
    with pytest.raises(NotFoundError, match="other:latest is not in the storage"):
        storage.remove(parse_reference("other"))


def test_removing_one_platform(storage: OciStorage, place: Path) -> None:
    for image in (AMD64, ARM64, ARM_V7):
        store(storage, image, "busybox:1.36", INDEX)
    gone = set(storage.remove(NAME, parse("arm/v7")))
    assert _platforms(storage) == {"linux/amd64", "linux/arm64"}
    assert gone >= {ARM_V7.manifest.digest, ARM_V7.manifest.config.digest, digest_of(b"arm v7")}
    assert INDEX.digest in blobs_in(place)
    with pytest.raises(NotFoundError, match=r"for linux/arm/v7 \(at hand: linux/amd64, linux/arm64\)"):
        storage.remove(NAME, parse("arm/v7"))
    storage.remove(NAME, parse("amd64"))
    assert storage.find(NAME) == (ARM64.stored_as("busybox:1.36", INDEX),)
    storage.remove(NAME, parse("arm64"))
    assert storage.find(NAME) == ()
    assert blobs_in(place) == set()


def test_lists_made_here_do_not_pile_up(storage: OciStorage, place: Path) -> None:
    for image in (AMD64, ARM64, ARM_V7):
        store(storage, image, "busybox:1.36", INDEX)
        store(storage, image, "busybox:latest", INDEX)
    needed = {image.manifest.digest for image in (AMD64, ARM64, ARM_V7)} | {INDEX.digest}
    needed |= {digest for image in (AMD64, ARM64, ARM_V7) for digest in image.blobs}
    entries = Layout(place).entries()
    assert len(entries) == 2
    assert blobs_in(place) == needed | {entry.digest for entry in entries}
    storage.remove(NAME)
    assert _platforms(storage, parse_reference("busybox")) == {"linux/amd64", "linux/arm64", "linux/arm/v7"}


def test_prune_keeps_what_names_need(open_at: Opener, place: Path) -> None:
    earlier = open_at()
    store(earlier, ARM64, "busybox:1.36", INDEX)
    left = write(earlier, b"left behind")
    earlier.close()
    with open_at().write_blob(descriptor_of(b"broken off")) as writer:
        assert writer is not None
        writer.write(b"brok")
    assert partials_in(place) == {digest_of(b"broken off"): 4}
    assert set(open_at().prune()) == {(left.digest, 11), (digest_of(b"broken off"), 4)}
    assert partials_in(place) == {}
    assert open_at().prune() == ()
    assert open_at().find(NAME) == (ARM64.stored_as("busybox:1.36", INDEX),)


def test_prune_keeps_what_unknown_documents_mention(storage: OciStorage, place: Path) -> None:
    """Of a type that is not known it cannot be told what it needs: better one blob too many."""
    store(storage, ARM64, "busybox:1.36")
    mentioned = write(storage, b"mentioned")
    raw = json.dumps({"blobs": [{"digest": mentioned.digest}]}).encode()
    artifact = Descriptor("application/vnd.oci.artifact.manifest.v1+json", digest_of(raw), len(raw))
    Layout(place).write_document(raw)
    Layout(place).write_index([*Layout(place).entries(), artifact])
    write(storage, b"not mentioned")
    assert [digest for digest, _ in storage.prune()] == [digest_of(b"not mentioned")]
    assert [image.reference for image in storage.images()] == [NAME]


def test_an_artifact_is_no_image(storage: OciStorage) -> None:
    config = json.loads(ARM64.manifest.raw)
    config["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    chart = parse_document(json.dumps(config).encode())
    store(storage, ARM64, "busybox:1.36")
    Layout(storage.directory).write_document(chart.raw)
    Layout(storage.directory).write_index([chart.descriptor])
    assert list(storage.images()) == []


def test_files_and_folders_are_for_their_owner(place: Path, open_at: Opener) -> None:
    for mask in (0o777, 0o000):
        before = os.umask(mask)
        try:
            directory = place / f"{mask:o}"
            store(open_at(directory), ARM64, "busybox:1.36", INDEX)
        finally:
            os.umask(before)
        for path in (directory, *directory.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            if path.is_dir():
                assert mode == 0o700, path
            elif ".polyarch" not in path.parts:
                assert mode == 0o644, path


@pytest.mark.parametrize("version", [b"2\n", b"", b"1.1", b"\xff", b"x" * 200])
def test_a_newer_storage_is_not_touched(open_at: Opener, place: Path, version: bytes) -> None:
    store(open_at(), ARM64, "busybox:1.36")
    (place / ".polyarch" / "version").write_bytes(version)
    for use in (
        lambda: open_at().find(NAME),
        lambda: list(open_at().images()),
        lambda: open_at().has_blob(descriptor_of(SHARED)),
        lambda: write(open_at(), b"x"),
        lambda: open_at().commit(ARM64.stored_as("busybox:1.36")),
        lambda: open_at().remove(NAME),
        lambda: open_at().prune(),
        lambda: open_at().open_blob(digest_of(SHARED)),
    ):
        with pytest.raises(StorageError):
            use()


def test_a_folder_with_other_things_in_it_is_left_alone(open_at: Opener, place: Path) -> None:
    place.mkdir()
    (place / "letter.txt").write_text("dear")
    with pytest.raises(StorageError, match="holds files, but is no OCI image layout"):
        write(open_at(), b"x")
    assert [path.name for path in place.iterdir()] == ["letter.txt"]


def test_a_file_in_the_way_is_told(open_at: Opener, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place, said in (
        (tmp_path / "file", "is a file, not a folder"),
        (tmp_path / "file" / "x", "cannot make the storage"),
    ):
        with pytest.raises(StorageError, match=said):
            write(open_at(place), b"x")
