"""The image layout, written here and by skopeo (OCI image-spec, image-layout.md 1.0.0)."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.errors import IntegrityError, NotFoundError, PolyarchError, StorageError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Index, Manifest
from polyarch.oci.layout import MAX_INDEX_JSON_SIZE, MAX_NAMES, Layout
from polyarch.oci.media_types import OCI_INDEX, OCI_MANIFEST
from support.memory_registry import MadeImage, made_image

REF_NAME = "org.opencontainers.image.ref.name"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "layout")
    made.create()
    return made


def _named(image: MadeImage, name: str) -> Descriptor:
    manifest = image.manifest
    return Descriptor(manifest.media_type, manifest.digest, len(manifest.raw), None, {REF_NAME: name})


def test_an_empty_layout(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "a" / "b")
    assert not layout.exists()
    before = os.umask(0o077)
    layout.create(0o755)
    os.umask(before)
    assert layout.exists()
    assert layout.entries() == ()
    assert json.loads((layout.directory / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert sorted(path.name for path in layout.directory.iterdir()) == ["blobs", "index.json", "oci-layout"]
    assert stat.S_IMODE((layout.directory / "blobs").stat().st_mode) == 0o755
    assert stat.S_IMODE((layout.directory / "index.json").stat().st_mode) == 0o644


def test_making_a_layout_again_changes_nothing(layout: Layout) -> None:
    layout.write_index([_named(made_image("arm64"), "a")])
    layout.create()
    assert len(layout.entries()) == 1


def test_documents_are_read_again_as_they_came(layout: Layout) -> None:
    image = made_image("arm64", b"layer")
    assert layout.write_document(image.manifest.raw) == image.manifest.digest
    layout.write_index([_named(image, "a:1")])
    (entry,) = layout.entries()
    assert entry.annotations == {REF_NAME: "a:1"}
    document = layout.read_document(entry)
    assert document == image.manifest
    assert isinstance(layout.index(), Index)
    assert layout.has_blob(entry)
    with layout.open_blob(entry.digest) as stream:
        assert stream.read() == image.manifest.raw
        assert stream.seek(0) == 0


def test_a_damaged_document_is_written_again(layout: Layout) -> None:
    raw = made_image("arm64").manifest.raw
    path = layout.blob_path(layout.write_document(raw))
    for damaged in (b"", raw[:-1] + b"?"):
        path.write_bytes(damaged)
        layout.write_document(raw)
        assert path.read_bytes() == raw


def test_entries_of_other_tools_keep_every_field(layout: Layout) -> None:
    theirs = {
        "mediaType": OCI_MANIFEST,
        "digest": digest_of(b"theirs"),
        "size": 6,
        "data": "dGhlaXJz",
        "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
        "com.example.more": [1, 2],
    }
    path = layout.directory / "index.json"
    path.write_text(json.dumps({"schemaVersion": 2, "manifests": [theirs], "annotations": {"a": "b"}}))
    layout.write_index([*layout.entries(), _named(made_image("arm64"), "a")])
    document = json.loads(path.read_text())
    assert document["manifests"][0] == theirs
    assert document["annotations"] == {"a": "b"}
    layout.write_index(layout.entries()[1:])
    assert [entry.annotations for entry in layout.entries()] == [{REF_NAME: "a"}]


def _spoil(name: str, content: bytes | None) -> Callable[[Layout], None]:
    def spoil(layout: Layout) -> None:
        path = layout.directory / name
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    return spoil


def _index_with(count: int, padding: int = 0) -> bytes:
    entry = {"mediaType": OCI_MANIFEST, "digest": digest_of(b""), "size": 0, "annotations": {"a": "x" * padding}}
    return json.dumps({"schemaVersion": 2, "manifests": [entry] * count}).encode()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_spoil("oci-layout", None), "is no OCI image layout: "),
        (_spoil("oci-layout", b""), "is no OCI image layout: oci-layout: not JSON"),
        (_spoil("oci-layout", b"[]"), "is no OCI image layout"),
        (_spoil("oci-layout", b"{}"), "version None, known is 1.0.0"),
        (_spoil("oci-layout", b'{"imageLayoutVersion": "2.0.0"}'), "version 2.0.0, known is 1.0.0"),
        (_spoil("oci-layout", b'{"imageLayoutVersion": "\\u001b[31m"}'), r"version \x1b[31m"),
        (_spoil("oci-layout", b" " * 5000), "larger than 4096 bytes"),
        (_spoil("index.json", None), "index.json is missing"),
        (_spoil("index.json", b""), "damaged: "),
        (_spoil("index.json", b"{}"), "damaged: "),
        (_spoil("index.json", b'{"schemaVersion": 2, "manifests": [{}]}'), "entry 1"),
        (_spoil("index.json", made_image("arm64").manifest.raw), "damaged: "),
        (_spoil("index.json", _index_with(MAX_NAMES + 1)), "20001 entries are more"),
        (_spoil("index.json", b" " * (MAX_INDEX_JSON_SIZE + 1)), "is larger than"),
    ],
)
def test_a_damaged_or_newer_layout_is_told(layout: Layout, spoil: Callable[[Layout], None], said: str) -> None:
    spoil(layout)
    for use in (layout.index, layout.entries, lambda: layout.write_index([])):
        with pytest.raises(StorageError) as caught:
            use()
        assert said in caught.value.message
        assert str(layout.directory) in caught.value.message


def test_an_index_is_not_written_longer_than_it_is_read(layout: Layout) -> None:
    entry = _named(made_image("arm64"), "a")
    with pytest.raises(StorageError, match="more images than it may"):
        layout.write_index([entry] * (MAX_NAMES + 1))
    assert layout.entries() == ()


def test_a_damaged_document_is_told(layout: Layout) -> None:
    image = made_image("arm64")
    path = layout.blob_path(layout.write_document(image.manifest.raw))
    path.write_bytes(image.manifest.raw.replace(b"linux", b"linuX") + b" ")
    with pytest.raises(StorageError, match="is damaged: its digest is"):
        layout.read_document(image.manifest.descriptor)
    path.write_bytes(b" " * (MAX_DOCUMENT_SIZE + 1))
    with pytest.raises(StorageError, match="is larger than"):
        layout.read_document(image.manifest.descriptor)
    path.unlink()
    with pytest.raises(NotFoundError):
        layout.read_document(image.manifest.descriptor)
    path.mkdir()
    with pytest.raises(StorageError, match="not a plain file"):
        layout.open_blob(image.manifest.digest)


def test_a_document_has_the_type_that_was_promised(layout: Layout) -> None:
    image = made_image("arm64")
    layout.write_document(image.manifest.raw)
    wrong = Descriptor(OCI_INDEX, image.manifest.digest, len(image.manifest.raw))
    with pytest.raises(StorageError, match="media type"):
        layout.read_document(wrong)
    layout.write_document(b"{}")
    with pytest.raises(StorageError, match="no manifest and no index"):
        layout.read_document(Descriptor("", digest_of(b"{}"), 2))


def test_a_blob_of_another_size_is_not_here(layout: Layout) -> None:
    digest = layout.write_document(b"12345")
    assert layout.has_blob(Descriptor("", digest, 5))
    assert not layout.has_blob(Descriptor("", digest, 4))
    assert not layout.has_blob(Descriptor("", digest_of(b"other"), 5))


@pytest.mark.parametrize("digest", ["", "sha256:x", "sha256:../../../../etc/passwd", "x:y"])
def test_what_is_no_digest_leads_nowhere(layout: Layout, digest: str) -> None:
    with pytest.raises(IntegrityError):
        layout.blob_path(digest)


def test_a_place_that_cannot_be_written_is_told() -> None:
    with pytest.raises(StorageError, match="cannot make an image layout in /proc/"):
        Layout(Path("/proc/polyarch")).create()


def test_what_skopeo_wrote_is_read(sample_layout: Path, tmp_path: Path) -> None:
    if not shutil.which("skopeo"):
        pytest.skip("skopeo is not installed")
    name = next(entry for entry in Layout(sample_layout).entries() if entry.media_type == OCI_INDEX)
    source = f"oci:{sample_layout}:{name.annotations[REF_NAME]}"
    subprocess.run(
        ["skopeo", "copy", "--insecure-policy", "--quiet", "--all", source, f"oci:{tmp_path}/copy:here"], check=True
    )
    copied = Layout(tmp_path / "copy")
    (entry,) = copied.entries()
    assert entry.annotations == {REF_NAME: "here"}
    index = copied.read_document(entry)
    assert isinstance(index, Index)
    for one in index.manifests:
        manifest = copied.read_document(one)
        assert isinstance(manifest, Manifest)
        assert all(copied.has_blob(blob) for blob in manifest.blobs)


@pytest.mark.parametrize("size", [0, 1, 100, 4000])
def test_reading_cut_files_gives_one_clear_error(layout: Layout, size: int) -> None:
    layout.write_index([_named(made_image("arm64"), f"a:{i}") for i in range(20)])
    path = layout.directory / "index.json"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(PolyarchError) as caught:
        layout.entries()
    assert caught.value.exit_code == 9
