"""`polyarch image inspect` and `history`: what an image at hand is, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from polyarch.cli.ages import ago
from polyarch.cli.completers import stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation, platform_option
from polyarch.cli.output import columns, human_size, json_line, short_id, terminal_width, write

if TYPE_CHECKING:
    from polyarch.contract.storage import Image

_ONE_OF_SEVERAL = "which one, where several are at hand"


@click.command(
    "inspect",
    cls=Command,
    help="Show all that is known of images at hand, as JSON. An image is named by name, ID or digest.",
    examples=("polyarch image inspect alpine", "polyarch image inspect --platform linux/arm64 alpine"),
    exits=(0, 2, 3, 9, 10),
)
@click.argument("references", metavar="REF...", nargs=-1, required=True, shell_complete=stored_images)
@platform_option(_ONE_OF_SEVERAL)
@pass_invocation
def inspect(invocation: Invocation, references: Sequence[str], platform: str | None) -> int:
    """Print an object an image: one line with `--format json`, else for the eye."""
    import json

    with invocation.session() as session:

        def show(reference: str) -> None:
            image = session.image(reference, platform=platform)
            if invocation.json:
                json_line(_image_json(image))
            elif invocation.quiet:
                write(f"{image.config.digest}\n")
            else:
                write(json.dumps(_image_json(image), indent=2) + "\n")

        return invocation.each(references, show)


def _image_json(image: Image) -> dict[str, object]:
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
        "layers": [
            {"digest": layer.digest, "diff_id": diff_id, "size": layer.size, "media_type": layer.media_type}
            for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
        ],
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


@click.command(
    "history",
    cls=Command,
    help="Show the steps that made an image, the last one first.",
    examples=("polyarch image history alpine", "polyarch image history --format json alpine"),
    exits=(0, 2, 3, 9),
)
@click.argument("reference", metavar="REF", shell_complete=stored_images)
@platform_option(_ONE_OF_SEVERAL)
@pass_invocation
def history(invocation: Invocation, reference: str, platform: str | None) -> None:
    """Print a line a step."""
    with invocation.session() as session:
        steps = _steps(session.image(reference, platform=platform))
    rows = [("LAYER", "CREATED", "SIZE", "CREATED BY")]
    rows += [
        (short_id(str(step["layer"] or "")) or "<empty>", ago(str(step["created"])), human_size(size), str(step["by"]))
        for step, size in steps
    ]
    invocation.show(
        json=({**step, "size": size} for step, size in steps),
        quiet=(str(step["layer"]) for step, _ in steps if step["layer"]),
        lines=columns(rows, terminal_width()),
    )


def _steps(image: Image) -> list[tuple[dict[str, object], int]]:
    """The steps and the bytes of their layers, the last one first. What the history leaves out is told as layers."""
    layers = list(image.manifest.layers)
    steps: list[tuple[dict[str, object], int]] = []
    for line in image.config.history:
        layer = layers.pop(0) if layers and not line.empty_layer else None
        step: dict[str, object] = {
            "layer": layer.digest if layer else None,
            "created": line.created or None,
            "by": line.created_by,
            "comment": line.comment or None,
        }
        steps.append((step, layer.size if layer else 0))
    for layer in layers:
        steps.append(({"layer": layer.digest, "created": None, "by": "", "comment": None}, layer.size))
    return steps[::-1]
