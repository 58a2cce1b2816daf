"""The image config: OCI image-spec config.md. Docker's container config has the same fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from polyarch.errors import IntegrityError
from polyarch.limits import MAX_CONFIG_SIZE as MAX_CONFIG_SIZE
from polyarch.oci.digest import Digest, check_digest, digest_of
from polyarch.oci.json import list_of, mapping_of, parse_json, readable, string_map, strings, text_of
from polyarch_platforms.errors import PlatformError
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, from_oci

_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")  # or a whole one


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One step that made the image; an empty one made no layer."""

    created: str
    created_by: str
    comment: str
    empty_layer: bool


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image starts with and what it was made for. `diff_ids` belong to the layers, bottom first."""

    raw: bytes = field(repr=False)
    digest: Digest
    platform: Platform
    diff_ids: tuple[Digest, ...]
    created: str = ""
    author: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    history: tuple[HistoryLine, ...] = ()


def parse_config(raw: bytes, where: str = "config") -> ImageConfig:
    """The image config in `raw`.

    Raises IntegrityError: too large, not JSON, no architecture, fields of a wrong type, a bad diff ID.
    """
    if len(raw) > MAX_CONFIG_SIZE:
        raise IntegrityError(f"{where}: {len(raw)} bytes are more than a config may have ({MAX_CONFIG_SIZE})")
    document = parse_json(raw, where)
    if _HALF_PAIR.search(raw):
        document = readable(document)
    try:
        platform = from_oci(document)
    except PlatformError as error:
        raise IntegrityError(f"{where}: {error}") from error
    rootfs = mapping_of(document.get("rootfs") or {}, f"{where}: rootfs")
    run = mapping_of(document.get("config") or {}, f"{where}: config")
    return ImageConfig(
        raw=raw,
        digest=digest_of(raw),
        platform=platform,
        diff_ids=tuple(
            check_digest(diff_id, f"{where}: diff ID {i}")
            for i, diff_id in enumerate(list_of(rootfs.get("diff_ids"), f"{where}: diff_ids"), 1)
        ),
        created=text_of(document, "created", where, default=""),
        author=text_of(document, "author", where, default=""),
        entrypoint=strings(run.get("Entrypoint"), f"{where}: Entrypoint"),
        cmd=strings(run.get("Cmd"), f"{where}: Cmd"),
        env=strings(run.get("Env"), f"{where}: Env"),
        working_dir=text_of(run, "WorkingDir", where, default=""),
        user=text_of(run, "User", where, default=""),
        stop_signal=text_of(run, "StopSignal", where, default=""),
        exposed_ports=tuple(sorted(mapping_of(run.get("ExposedPorts") or {}, f"{where}: ExposedPorts"))),
        volumes=tuple(sorted(mapping_of(run.get("Volumes") or {}, f"{where}: Volumes"))),
        labels=string_map(run.get("Labels"), f"{where}: Labels"),
        history=tuple(_history_line(line, f"{where}: history") for line in list_of(document.get("history"), where)),
    )


def _history_line(value: object, where: str) -> HistoryLine:
    line = mapping_of(value, where)
    return HistoryLine(
        created=text_of(line, "created", where, default=""),
        created_by=text_of(line, "created_by", where, default=""),
        comment=text_of(line, "comment", where, default=""),
        empty_layer=line.get("empty_layer") is True,
    )


def chain_ids(diff_ids: tuple[Digest, ...]) -> tuple[Digest, ...]:
    """The chain ID of each layer (config.md, "Layer ChainID"): what the stack up to it holds."""
    chain: list[Digest] = []
    for diff_id in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)


def check_layer_count(config: ImageConfig, layers: int, where: str) -> None:
    """IntegrityError unless the config has one diff ID a layer."""
    if len(config.diff_ids) != layers:
        raise IntegrityError(f"{where}: the manifest has {layers} layers, the config {len(config.diff_ids)} diff IDs")
