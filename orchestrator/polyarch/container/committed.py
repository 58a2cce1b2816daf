"""The config of an image that a container was frozen into: OCI image-spec config.md, on top of the base's own bytes."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

from polyarch.container.instructions import apply_instructions
from polyarch.errors import IntegrityError
from polyarch.oci.config import MAX_CONFIG_SIZE, ImageConfig, parse_config
from polyarch.oci.digest import Digest
from polyarch.oci.json import list_of, mapping_of, parse_json
from polyarch.oci.media_types import DOCKER_LAYER_GZIP, OCI_LAYER, OCI_LAYER_GZIP
from polyarch.oci.written import encode
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, from_oci, to_oci

_AS_OCI = {
    DOCKER_LAYER_GZIP: OCI_LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar": OCI_LAYER,
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": (
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    ),
}


def oci_layer_type(media_type: str) -> str:
    """What OCI calls a layer of this type; types that are no docker's stay."""
    return _AS_OCI.get(media_type, media_type)


@dataclass(frozen=True, slots=True)
class Step:
    """The line that a history grows by. `created` is a time of RFC 3339; `diff_id` is None where nothing was changed.

    `changes` are instructions of a Dockerfile.
    """

    created: str
    created_by: str
    author: str = ""
    comment: str = ""
    diff_id: Digest | None = None
    changes: Sequence[str] = ()


def scratch_config(platform: Platform) -> bytes:
    """The config of no image: nothing in it, and nothing to start."""
    return encode({**to_oci(platform), "config": {}, "rootfs": {"type": "layers", "diff_ids": []}, "history": []})


def committed_config(base: bytes, platform: Platform, step: Step) -> ImageConfig:
    """The base's config with one step more, made for `platform`. What is not known here stays as it is.

    Raises UsageError: an instruction that cannot be meant; IntegrityError: the base is no config, or it gets too large.
    """
    where = "the base image's config"
    document = copy.deepcopy(parse_json(base, where))
    if from_oci(document) != platform:
        document.update(to_oci(platform))
    document["created"] = step.created
    if step.author:
        document["author"] = step.author
    config = dict(mapping_of(document.get("config") or {}, where))
    apply_instructions(config, step.changes)
    document["config"] = config
    rootfs = dict(mapping_of(document.get("rootfs") or {"type": "layers"}, where))
    rootfs["diff_ids"] = [*list_of(rootfs.get("diff_ids"), where), *([step.diff_id] if step.diff_id else [])]
    document["rootfs"] = rootfs
    document["history"] = [*list_of(document.get("history"), where), _history_line(step)]
    raw = encode(document)
    if len(raw) > MAX_CONFIG_SIZE:
        raise IntegrityError(f"the image's config would have {len(raw)} bytes; at most {MAX_CONFIG_SIZE} are read")
    return parse_config(raw)


def _history_line(step: Step) -> Mapping[str, object]:
    line: dict[str, Any] = {"created": step.created, "created_by": step.created_by}
    if step.author:
        line["author"] = step.author
    if step.comment:
        line["comment"] = step.comment
    if not step.diff_id:
        line["empty_layer"] = True
    return cast("Mapping[str, object]", line)
