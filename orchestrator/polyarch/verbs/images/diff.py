"""What is different in another image: files of the merged root, settings of the config, layers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from polyarch.contract.storage import Image
from polyarch.oci.config import ImageConfig
from polyarch.oci.descriptor import Descriptor
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from polyarch.unpack.merged import Seen
    from polyarch.verbs.images.history import SeenFiles

Kind: TypeAlias = Literal["A", "C", "D"]


@dataclass(frozen=True, slots=True)
class FileDifference:
    """A path that is added (`A`), changed (`C`) or deleted (`D`). `old` and `new` are what is there, None for nothing.

    `what` names what changed: `type`, `content` (of a file, extended attributes with it), `attributes` (of anything
    else), `target` (of a symlink), `device`, `mode`, `owner`.
    """

    kind: Kind
    path: bytes
    old: Seen | None
    new: Seen | None
    what: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """A setting of the config: an environment variable, a label, the command and so on. None: it is not there.

    `name` is `env PATH`, `label K`, `cmd`, `entrypoint`, `user`, `working_dir`, `stop_signal`, `port 80/tcp`,
    `volume /data`, `platform`.
    """

    kind: Kind
    name: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class ImageDifference:
    """All that is different; `shared` are layers that both have, `removed` and `added` those of one alone."""

    one: Image
    other: Image
    files: tuple[FileDifference, ...]
    settings: tuple[SettingDifference, ...]
    shared: tuple[Descriptor, ...]
    removed: tuple[Descriptor, ...]
    added: tuple[Descriptor, ...]


def difference(one: SeenFiles, other: SeenFiles) -> ImageDifference:
    """From `one` to `other`. A time alone is no difference: a file is compared by what it holds, and images that were
    built twice from the same sources differ in every time.
    """
    here, there = one.image.manifest.layers, other.image.manifest.layers
    digests = {layer.digest for layer in here} & {layer.digest for layer in there}
    return ImageDifference(
        one.image,
        other.image,
        () if here == there else tuple(_files(one.merged.root(), other.merged.root())),
        tuple(_settings(_config(one.image.config), _config(other.image.config))),
        tuple(layer for layer in here if layer.digest in digests),
        tuple(layer for layer in here if layer.digest not in digests),
        tuple(layer for layer in there if layer.digest not in digests),
    )


def _files(old: Mapping[bytes, Seen], new: Mapping[bytes, Seen]) -> Iterator[FileDifference]:
    """What differs, as a tree is walked. What lies below a directory that is there no more is named, too."""
    for path in sorted(old.keys() | new.keys(), key=lambda path: path.replace(b"/", b"\0")):
        before, after = old.get(path), new.get(path)
        if before is None:
            yield FileDifference("A", path, None, after)
        elif after is None:
            yield FileDifference("D", path, before, None)
        elif what := tuple(_what(before, after)):
            yield FileDifference("C", path, before, after, what)


def _what(old: Seen, new: Seen) -> Iterator[str]:
    kind = "f" if old.kind == "h" else old.kind  # a hard link is a file like any other once it is there
    if kind != ("f" if new.kind == "h" else new.kind):
        yield "type"
        return
    if kind == "f":
        if (old.size, old.fingerprint) != (new.size, new.fingerprint):
            yield "content"
    elif old.fingerprint != new.fingerprint:
        yield "attributes"
    if kind in "lcb" and old.link != new.link:
        yield "target" if kind == "l" else "device"
    if kind != "l" and old.mode != new.mode:
        yield "mode"
    if (old.uid, old.gid) != (new.uid, new.gid):
        yield "owner"


def _config(config: ImageConfig) -> dict[str, str]:
    """The settings by name, as they are shown."""
    settings = {
        "platform": str(config.platform),
        "entrypoint": _words(config.entrypoint),
        "cmd": _words(config.cmd),
        "user": config.user,
        "working_dir": config.working_dir,
        "stop_signal": config.stop_signal,
    }
    found = {name: value for name, value in settings.items() if value}
    for line in config.env:
        name, _, value = line.partition("=")
        found[f"env {name}"] = value
    found |= {f"label {name}": value for name, value in sorted(config.labels.items())}
    found |= {f"port {port}": "" for port in config.exposed_ports}
    found |= {f"volume {volume}": "" for volume in config.volumes}
    return found


def _words(words: tuple[str, ...]) -> str:
    import json

    return json.dumps(words, ensure_ascii=False) if words else ""


def _settings(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[SettingDifference]:
    for name in dict.fromkeys((*old, *new)):
        before, after = old.get(name), new.get(name)
        if before != after:
            yield SettingDifference("A" if before is None else "D" if after is None else "C", name, before, after)
