"""From names to candidates: indexes of all shapes, single manifests, names by convention."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from polyarch.contract import TagProposal
from polyarch.errors import IntegrityError, NotFoundError, NoVariantError
from polyarch.oci.media_types import OCI_INDEX
from polyarch.reference import Reference, parse_reference
from polyarch.resolution.documents import Documents
from polyarch.resolution.resolve import Resolution, resolve
from polyarch.selection.types import Target
from polyarch_platforms.compatibility import asked
from polyarch_platforms.platform import Platform, parse
from support.listing_registry import ListingRegistry, MemoryRegistry

ARM64 = {"os": "linux", "architecture": "arm64"}
AMD64 = {"os": "linux", "architecture": "amd64"}
V7 = {"os": "linux", "architecture": "arm", "variant": "v7"}


class Suffix:
    """`1.0-arm64`, in the same repository."""

    def propose(self, reference: Reference, platform: Platform) -> Iterable[TagProposal]:
        yield TagProposal(reference.with_tag(f"{reference.tag}-{platform.architecture}"), platform)


class Neighbour:
    """`app-arm64`, in another repository."""

    def propose(self, reference: Reference, platform: Platform) -> Iterable[TagProposal]:
        name = parse_reference(f"{reference.name}-{platform.architecture}:{reference.tag}")
        yield TagProposal(name, platform)


class Many:
    """Far too many other repositories."""

    def propose(self, reference: Reference, platform: Platform) -> Iterable[TagProposal]:
        for i in range(500):
            yield TagProposal(parse_reference(f"app{i}:1"), platform)


def run(registry: MemoryRegistry, name: str, platform: str = "linux/arm64", *conventions: object) -> Resolution:
    target = Target(platform, parse(platform), asked(parse(platform)))
    return resolve(Documents(registry), parse_reference(name), target, "auto", conventions)  # type: ignore[arg-type]


def platforms(resolution: Resolution) -> list[str]:
    return [str(verdict.candidate.platform) for verdict in resolution.selection.verdicts]


def test_an_index_costs_two_requests() -> None:
    registry = MemoryRegistry()
    entries = [{**registry.add_manifest(p, b"layer"), "platform": p} for p in (AMD64, ARM64, V7)]
    registry.name("docker.io/library/app:1", registry.add_index(*entries))
    resolution = run(registry, "app:1")
    assert platforms(resolution) == ["linux/amd64", "linux/arm64", "linux/arm/v7"]
    assert resolution.manifest.digest == entries[1]["digest"]
    assert resolution.chosen.candidate.source == "index"
    assert registry.requests == ["GET 1", f"GET {entries[1]['digest']}"]


def test_entries_without_a_platform_are_asked_for_their_configs() -> None:
    registry = MemoryRegistry()
    registry.name(
        "docker.io/library/app:1", registry.add_index(registry.add_manifest(AMD64), registry.add_manifest(ARM64))
    )
    resolution = run(registry, "app:1")
    assert platforms(resolution) == ["linux/amd64", "linux/arm64"]
    assert str(resolution.chosen.candidate.platform) == "linux/arm64"


def test_an_index_within_an_index_is_opened() -> None:
    registry = MemoryRegistry()
    inner = registry.add_index({**registry.add_manifest(ARM64), "platform": ARM64})
    registry.name(
        "docker.io/library/app:1", registry.add_index({**registry.add_manifest(AMD64), "platform": AMD64}, inner)
    )
    resolution = run(registry, "app:1")
    assert platforms(resolution) == ["linux/amd64", "linux/arm64"]
    assert resolution.root.digest == registry.names["docker.io/library/app:1"]


def test_indexes_that_nest_too_deep_are_refused() -> None:
    registry = MemoryRegistry()
    document = registry.add_index({**registry.add_manifest(ARM64), "platform": ARM64})
    for _ in range(4):
        document = registry.add_index(document)
    registry.name("docker.io/library/app:1", document)
    with pytest.raises(IntegrityError, match="nest deeper than 4"):
        run(registry, "app:1")


def test_attestations_artifacts_and_unknown_media_types_are_no_candidates() -> None:
    registry = MemoryRegistry()
    good = {**registry.add_manifest(ARM64), "platform": ARM64}
    attestation = {
        **registry.add_manifest({"os": "unknown", "architecture": "unknown"}),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
    }
    signature = {**registry.add_manifest(AMD64), "artifactType": "application/vnd.example.signature"}
    strange = {**registry.add_manifest(AMD64), "mediaType": "application/vnd.example.new+json"}
    registry.name("docker.io/library/app:1", registry.add_index(attestation, signature, strange, good))
    assert platforms(run(registry, "app:1")) == ["linux/arm64"]


def test_an_entry_that_is_listed_twice_is_one_candidate() -> None:
    registry = MemoryRegistry()
    entry = {**registry.add_manifest(ARM64), "platform": ARM64}
    registry.name("docker.io/library/app:1", registry.add_index(entry, entry))
    assert platforms(run(registry, "app:1")) == ["linux/arm64"]


def test_a_single_manifest_that_fits_needs_no_probing() -> None:
    registry = ListingRegistry()
    registry.name("docker.io/library/app:1", registry.add_manifest(ARM64))
    resolution = run(registry, "app:1", "linux/arm64", Suffix(), Neighbour())
    assert resolution.chosen.candidate.source == "manifest"
    assert not [request for request in registry.requests if request.startswith(("TAGS", "HEAD"))]


def test_a_tag_by_convention_is_found_where_the_tag_does_not_exist() -> None:
    registry = ListingRegistry()
    registry.name("docker.io/library/app:1-arm64", registry.add_manifest(ARM64))
    registry.name("docker.io/library/app:1-amd64", registry.add_manifest(AMD64))
    resolution = run(registry, "app:1", "linux/arm64", Suffix())
    assert resolution.chosen.candidate.source == "tag"
    assert resolution.chosen.candidate.reference.tag == "1-arm64"
    assert registry.requests.count("TAGS library/app") == 1


def test_a_tag_by_convention_is_found_where_the_single_manifest_does_not_fit() -> None:
    registry = ListingRegistry()
    registry.name("docker.io/library/app:1", registry.add_manifest(AMD64))
    registry.name("docker.io/library/app:1-arm64", registry.add_manifest(ARM64))
    resolution = run(registry, "app:1", "linux/arm64", Suffix())
    assert platforms(resolution) == ["linux/amd64", "linux/arm64"]
    assert resolution.chosen.candidate.reference.tag == "1-arm64"


def test_the_config_decides_what_a_tag_by_convention_holds() -> None:
    registry = ListingRegistry()
    registry.name("docker.io/library/app:1-arm64", registry.add_manifest(AMD64))
    with pytest.raises(NoVariantError, match=r"no variant can run on linux/arm64 \(variants: linux/amd64\)"):
        run(registry, "app:1", "linux/arm64", Suffix())


def test_a_neighbouring_repository_is_found_without_a_tag_list() -> None:
    registry = MemoryRegistry()
    registry.name("docker.io/library/app-arm64:1", registry.add_manifest(ARM64))
    resolution = run(registry, "app:1", "linux/arm64", Neighbour())
    assert str(resolution.chosen.candidate.reference) == "docker.io/library/app-arm64:1"


def test_what_exists_nowhere_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        run(ListingRegistry(), "app:1", "linux/arm64", Suffix(), Neighbour())


def test_a_digest_is_never_looked_for_under_other_names() -> None:
    registry = ListingRegistry()
    registry.name("docker.io/library/app:1-arm64", registry.add_manifest(ARM64))
    with pytest.raises(NotFoundError):
        run(registry, "app:1@sha256:" + "0" * 64, "linux/arm64", Suffix())
    assert "TAGS library/app" not in registry.requests


def test_probing_other_repositories_is_bounded() -> None:
    registry = MemoryRegistry()
    with pytest.raises(NotFoundError):
        run(registry, "app:1", "linux/arm64", Many())
    assert len(registry.requests) <= 25


def test_that_bound_leaves_the_tags_of_the_same_repository_out() -> None:
    registry = ListingRegistry()
    registry.name("docker.io/library/app:1-arm64", registry.add_manifest(ARM64))
    resolution = run(registry, "app:1", "linux/arm64", Many(), Suffix())
    assert resolution.chosen.candidate.reference.tag == "1-arm64"


def test_an_index_without_images_says_so() -> None:
    registry = MemoryRegistry()
    registry.name("docker.io/library/app:1", registry.add_index())
    with pytest.raises(NoVariantError, match="variants: none"):
        run(registry, "app:1")


def test_a_document_with_another_digest_than_promised_is_refused() -> None:
    registry = MemoryRegistry()
    entry = {**registry.add_manifest(ARM64), "platform": ARM64}
    registry.name("docker.io/library/app:1", registry.add_index(entry))
    registry.documents[str(entry["digest"])] += b" "
    with pytest.raises(IntegrityError, match="was promised"):
        run(registry, "app:1")


def test_a_config_with_another_digest_than_promised_is_refused() -> None:
    registry = MemoryRegistry()
    registry.name("docker.io/library/app:1", registry.add_manifest(ARM64))
    config = next(iter(registry.blobs))
    registry.blobs[config] = registry.blobs[config].replace(b"linux", b"l1nux")
    with pytest.raises(IntegrityError, match=r"config .* was promised"):
        run(registry, "app:1")


def test_a_config_that_is_larger_than_promised_is_not_read_to_its_end() -> None:
    registry = MemoryRegistry()
    config = registry.add_blob(json.dumps(ARM64).encode())
    config["size"] = 5
    manifest = {"schemaVersion": 2, "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config}}
    registry.name("docker.io/library/app:1", registry.add_document({**manifest, "layers": []}))
    with pytest.raises(IntegrityError, match="5 bytes were promised"):
        run(registry, "app:1")


def test_a_known_name_that_did_not_change_costs_one_head() -> None:
    registry = MemoryRegistry()
    entry = {**registry.add_manifest(ARM64, b"layer"), "platform": ARM64}
    registry.name("docker.io/library/app:1", registry.add_index(entry))

    class Local:
        def open_blob(self, digest: str) -> object:
            from io import BytesIO

            if digest in registry.documents:
                return BytesIO(registry.documents[digest])
            raise NotFoundError(digest)

    target = Target("x", parse("linux/arm64"), asked(parse("linux/arm64")))
    documents = Documents(registry, Local())  # type: ignore[arg-type]
    resolve(documents, parse_reference("app:1"), target, "auto", (), known=True)
    assert registry.requests == ["HEAD 1"]


def test_media_type_of_the_root_is_kept() -> None:
    registry = MemoryRegistry()
    registry.name("docker.io/library/app:1", registry.add_index({**registry.add_manifest(ARM64), "platform": ARM64}))
    assert run(registry, "app:1").root.media_type == OCI_INDEX
