"""What is remembered of images for a list is what they are, as long as nobody touched them."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from polyarch.contract import Layout, LayoutImages, LayoutSummaries, StorageError
from polyarch.contract import layout_summaries as module
from polyarch.contract.layout_summaries import summary_of
from polyarch.contract.storage import ImageSummary
from polyarch.testing.layout_writer import LayoutWriter, regular

ARM64 = {"os": "linux", "architecture": "arm64"}
ARM = {"os": "linux", "architecture": "arm", "variant": "v7"}


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """`one` is a manifest, `two` an index, `again` the same manifest as `one`."""
    monkeypatch.setattr(module, "_clock", lambda: 1 << 62)  # what was just written may be remembered
    writer = LayoutWriter(tmp_path / "layout")
    shared = writer.layer([regular("shared", b"shared")], "shared")
    images = [
        {**writer.image(platform, [shared, writer.layer([regular("own", name)], "own")]), "platform": platform}
        for platform, name in ((ARM64, b"arm64"), (ARM, b"arm"))
    ]
    one = {key: value for key, value in images[0].items() if key != "platform"}
    writer.name("one:1", one)
    writer.name("two:1", writer.index(images))
    writer.name("again:1", one)
    writer.finish()
    return Layout(writer.directory)


def walked(layout: Layout, remembered: bytes = b"") -> tuple[list[ImageSummary], LayoutSummaries]:
    summaries = LayoutSummaries(layout, remembered.splitlines(keepends=True))
    return list(summaries.of(layout.entries())), summaries


def real(layout: Layout) -> list[ImageSummary]:
    images = LayoutImages(layout)
    return [summary_of(image) for entry in layout.entries() for image in images.of(entry)]


def blob_of(layout: Layout, name: str, *keys: str | int) -> Path:
    """A blob that the manifest of `one` names, or itself."""
    (entry,) = [each for each in layout.entries() if name in each.annotations.values()]
    path = layout.blob_path(entry.digest)
    if keys:
        value = json.loads(path.read_bytes())
        for key in keys:
            value = value[key]
        path = layout.blob_path(value["digest"])
    return path


def test_the_second_list_reads_no_document_and_tells_the_same(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    first, summaries = walked(layout)
    assert first == real(layout)
    assert len(first) == 4
    assert summaries.learnt == 2  # of two names for one image the second is known by then
    monkeypatch.setattr(Layout, "read_blob", None)
    second, later = walked(layout, summaries.to_remember())
    assert second == first
    assert later.learnt == 0
    monkeypatch.undo()
    assert walked(layout, later.to_remember())[0] == first


@pytest.mark.parametrize("keys", [(), ("config",)], ids=["manifest", "config"])
def test_a_document_that_was_damaged_since_is_told(layout: Layout, keys: tuple[str, ...]) -> None:
    remembered = walked(layout)[1].to_remember()
    path = blob_of(layout, "one:1", *keys)
    data = path.read_bytes()
    path.write_bytes(data[:-2] + b" }")  # of the same size
    with pytest.raises(StorageError, match="damaged"):
        walked(layout, remembered)


def test_an_image_without_a_layer_is_none(layout: Layout) -> None:
    remembered = walked(layout)[1].to_remember()
    blob_of(layout, "one:1", "layers", 1).unlink()
    seen = walked(layout, remembered)[0]
    assert seen == real(layout)
    assert [str(each.platform) for each in seen] == ["linux/arm/v7"]


def test_a_manifest_that_came_later_is_seen(layout: Layout) -> None:
    path = blob_of(layout, "two:1", "manifests", 1)
    data = path.read_bytes()
    path.unlink()
    first, summaries = walked(layout)
    assert len(first) == 3
    assert summaries.learnt == 2
    path.write_bytes(data)
    assert len(walked(layout, summaries.to_remember())[0]) == 4


def test_what_was_just_written_is_not_remembered(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its times would not tell a change within the same tick of the clock."""
    monkeypatch.setattr(module, "_clock", lambda: 0)
    assert walked(layout)[1].learnt == 0


@pytest.mark.parametrize("cut", [0, 5, 50, -1])
def test_what_is_damaged_of_the_memory_is_forgotten(layout: Layout, cut: int) -> None:
    remembered = walked(layout)[1].to_remember()
    seen, summaries = walked(layout, remembered[:cut])
    assert seen == real(layout)
    assert summaries.learnt == (1 if cut == -1 else 2)


def test_what_is_needed_is_the_same_by_what_is_remembered(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for what is no image, such as an attestation, and for platforms that are not here."""
    writer = LayoutWriter(layout.directory)
    attestation = writer.image({"os": "unknown", "architecture": "unknown"}, [writer.layer([], "attestation")])
    about = {"vnd.docker.reference.type": "attestation-manifest"}
    (one,) = [each for each in layout.entries() if "one:1" in each.annotations.values()]
    manifest = {**one.to_json(), "platform": ARM64, "annotations": {}}
    absent = {**manifest, "digest": f"sha256:{'ab' * 32}", "platform": ARM}
    writer.name("attested:1", writer.index([manifest, absent, {**attestation, "annotations": about}]))
    writer.finish()
    entries = layout.entries()
    wanted = LayoutImages(layout).needed(entries)
    assert wanted > {attestation["digest"], absent["digest"]}
    summaries = walked(layout)[1]
    assert summaries.learnt == len({each.digest for each in entries})
    lines = summaries.to_remember().splitlines(keepends=True)
    with monkeypatch.context() as patch:
        patch.setattr(Layout, "read_blob", None)
        assert LayoutSummaries(layout, lines).needed(entries) == wanted
    layout.blob_path(attestation["digest"]).unlink()
    wanted = LayoutImages(layout).needed(entries)
    assert LayoutSummaries(layout, lines).needed(entries) == wanted
    path = layout.blob_path(one.digest)
    path.write_bytes(path.read_bytes()[:-2] + b" }")
    with pytest.raises(StorageError, match="damaged"):
        LayoutSummaries(layout, lines).needed(entries)


def test_what_was_just_written_is_remembered_after_the_next_tick(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    entry = layout.entries()[0]
    for path in (layout.directory / "blobs" / "sha256").iterdir():
        path.touch()
    line = LayoutSummaries(layout).line_of(entry)
    assert line is not None
    assert list(LayoutSummaries(layout, [line]).of([entry])) == list(LayoutSummaries(layout).of([entry]))
    # A clock of another machine, whose files are of tomorrow.
    later = time.time() + 86400
    os.utime(layout.blob_path(entry.digest), (later, later))
    assert LayoutSummaries(layout).line_of(entry) is None


def test_an_index_that_is_removed_meanwhile_is_no_fault(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    blob_of(layout, "two:1").unlink()
    monkeypatch.setattr(Layout, "has_blob", lambda self, blob: True)  # as it was a moment ago
    seen = walked(layout)[0]
    assert [each.reference.familiar for each in seen] == ["one:1", "again:1"]
    assert seen == real(layout)
