"""From names to candidates: indexes of all shapes, single manifests, names by convention."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count

import pytest

from polyarch.contract import TagProposal, TagReading
from polyarch.errors import IntegrityError, NotFoundError, NoVariantError, UnreachableError
from polyarch.oci.media_types import OCI_INDEX
from polyarch.reference import Reference, parse_reference
from polyarch.resolution.candidates import MAX_FOUND, MAX_PROBES, MAX_TAGS, probe_conventions
from polyarch.resolution.conventions import leads
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


class Words:
    """Names with given words in other repositories, and what is read behind a tag of the same one."""

    def __init__(self, **words: str) -> None:
        self.words = words  # word -> certainty

    def propose(self, reference: Reference, platform: Platform) -> Iterable[TagProposal]:
        for word, certainty in self.words.items():
            name = parse_reference(f"{reference.name}-{word}-{platform.architecture}{platform.variant}:{reference.tag}")
            yield TagProposal(name, platform, certainty)  # type: ignore[arg-type]


class Reader:
    """Proposes nothing; reads `VERSION+WORD`."""

    def __init__(self, **words: TagReading) -> None:
        self.words = words

    def propose(self, reference: Reference, platform: Platform) -> Iterable[TagProposal]:
        return ()

    def read(self, tag: str) -> TagReading | None:
        version, _, word = tag.rpartition(".")
        return replace(self.words[word], version=version) if word in self.words else None


def reading(certainty: str, *platforms: str) -> TagReading:
    return TagReading("", tuple(map(parse, platforms)), certainty)  # type: ignore[arg-type]


def probe(registry: MemoryRegistry, conventions: Iterable[object], *platforms: str) -> list[str]:
    """The names whose variants were found, in their order."""
    found = probe_conventions(
        Documents(registry),
        parse_reference("user/app:1"),
        conventions,  # type: ignore[arg-type]
        [parse(platform) for platform in platforms],
    )
    return [each.candidate.reference.familiar for each in found]


def asked_for(registry: MemoryRegistry) -> list[str]:
    return [request for request in registry.requests if request.startswith("HEAD")]


def test_tags_that_a_convention_reads_are_candidates() -> None:
    registry = ListingRegistry()
    registry.name("docker.io/user/app:1.hard", registry.add_manifest(V7))
    registry.name("docker.io/user/app:2.hard", registry.add_manifest(V7))
    reader = Reader(hard=reading("likely", "arm/v7", "arm/v6"))
    assert probe(registry, [reader], "arm64", "arm/v7") == ["user/app:1.hard"]
    assert probe(registry, [reader], "arm64") == []
    assert registry.requests.count("TAGS user/app") == 2


def test_the_config_decides_between_the_platforms_that_a_word_may_mean() -> None:
    registry = ListingRegistry()
    v6 = {"os": "linux", "architecture": "arm", "variant": "v6"}
    registry.name("docker.io/user/app:1.hard", registry.add_manifest(v6))
    resolution = run(registry, "user/app:1", "linux/arm/v7", Reader(hard=reading("likely", "arm/v7", "arm/v6")))
    assert platforms(resolution) == ["linux/arm/v6"]
    assert resolution.chosen.match == "compatible"
    assert resolution.chosen.candidate.source == "tag"


def test_the_order_is_by_platform_then_certainty_and_guesses_come_last() -> None:
    order = [
        lead.reference.repository.removeprefix("user/app-")
        for lead in leads(
            parse_reference("user/app:1"),
            [Words(g="guess", l="likely", s="sure")],  # type: ignore[list-item]
            [parse("arm64"), parse("arm/v7")],
            (),
        )
    ]
    assert order == ["s-arm64", "l-arm64", "s-armv7", "l-armv7", "g-arm64", "g-armv7"]


def test_of_two_opinions_on_a_name_the_better_counts() -> None:
    class Again:
        def propose(self, reference: Reference, platform: Platform) -> Iterable[TagProposal]:
            yield TagProposal(reference.with_tag("1.soft"), platform, "guess")

    conventions = [Again(), Reader(soft=reading("sure", "arm/v7"))]
    places = [parse("arm/v6"), parse("arm/v7")]
    [lead] = leads(parse_reference("user/app:1"), conventions, places, ["1.soft"])  # type: ignore[arg-type]
    assert (lead.weight.guess, lead.place, lead.weight.certainty) == (False, 1, 0)


def test_a_word_stands_where_the_best_of_its_platforms_does() -> None:
    reader = Reader(hard=reading("likely", "arm/v6", "arm/v7"))
    places = [parse("arm64"), parse("arm/v7"), parse("arm/v6")]
    [lead] = leads(parse_reference("user/app:1"), [reader], places, ["1.hard", "2.hard"])
    assert lead.place == 1


def test_what_is_not_in_the_whole_list_is_not_asked_for() -> None:
    registry = ListingRegistry()
    registry.name("docker.io/user/app:2", registry.add_manifest(ARM64))
    assert probe(registry, [Suffix()], "arm64", "arm/v7") == []
    assert registry.requests == ["TAGS user/app"]


def test_names_are_asked_for_until_a_platform_is_found_that_none_is_better_than() -> None:
    registry = MemoryRegistry()
    registry.name("docker.io/user/app-s-armv7:1", registry.add_manifest(V7))
    names = probe(registry, [Words(g="guess", l="likely", s="sure")], "arm64", "arm/v7", "arm/v6", "amd64")
    assert names == ["user/app-s-armv7:1"]
    # three for arm64 (the guess at the end), one for arm/v7; no further one for arm/v7, none for arm/v6 and amd64
    assert len(asked_for(registry)) == 4


def test_a_name_that_holds_something_else_ends_no_search() -> None:
    registry = MemoryRegistry()
    registry.name("docker.io/user/app-s-arm64:1", registry.add_manifest(AMD64))
    registry.name("docker.io/user/app-l-arm64:1", registry.add_manifest(ARM64))
    names = probe(registry, [Words(l="likely", s="sure")], "arm64", "arm/v7")
    assert names == ["user/app-s-arm64:1", "user/app-l-arm64:1"]


def test_a_guess_is_opened_only_where_nothing_as_good_was_found() -> None:
    registry = ListingRegistry()
    registry.name("docker.io/user/app:1.board", registry.add_manifest(ARM64))
    reader = Reader(board=reading("guess", "arm/v6", "arm64"), hard=reading("sure", "arm/v7"))
    assert probe(registry, [reader], "arm64", "arm/v7") == ["user/app:1.board"]
    registry.name("docker.io/user/app:1.hard", registry.add_manifest(V7))
    assert probe(registry, [reader], "arm64", "arm/v7") == ["user/app:1.hard", "user/app:1.board"]
    assert probe(registry, [reader], "arm/v7", "arm64") == ["user/app:1.hard"]


def test_without_a_list_the_surest_names_are_asked_for_first_and_not_too_many() -> None:
    registry = MemoryRegistry()
    likely = {f"l{i}": "likely" for i in range(40)}
    registry.name("docker.io/user/app-s-arm64:1", registry.add_manifest(ARM64))
    assert probe(registry, [Words(**likely, s="sure")], "arm64") == ["user/app-s-arm64:1"]
    assert len(asked_for(registry)) == 1
    registry = MemoryRegistry()
    assert probe(registry, [Words(**likely, s="sure")], "arm64") == []
    assert len(asked_for(registry)) == MAX_PROBES


def test_a_long_list_is_read_to_its_bound_and_the_rest_is_asked_for() -> None:
    class Endless(ListingRegistry):
        given = 0

        def tags(self, reference: Reference) -> Iterator[str]:
            for number in count():
                self.given += 1
                yield f"build-{number}"

    registry = Endless()
    registry.name("docker.io/user/app:1-arm64", registry.add_manifest(ARM64))
    assert probe(registry, [Suffix()], "arm64") == ["user/app:1-arm64"]
    assert registry.given == MAX_TAGS + 1
    assert len(asked_for(registry)) == 1


def test_a_list_of_tags_that_cannot_be_had_is_no_reason_to_give_up() -> None:
    class Refusing(ListingRegistry):
        def tags(self, reference: Reference) -> Iterator[str]:
            raise UnreachableError("no list here")

    registry = Refusing()
    registry.name("docker.io/user/app:1-arm64", registry.add_manifest(ARM64))
    assert probe(registry, [Suffix()], "arm64") == ["user/app:1-arm64"]


def test_so_many_tags_of_one_repository_are_opened_at_most() -> None:
    registry = ListingRegistry()
    manifest = registry.add_manifest(V7)
    words = {f"w{i}": reading("sure", "arm/v7") for i in range(200)}
    for word in words:
        registry.name(f"docker.io/user/app:1.{word}", manifest)
    assert len(probe(registry, [Reader(**words)], "arm/v7")) == MAX_FOUND


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
