"""`polyarch image inspect` and `history`: what an image at hand is, and how it was made."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from polyarch.cli.ages import ago
from polyarch.cli.completers import stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation, platform_option
from polyarch.cli.output import columns, human_size, json_line, short_id, terminal_width, write, write_bytes
from polyarch.errors import UsageError

if TYPE_CHECKING:
    from polyarch.contract.storage import Image
    from polyarch.verbs.images.history import SeenLayer, Step

_LONGEST_STEP = 45  # docker/cli, cli/command/formatter/image.go and history's formatter
_SHORTEST_STEP = 20
_GAP = 3


@click.command(
    "inspect",
    cls=Command,
    help="Show all that is known of images at hand, as JSON. An image is named by name, ID or digest. With --raw the "
    "bytes of the manifest itself, exactly as they came: sha256sum gives its digest.",
    examples=(
        "polyarch image inspect alpine",
        "polyarch image inspect --platform linux/arm64 alpine",
        "polyarch image inspect --raw alpine | sha256sum",
    ),
    exits=(0, 2, 3, 9, 10),
)
@click.argument("references", metavar="REF...", nargs=-1, required=True, shell_complete=stored_images)
@click.option("--raw", is_flag=True, help="the manifest's own bytes, of one image")
@platform_option()
@pass_invocation
def inspect(invocation: Invocation, references: Sequence[str], raw: bool, platform: str | None) -> int:
    """Print an object an image: one line with `--format json`, else for the eye."""
    import json

    if raw and not invocation.plain:
        raise UsageError("--raw goes with neither --format json nor --quiet", "leave out --raw")
    if raw and len(references) > 1:
        raise UsageError("--raw is of one image: nothing would tell where the next one begins", "name one image")
    with invocation.session() as session:

        def show(reference: str) -> None:
            image = session.image(reference, platform=platform)
            if raw:
                write_bytes(image.manifest.raw, sys.stdout)
            elif invocation.json:
                json_line(_image_json(image, session.seen.layers(image)))
            elif invocation.quiet:
                write(f"{image.config.digest}\n")
            else:
                write(json.dumps(_image_json(image, session.seen.layers(image)), indent=2) + "\n")

        return invocation.each(references, show)


def _image_json(image: Image, layers: Sequence[SeenLayer]) -> dict[str, object]:
    config, manifest = image.config, image.manifest
    return {
        "reference": str(image.reference),
        "id": config.digest,
        "digest": image.root.digest,
        "manifest": manifest.digest,
        "media_type": manifest.media_type,
        "platform": str(image.platform),
        "created": config.created or None,
        "author": config.author or None,
        "size": manifest.size,
        "layers": [_layer_json(layer) for layer in layers],
        "entrypoint": list(config.entrypoint),
        "cmd": list(config.cmd),
        "env": list(config.env),
        "working_dir": config.working_dir,
        "user": config.user,
        "stop_signal": config.stop_signal or None,
        "exposed_ports": list(config.exposed_ports),
        "volumes": list(config.volumes),
        "labels": dict(config.labels),
        "annotations": dict(manifest.annotations),
    }


def _layer_json(layer: SeenLayer) -> dict[str, object]:
    return {
        "digest": layer.blob.digest,
        "diff_id": layer.diff_id,
        "size": layer.blob.size,
        "media_type": layer.blob.media_type,
        "created_by": layer.line.created_by if layer.line else None,
        "shared_with": None if layer.shared_with is None else list(layer.shared_with),
    }


@click.command(
    "history",
    cls=Command,
    help="Show the steps that made an image, the last one first. SIZE is that of the layer "
    "as it travels. With -q it prints the digests of the layers.",
    examples=("polyarch image history alpine", "polyarch image history --no-trunc alpine"),
    exits=(0, 2, 3, 9),
)
@click.argument("reference", metavar="REF", shell_complete=stored_images)
@click.option("--no-trunc", is_flag=True, help="whole IDs and steps")
@platform_option()
@pass_invocation
def history(invocation: Invocation, reference: str, no_trunc: bool, platform: str | None) -> None:
    """Print a line a step."""
    from polyarch.verbs.images.history import steps

    with invocation.session() as session:
        image = session.image(reference, platform=platform)
    newest_first = steps(image)[::-1]
    invocation.show(
        json=(_step_json(step) for step in newest_first),
        quiet=(step.layer.digest for step in newest_first if step.layer),
        lines=_history_lines(image, newest_first, no_trunc),
    )


def _step_json(step: Step) -> dict[str, object]:
    line, layer = step.line, step.layer
    return {
        "layer": layer.digest if layer else None,
        "created": line.created or None if line else None,
        "by": line.created_by if line else "",
        "comment": line.comment or None if line else None,
        "size": layer.size if layer else 0,
    }


def _history_lines(image: Image, newest_first: Sequence[Step], no_trunc: bool) -> list[str]:
    """docker's columns. Only the last step is an image by itself here; docker says `<missing>` of the others, too."""
    identifier = image.config.digest if no_trunc else short_id(image.config.digest)
    rows = [("IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT")]
    for number, step in enumerate(newest_first):
        line = step.line
        rows.append(
            (
                "<missing>" if number else identifier,
                ago(line.created) if line else "N/A",
                line.created_by.replace("\t", " ") if line else "",
                human_size(step.layer.size if step.layer else 0),
                line.comment if line else "",
            )
        )
    width = terminal_width()
    if not no_trunc:
        longest = _LONGEST_STEP
        if width is not None:  # make it fit, if that leaves something of it
            others = (max(len(row[column]) for row in rows) + _GAP for column in (0, 1, 3, 4))
            longest = max(_SHORTEST_STEP, min(longest, width - sum(others)))
        rows = [(*row[:2], _cut(row[2], longest), *row[3:]) for row in rows]
    return columns(rows, width)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
