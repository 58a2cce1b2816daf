"""Putting right what a disk has damaged: blobs one by one, `oci-layout`, and `index.json` as far as it can be read."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from polyarch.contract import (
    BlobWriter,
    Descriptor,
    Digest,
    Document,
    Layout,
    Manifest,
    NotFoundError,
    PolyarchError,
    StorageError,
    digest_of,
    disk_error,
    index_json,
    marker_json,
    parse_document,
    read_bounded,
    write_in_one_step,
)
from polyarch_plugins.storages.oci.garbage import blobs_here
from polyarch_plugins.storages.oci.partial import PartialBlob, lock_partial

_CHUNK = 1 << 20
_MOST = 32 << 20
_MARKER = 4096


def is_sound(layout: Layout, blob: Descriptor) -> bool:
    """True if the blob is here, byte for byte, and can be read."""
    try:
        if not layout.has_blob(blob):
            return False
        with layout.open_blob(blob.digest) as stream:
            return _digest(stream, blob.digest) == blob.digest
    except (NotFoundError, StorageError, OSError):  # a bad place of the disk is the same as wrong bytes
        return False


def replaced_blob(
    layout: Layout, path: Path, blob: Descriptor, publish: Callable[[], None], timeout: float, *, sync: bool
) -> contextlib.AbstractContextManager[BlobWriter | None]:
    """The writer of a blob that takes the place of a damaged one when it is whole; None if it is sound by now.

    `path` is where it is kept until then, `publish` puts it into its place.
    """

    def finish(descriptor: int) -> None:
        if sync:
            os.fsync(descriptor)
        publish()

    @contextlib.contextmanager
    def replaced() -> Iterator[BlobWriter | None]:
        try:
            descriptor = lock_partial(path, blob.digest, timeout)
        except OSError as error:
            raise disk_error(error, f"cannot write {path}") from error
        with contextlib.closing(PartialBlob(path, descriptor, lambda: finish(descriptor), sync=sync)) as writer:
            writer.restart()  # of what lies on a disk that damages blobs nothing is taken
            yield None if is_sound(layout, blob) else writer

    return replaced()


def mend_layout(layout: Layout, *, sync: bool) -> tuple[str, ...]:
    """Write `oci-layout` anew if it is damaged, and `index.json` with what can be read of it. Under the storage's lock.

    Images that no readable entry names get one without a name. The damaged index.json is kept beside it.
    Raises OSError; StorageError where the disk does not give it.
    """
    told = []
    folder = layout.directory
    if not _is_marker(folder / "oci-layout"):
        if (folder / "oci-layout").is_dir():
            _set_aside(folder / "oci-layout")
        write_in_one_step(folder / "oci-layout", marker_json(), folder / ".new", sync=sync)
        told.append("oci-layout was damaged and is written anew")
    try:
        layout.index()
    except StorageError as error:
        if "errno" in error.details and (folder / "index.json").exists():
            raise
        entries = _entries(layout, folder / "index.json")
        named = [entry for entry in entries if entry.annotations]
        _set_aside(folder / "index.json")
        data = index_json(None, entries, str(folder / "index.json"))
        write_in_one_step(folder / "index.json", data, folder / ".new", sync=sync)
        rest = len(entries) - len(named)
        told.append(f"index.json was damaged: {_counted(len(named), 'entry', 'entries')} of it could be read")
        if rest:
            told.append(
                f"{_counted(rest, 'image has', 'images have')} no name now: see polyarch image ls, and give names by"
                " polyarch image tag ID NAME before polyarch image prune takes what has none"
            )
    return tuple(told)


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _set_aside(path: Path) -> None:
    """Keep what is damaged under another name; a folder is laid over no other one. Raises OSError."""
    aside = path.with_name(f"{path.name}.damaged")
    number = 1
    while aside.exists() and (aside.is_dir() or path.is_dir()):
        number += 1
        aside = path.with_name(f"{path.name}.damaged.{number}")
    with contextlib.suppress(FileNotFoundError):
        path.replace(aside)


def _is_marker(path: Path) -> bool:
    try:
        return bool(json.loads(read_bounded(path, _MARKER)) == json.loads(marker_json()))
    except FileNotFoundError:
        return False
    except (ValueError, RecursionError, StorageError):
        return False


def _entries(layout: Layout, path: Path) -> list[Descriptor]:
    """The entries in what is left of an index.json whose documents are sound, then whole images without one."""
    found: dict[Digest, list[Descriptor]] = {}
    with contextlib.suppress(FileNotFoundError, StorageError):  # it is too large, or no file at all
        for entry in _readable(read_bounded(path, _MOST).decode("utf-8", "replace")):
            if is_sound(layout, entry):
                found.setdefault(entry.digest, []).append(entry)
    documents = {digest: document for digest in blobs_here(layout) if (document := _document(layout, digest))}
    led_to = set(found)
    waiting = list(found)
    while waiting:
        document = documents.get(waiting.pop())
        for below in document.manifests if document and not isinstance(document, Manifest) else ():
            if below.digest not in led_to:
                led_to.add(below.digest)
                waiting.append(below.digest)
    lost = [
        document.descriptor
        for digest, document in documents.items()
        if isinstance(document, Manifest)
        and digest not in led_to
        and all(layout.has_blob(blob) or blob.urls for blob in document.blobs)
    ]
    return [*(entry for entries in found.values() for entry in entries), *lost]


def _readable(text: str) -> Iterator[Descriptor]:
    """Every object in a text that is a descriptor of a document: one that is damaged ends none but itself."""
    decoder, place = json.JSONDecoder(), text.find("[")
    while (place := text.find("{", place + 1)) >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            continue
        try:
            # An index of this one entry, so that it is held to the rules for entries.
            raw = json.dumps({"schemaVersion": 2, "manifests": [value]}).encode()
            document = parse_document(raw, "application/vnd.oci.image.index.v1+json", "index.json")
        except PolyarchError:
            continue
        if not isinstance(document, Manifest):
            yield from document.manifests
            place = end - 1


def _document(layout: Layout, digest: Digest) -> Document | None:
    """The manifest or index that a blob is, if it is one and sound."""
    try:
        raw = read_bounded(layout.blob_path(digest), 4 << 20)
        if not raw.startswith(b"{") or digest_of(raw, digest.partition(":")[0]) != digest:
            return None
        kind = json.loads(raw)
        media_type = kind.get("mediaType") or (
            f"application/vnd.oci.image.{'index' if 'manifests' in kind else 'manifest'}.v1+json"
        )
        if not isinstance(media_type, str) or not {"manifests", "layers"} & kind.keys():
            return None
        return parse_document(raw, media_type, digest)
    except (OSError, PolyarchError, ValueError, AttributeError, RecursionError):
        return None


def _digest(stream: BinaryIO, like: Digest) -> Digest:
    import hashlib

    algorithm = like.partition(":")[0]
    hashed = hashlib.new(algorithm)
    while chunk := stream.read(_CHUNK):
        hashed.update(chunk)
    return f"{algorithm}:{hashed.hexdigest()}"
