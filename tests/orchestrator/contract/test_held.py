"""Images under names of their own: which one a reference means, and what it is called then."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from polyarch.contract.held import HeldImages, Located, locate_file
from polyarch.errors import IntegrityError, NotFoundError, UsageError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.oci.held import CONTAINERD_NAME, POLYARCH_NAME, REF_NAME, ROOT, HeldImage, held_images
from polyarch.oci.media_types import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from polyarch.reference import Reference, parse_reference

LAYER = b"layer"


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


@dataclass
class Place:
    """Blobs by digest, and images."""

    where: str = "/srv/place"
    images: tuple[HeldImage, ...] = ()
    blobs: dict[str, bytes] = field(default_factory=dict)
    closed: int = 0

    def add(self, raw: bytes, media_type: str) -> Descriptor:
        self.blobs[digest_of(raw)] = raw
        return Descriptor(media_type, digest_of(raw), len(raw))

    def image(self, text: str) -> Descriptor:
        config = self.add(encoded({"os": "linux", "architecture": "arm64", "author": text}), OCI_CONFIG)
        layers = [self.add(LAYER, OCI_LAYER).to_json()]
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config.to_json(), "layers": layers}
        return self.add(encoded(manifest), OCI_MANIFEST)

    def index(self, *entries: Descriptor) -> Descriptor:
        manifests = [entry.to_json() for entry in entries]
        return self.add(encoded({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}), OCI_INDEX)

    def size(self, digest: str) -> int | None:
        return len(self.blobs[digest]) if digest in self.blobs else None

    def read(self, digest: str, limit: int) -> bytes:
        if digest not in self.blobs:
            raise NotFoundError(f"no {digest}")
        return self.blobs[digest]

    def chunks(self, digest: str, offset: int) -> Iterator[bytes]:
        yield self.read(digest, 0)[offset:]

    def close(self) -> None:
        self.closed += 1


def held(*entries: Mapping[str, str] | tuple[str, ...]) -> tuple[HeldImages, Place]:
    """A registry over one place: an image for each set of names, or of annotations."""
    place = Place()
    found = []
    for number, entry in enumerate(entries):
        root = place.image(str(number))
        if isinstance(entry, tuple):
            found.append(HeldImage(root, entry))
        else:
            found += held_images([replace(root, annotations=entry)])
    place.images = tuple(found)

    def locate(text: str) -> Located:
        name, _, wanted = text.partition(":")
        return Located(name, name, wanted)

    return HeldImages(locate, lambda name: place), place


def ref(text: str) -> Reference:
    return parse_reference(f"at:{text}", {"at"})


MANY = (("docker.io/library/busybox:1.36",), ("1.0",), ("ghcr.io/a/b:2.0", "2.0"), ("localhost:5000/c",))


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        ("docker.io/library/busybox:1.36", 0),
        ("busybox:1.36", 0),
        ("library/busybox:1.36", 0),
        ("1.36", 0),
        ("1.0", 1),
        ("2.0", 2),
        ("ghcr.io/a/b:2.0", 2),
        ("localhost:5000/c", 3),
        ("localhost:5000/c:latest", 3),
        ("latest", 3),
        ("nothing", None),
        ("busybox", None),
        ("busybox:1.35", None),
        ("ghcr.io/a/b", None),
        ("1.0:1.0", None),
        ("+", None),
    ],
)
def test_which_image_a_name_means(wanted: str, number: int | None) -> None:
    registry, place = held(*MANY)
    if number is None:
        with pytest.raises(NotFoundError, match=r"is not in /srv/place \(there are: docker.io/library/busybox:1.36, 1"):
            registry.get(ref(f"x:{wanted}"))
    else:
        expected = place.images[number].root
        assert registry.get(ref(f"x:{wanted}")).digest == expected.digest
        assert registry.head(ref(f"x:{wanted}")) == expected


def test_without_a_name_there_has_to_be_one() -> None:
    registry, place = held(("a:1",))
    assert registry.get(ref("x")).digest == place.images[0].root.digest
    registry, place = held(("a:1",), ())
    with pytest.raises(UsageError, match=r"/srv/place holds several images \(there are: a:1\)") as caught:
        registry.get(ref("x"))
    assert caught.value.hint == f"name one: at:/srv/place:a:1, or at:/srv/place@{place.images[0].root.digest}"
    with pytest.raises(NotFoundError, match="holds no image"):
        held()[0].get(ref("x"))


def test_several_names_of_one_image_are_one() -> None:
    registry, place = held(("a:1", "b:2"))
    place.images = (*place.images, replace(place.images[0], names=("c:3",)))
    assert registry.get(ref("x")).digest == place.images[0].root.digest


def test_a_tag_of_two_names_has_to_be_said_whole() -> None:
    registry, _ = held(("a:1",), ("b:1",))
    with pytest.raises(UsageError, match="several images"):
        registry.get(ref("x:1"))
    assert registry.get(ref("x:b:1"))


def test_many_names_are_cut() -> None:
    registry, _ = held(*((f"a:{number}",) for number in range(40)))
    with pytest.raises(NotFoundError, match=r"a:19 and 20 more\)"):
        registry.get(ref("x:b"))


@pytest.mark.parametrize(
    ("names", "text", "name"),
    [
        (("docker.io/library/busybox:1.36",), "x", "busybox:1.36"),
        (("busybox:1.36",), "x:1.36", "busybox:1.36"),
        (("ghcr.io/a/b:2.0", "2.0"), "x", "ghcr.io/a/b:2.0"),
        (("a:1", "b:2", "c/d:2"), "x:b:2", "b:2"),
        (("a:1", "b:2", "c/d:2"), "x:c/d:2", "c/d:2"),
        (("a:1", "b:2", "c/d:2"), "x", "a:1"),
        (("a:1", "b:2"), "x:2", "b:2"),
        (("1.0",), "x:1.0", "localhost/x:1.0"),
        (("1.0",), "x", "localhost/x:1.0"),
        (("1.0+b",), "x", "localhost/x:latest"),
        ((), "x", "localhost/x:latest"),
        ((), "My Image_2.tar.gz", "localhost/my-image-2:latest"),
        ((), "büsy.oci.tar", "localhost/b-sy:latest"),
        ((), "日本", "localhost/image:latest"),
        ((), "/", "localhost/image:latest"),
        ((), ".tar", "localhost/image:latest"),
    ],
)
def test_what_an_image_is_called(names: tuple[str, ...], text: str, name: str) -> None:
    registry, place = held(names)
    assert registry.kept_name(ref(text)) == parse_reference(name)
    digest = place.images[0].root.digest
    assert registry.kept_name(ref(text).with_digest(digest)) == replace(parse_reference(name), digest=digest)


def test_a_digest_outweighs_a_name() -> None:
    registry, place = held(("a:1",), ("b:2",))
    other = place.images[1].root.digest
    assert registry.get(ref("x:a:1").with_digest(other)).digest == other
    assert registry.kept_name(ref("x:a:1").with_digest(other)).familiar_name == "b"


def test_a_digest_further_in() -> None:
    registry, place = held()
    inner = place.image("inner")
    place.images = (HeldImage(place.index(inner), ("a:1",)),)
    assert registry.get(ref("x:1").with_digest(inner.digest)).digest == inner.digest
    assert registry.kept_name(ref("x:1").with_digest(inner.digest)) == parse_reference(f"a:1@{inner.digest}")
    assert registry.kept_name(ref(f"x@{inner.digest}")) == Reference("localhost", "x", "", inner.digest)


def test_what_an_index_lists_may_lack() -> None:
    registry, _ = held(("a:1",))
    with pytest.raises(NotFoundError, match="is not in /srv/place") as caught:
        registry.get(ref("x").with_digest(digest_of(b"nothing")))
    assert "--platform" in str(caught.value.hint)


def test_a_changed_document_is_refused() -> None:
    registry, place = held(("a:1",))
    root = place.images[0].root.digest
    place.blobs[root] = place.blobs[root].replace(b"2", b"2 ", 1)
    with pytest.raises(IntegrityError, match="was promised"):
        registry.get(ref("x"))


@pytest.mark.parametrize(
    ("annotations", "names"),
    [
        ({}, ()),
        ({REF_NAME: "1.0"}, ("1.0",)),
        ({REF_NAME: "1.0", CONTAINERD_NAME: "ghcr.io/a/b:1.0"}, ("ghcr.io/a/b:1.0", "1.0")),
        ({CONTAINERD_NAME: "a:1", REF_NAME: "a:1"}, ("a:1",)),
        ({POLYARCH_NAME: "a__b:1"}, ("a__b:1",)),
    ],
)
def test_names_in_an_index(annotations: dict[str, str], names: tuple[str, ...]) -> None:
    assert held(annotations)[1].images[0].names == names


class TestOrigin:
    """What polyarch took from a registry is handed on as it was there, if all of it is here."""

    def place(self, *, whole: bool) -> tuple[HeldImages, Place, Descriptor]:
        registry, place = held()
        here, other = place.image("here"), place.image("other")
        index = place.index(here, other)
        if not whole:
            del place.blobs[other.digest]
        place.images = held_images([replace(here, annotations={REF_NAME: "a:1", ROOT: index.digest})])
        return registry, place, index

    def test_whole(self) -> None:
        registry, _, index = self.place(whole=True)
        assert registry.head(ref("x")) == index
        assert registry.get(ref("x")).digest == index.digest

    def test_in_part(self) -> None:
        registry, place, index = self.place(whole=False)
        assert registry.get(ref("x")).digest == place.images[0].root.digest != index.digest
        assert registry.get(ref("x").with_digest(index.digest)).digest == index.digest
        assert registry.kept_name(ref("x").with_digest(index.digest)) == parse_reference(f"a:1@{index.digest}")

    def test_changed(self) -> None:
        registry, place, index = self.place(whole=True)
        place.blobs[index.digest] = place.blobs[index.digest].replace(b"2", b"2 ", 1)
        with pytest.raises(IntegrityError, match="is damaged"):
            registry.get(ref("x"))

    def test_nonsense(self) -> None:
        registry, place = held({REF_NAME: "a:1", ROOT: "nonsense"})
        assert registry.get(ref("x")).digest == place.images[0].root.digest


def test_tags() -> None:
    registry, _ = held(("ghcr.io/a/b:1", "1"), ("ghcr.io/a/b:2",), ("c:3",))
    assert list(registry.tags(ref("x"))) == ["ghcr.io/a/b:1", "1", "ghcr.io/a/b:2", "c:3"]
    assert list(registry.tags(ref("x:ghcr.io/a/b"))) == ["1", "2"]
    assert list(registry.tags(ref("x:ghcr.io/a/b:1"))) == ["1", "2"]
    assert list(registry.tags(ref("x:c:3"))) == ["3"]
    with pytest.raises(NotFoundError, match="'d/e' is not in"):
        registry.tags(ref("x:d/e:1"))


def test_blobs() -> None:
    registry, place = held(("a:1",))
    blob = Descriptor(OCI_LAYER, digest_of(LAYER), len(LAYER))
    for offset in (0, 2, 5):
        with registry.open_blob(ref("x:a:1"), blob, offset) as stream:
            assert (stream.offset, b"".join(map(bytes, stream.chunks))) == (offset, LAYER[offset:])
    with pytest.raises(NotFoundError), registry.open_blob(ref("x"), replace(blob, digest=digest_of(b"")), 0):
        pass
    with pytest.raises(NotFoundError), registry.open_blob(ref("x:b"), blob, 0):
        pass
    registry.close()
    assert place.closed == 1


def test_where_a_files_name_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.tar", "b:1", "b"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setenv("HOME", str(tmp_path))

    def cut(text: str) -> tuple[str, str]:
        located = locate_file(text)
        assert located.base == Path(located.place).name
        return located.place.removeprefix(f"{tmp_path}/"), located.wanted

    assert cut("a.tar") == ("a.tar", "")
    assert cut("a.tar:ghcr.io/x/y:1") == ("a.tar", "ghcr.io/x/y:1")
    assert cut("a.tar:localhost:5000/y") == ("a.tar", "localhost:5000/y")
    assert cut(f"{tmp_path}/a.tar:1") == ("a.tar", "1")
    assert cut("~/a.tar:1") == ("a.tar", "1")
    assert cut("b:1") == ("b:1", "")
    assert cut("b:1:2") == ("b:1", "2")
    assert cut("b:2") == ("b", "2")
    assert cut("none:x:2") == ("none", "x:2")
