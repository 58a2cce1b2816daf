"""What differs between two images, as lines: for people, as JSON, as paths."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from polyarch.cli.file_lines import TYPES
from polyarch.cli.output import columns, human_size
from polyarch.errors import printable

if TYPE_CHECKING:
    from polyarch.oci.descriptor import Descriptor
    from polyarch.unpack.merged import Seen
    from polyarch.verbs.images.diff import FileDifference, ImageDifference, SettingDifference

_LONGEST = 10_000


def table_lines(found: ImageDifference, width: int | None = None) -> Iterator[str]:
    """The layers, the settings and the files, those parts of which there is something to say. On a terminal of `width`
    long settings are wrapped.
    """
    for word, layers in (("shared", found.shared), ("only in A", found.removed), ("only in B", found.added)):
        if layers:
            yield f"Layers {word}: {len(layers)}, {human_size(sum(layer.size for layer in layers))}"
    yield from columns([(each.kind, printable(each.name, _LONGEST), _values(each)) for each in found.settings], width)
    for file in found.files:
        yield f"{file.kind}   {_sizes(file):<19}   {printable(_path(file.path), _LONGEST)}{_end(file)}"


def _values(setting: SettingDifference) -> str:
    if setting.kind == "C":
        return f"{setting.old} -> {setting.new}"
    return (setting.new if setting.old is None else setting.old) or ""


def _path(path: bytes) -> str:
    return "/" + path.decode("utf-8", "backslashreplace")


def _sizes(file: FileDifference) -> str:
    """The size that there is, or both where they differ."""
    old, new = (None if one is None else human_size(one.size) for one in (file.old, file.new))
    if file.kind == "C" and file.old and file.new and file.old.size != file.new.size:
        return f"{old} -> {new}"
    return new or old or ""


def _end(file: FileDifference) -> str:
    """What changed, unless that is the content."""
    seen = file.new or file.old
    slash = "/" if seen and seen.kind == "d" else ""
    what = [one for one in file.what if one != "content"]
    return f"{slash} ({', '.join(what)})" if what else slash


def path_lines(found: ImageDifference) -> Iterator[str]:
    """The paths of the files."""
    return (printable(_path(file.path), _LONGEST) for file in found.files)


def json_lines(found: ImageDifference) -> Iterator[str]:
    """An object for the images and their layers, one a setting, one a file; `about` tells them apart."""
    images = [
        {"reference": str(image.reference), "manifest": image.manifest.digest, "platform": str(image.platform)}
        for image in (found.one, found.other)
    ]
    yield json.dumps(
        {
            "about": "images",
            "a": images[0],
            "b": images[1],
            "layers": {
                "shared": _layers(found.shared),
                "removed": _layers(found.removed),
                "added": _layers(found.added),
            },
        }
    )
    for setting in found.settings:
        yield json.dumps(
            {
                "about": "config",
                "kind": setting.kind,
                "name": setting.name,
                "old": setting.old,
                "new": setting.new,
            }
        )
    for file in found.files:
        yield json.dumps(
            {
                "about": "file",
                "kind": file.kind,
                "path": _path(file.path),
                "what": list(file.what),
                "old": _seen(file.old),
                "new": _seen(file.new),
            }
        )


def _layers(layers: Sequence[Descriptor]) -> list[dict[str, object]]:
    return [{"digest": layer.digest, "size": layer.size} for layer in layers]


def _seen(seen: Seen | None) -> dict[str, object] | None:
    if seen is None:
        return None
    return {
        "type": TYPES["f" if seen.kind == "h" else seen.kind],
        "size": seen.size,
        "mode": f"{seen.mode:04o}",
        "owner": f"{seen.uid}:{seen.gid}",
        "link": seen.link.decode("utf-8", "backslashreplace") if seen.kind == "l" else None,
    }
