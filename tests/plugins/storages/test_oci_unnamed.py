"""The storage `oci`: images that lost their name, and giving up only what was looked at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from polyarch.contract import KeepsUnnamed, NotFoundError
from polyarch.contract.storage import is_unnamed, unnamed
from polyarch.reference import parse_reference
from polyarch_platforms.platform import parse
from polyarch_plugins.storages.oci.storage import OciStorage
from support.memory_registry import index_document, made_image
from support.seen_layout import SeenLayout, seen_layout
from support.storages import Opener, blobs_in, store

AMD64, ARM64 = made_image("linux/amd64", b"amd64", b"shared"), made_image("linux/arm64", b"arm64", b"shared")
NEWER = made_image("linux/arm64", b"newer", b"shared")
DOCKER = made_image("linux/arm64", b"docker", b"shared", docker=True)
NAME = parse_reference("app:1")


def seen(storage: OciStorage) -> SeenLayout:
    return seen_layout(storage.directory)


@pytest.mark.parametrize("old", [ARM64, DOCKER], ids=["oci", "docker"])
def test_an_image_whose_name_moved_stays_without_one(old: object, storage: OciStorage) -> None:
    assert isinstance(storage, KeepsUnnamed)
    assert isinstance(old, type(ARM64))
    store(storage, old, "app:1")
    (before,) = storage.find(NAME)
    store(storage, NEWER, "app:1")
    (image,) = [each for each in storage.images() if is_unnamed(each.reference)]
    assert replace(image, reference=NAME) == before
    assert storage.find(image.reference) == (image,)
    assert storage.prune() == ()
    assert seen(storage).images == {old.manifest.digest, NEWER.manifest.digest}
    assert storage.discard([image])
    assert seen(storage).blobs == seen(storage).needed
    assert seen(storage).images == {NEWER.manifest.digest}


def test_all_platforms_of_a_name_stay_when_it_moves(storage: OciStorage) -> None:
    root = index_document([replace(each.manifest.descriptor, platform=each.platform) for each in (AMD64, ARM64)])
    for each in (AMD64, ARM64):
        store(storage, each, "app:1", root)
    store(storage, NEWER, "app:1")
    lost = [each for each in storage.images() if is_unnamed(each.reference)]
    assert {str(each.platform) for each in lost} == {"linux/amd64", "linux/arm64"}
    assert {each.root.digest for each in lost} == {root.digest}
    storage.commit(replace(lost[0], reference=parse_reference("again:1")))
    assert seen(storage).unnamed == {lost[1].manifest.digest}, "what got a name has it alone"
    assert storage.prune() == ()


def test_a_name_that_moves_to_and_fro_leaves_one_of_each(storage: OciStorage) -> None:
    for image in (ARM64, NEWER, ARM64, NEWER, ARM64):
        store(storage, image, "app:1")
        store(storage, image, "app:2")
    assert seen(storage).unnamed == {NEWER.manifest.digest}


def test_a_further_name_keeps_it(storage: OciStorage) -> None:
    store(storage, ARM64, "app:1")
    store(storage, ARM64, "app:2")
    store(storage, NEWER, "app:1")
    assert not seen(storage).unnamed
    storage.untag(parse_reference("app:2"))
    assert seen(storage).unnamed == {ARM64.manifest.digest}
    storage.untag(NAME, parse("linux/arm64"))
    assert seen(storage).names == {}
    with pytest.raises(NotFoundError):
        storage.untag(NAME)
    for digest in sorted(seen(storage).unnamed):
        assert storage.remove(unnamed(digest))
    assert blobs_in(storage.directory) == set()


def test_a_name_that_has_moved_meanwhile_is_not_discarded(storage: OciStorage, open_at: Opener) -> None:
    store(storage, ARM64, "app:1")
    looked_at = tuple(storage.images())
    store(open_at(), NEWER, "app:1")
    storage.discard(looked_at)
    assert seen(storage).names == {str(NAME): {NEWER.manifest.digest}}
    assert seen(storage).unnamed == {ARM64.manifest.digest}


def test_a_name_that_got_a_platform_meanwhile_is_not_discarded(storage: OciStorage, open_at: Opener) -> None:
    root = index_document([replace(each.manifest.descriptor, platform=each.platform) for each in (AMD64, ARM64)])
    store(storage, AMD64, "app:1", root)
    looked_at = tuple(storage.images())
    store(open_at(), ARM64, "app:1", root)
    storage.discard(looked_at)
    assert len(seen(storage).names[str(NAME)]) == 2


def test_a_dry_run_tells_what_would_go_and_changes_nothing(storage: OciStorage, open_at: Opener) -> None:
    store(storage, ARM64, "app:1")
    store(storage, NEWER, "app:2")
    going = storage.find(NAME)
    before = (storage.directory / "index.json").read_bytes(), blobs_in(storage.directory)
    told = storage.discard(going, dry_run=True)
    assert ((storage.directory / "index.json").read_bytes(), blobs_in(storage.directory)) == before
    assert open_at().discard(going) == told
    assert {digest for digest, _ in told} == before[1] - blobs_in(storage.directory)


def test_elsewhere_what_lost_its_name_is_not_kept(storage: OciStorage) -> None:
    elsewhere = OciStorage(storage.directory, sync=False, keep_unnamed=False)
    store(elsewhere, ARM64, "app:1")
    store(elsewhere, NEWER, "app:1")
    elsewhere.close()
    assert not seen(storage).unnamed
    assert storage.prune()
