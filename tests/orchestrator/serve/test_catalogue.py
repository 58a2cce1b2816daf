"""Under which names a repository is offered."""

from __future__ import annotations

import pytest

from polyarch.reference import Reference
from polyarch.serve.catalogue import catalogue_of
from support.small_images import SmallStorage

DIGEST = "sha256:" + "0" * 64


def offered(storage: SmallStorage) -> dict[str, str]:
    return {name: repository.name for name, repository in catalogue_of(storage).repositories.items()}


@pytest.mark.parametrize(
    ("held", "asked", "found"),
    [
        (["busybox:1"], "busybox", "docker.io/library/busybox"),
        (["busybox:1"], "library/busybox", "docker.io/library/busybox"),
        (["busybox:1"], "docker.io/library/busybox", "docker.io/library/busybox"),
        (["busybox:1"], "docker.io/busybox", None),
        (["zavy86/clock:1"], "zavy86/clock", "docker.io/zavy86/clock"),
        (["zavy86/clock:1"], "clock", None),
        (["ghcr.io/a/b:1"], "ghcr.io/a/b", "ghcr.io/a/b"),
        (["ghcr.io/a/b:1"], "a/b", "ghcr.io/a/b"),
        (["ghcr.io/a/b:1"], "b", None),
        (["ghcr.io/a/b:1", "a/b:2"], "a/b", "docker.io/a/b"),
        (["a/b:2", "ghcr.io/a/b:1"], "a/b", "docker.io/a/b"),
        (["ghcr.io/a/b:1", "quay.io/a/b:1"], "a/b", None),
        (["ghcr.io/a/b:1", "quay.io/a/b:1"], "quay.io/a/b", "quay.io/a/b"),
        (["quay.io/busybox:1"], "busybox", "quay.io/busybox"),
        (["quay.io/busybox:1", "busybox:1"], "busybox", "docker.io/library/busybox"),
        (["localhost:5000/app:1"], "app", "localhost:5000/app"),
        (["localhost:5000/app:1"], "localhost_5000/app", "localhost:5000/app"),
        (["localhost/app:1"], "localhost/app", "localhost/app"),
        (["LocalHost:5000/app:1"], "localhost_5000/app", "LocalHost:5000/app"),
        (["LocalHost:5000/app:1", "localhost:5000/app:1"], "localhost_5000/app", None),
        (["[::1]:5000/app:1"], "1__5000/app", "[::1]:5000/app"),
        (["[2001:db8::1]:5000/app:1"], "2001_db8__1__5000/app", "[2001:db8::1]:5000/app"),
        ([f"busybox@{DIGEST}"], "busybox", "docker.io/library/busybox"),
        ([], "busybox", None),
    ],
)
def test_the_names_of_a_repository(small_storage: SmallStorage, held: list[str], asked: str, found: str | None) -> None:
    for name in held:
        small_storage.add(name, [small_storage.manifest("linux/amd64")])
    assert offered(small_storage).get(asked) == found


@pytest.mark.parametrize(
    ("asked", "registry", "found"),
    [
        ("a/b", None, "docker.io/a/b"),
        ("a/b", "docker.io", "docker.io/a/b"),
        ("a/b", "ghcr.io", "ghcr.io/a/b"),
        ("a/b", "quay.io", None),
        ("c", "localhost:5000", "localhost:5000/c"),
        ("library/busybox", "docker.io", "docker.io/library/busybox"),
        ("library/busybox", "quay.io", None),
    ],
)
def test_a_mirror_is_told_the_registry(
    small_storage: SmallStorage, asked: str, registry: str | None, found: str | None
) -> None:
    for name in ("a/b:1", "ghcr.io/a/b:1", "localhost:5000/c", "busybox"):
        small_storage.add(name, [small_storage.manifest("linux/amd64")])
    repository = catalogue_of(small_storage).find(asked, registry)
    assert (repository.name if repository else None) == found


def test_the_catalogue_lists_each_repository_once_by_its_best_name(small_storage: SmallStorage) -> None:
    for name in ("busybox:1", "busybox:2", "a/b:1", "ghcr.io/a/b:1", "localhost:5000/c:1"):
        small_storage.add(name, [small_storage.manifest("linux/amd64")])
    assert catalogue_of(small_storage).names == ("a/b", "busybox", "ghcr.io/a/b", "localhost_5000/c")


def test_names_of_a_plugins_scheme_are_not_served(small_storage: SmallStorage) -> None:
    small_storage.add("busybox:1", [small_storage.manifest("linux/amd64")])
    from dataclasses import replace

    small_storage.listed = [
        replace(image, reference=Reference("", "/some/folder", "1", scheme="attic")) for image in small_storage.listed
    ]
    assert offered(small_storage) == {}


def test_blobs_and_documents_belong_to_their_repository(small_storage: SmallStorage) -> None:
    small_storage.add("one:1", [small_storage.manifest("linux/amd64", [b"first"])])
    small_storage.add("two:1", [small_storage.manifest("linux/amd64", [b"second"])])
    one, two = (catalogue_of(small_storage).repositories[name] for name in ("one", "two"))
    first, second = (image.manifest for image in small_storage.listed)
    assert first.layers[0].digest in one.blobs
    assert second.layers[0].digest not in one.blobs
    assert second.layers[0].digest in two.blobs
    assert first.digest in one.documents
    assert first.digest not in two.documents
