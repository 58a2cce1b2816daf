"""`polyarch image` and `polyarch images`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from polyarch.cli.ages import ago
from polyarch.cli.completers import storages, stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Group, pass_invocation, platform_option
from polyarch.cli.output import columns, human_size, json_line, short_id, terminal_width, write

if TYPE_CHECKING:
    from polyarch.contract.storage import Image
    from polyarch.verbs.listing import ListedImage

_ONE_OF_SEVERAL = "which one, where several are at hand"

command = Group(
    "image",
    help="Images at hand.",
    examples=("polyarch image ls", "polyarch image unpack alpine ./root"),
)


@command.command(
    "ls",
    help="List the images at hand, or those in another storage. With -q it prints their IDs.",
    examples=("polyarch image ls", "polyarch images --format json", "polyarch image ls --storage docker"),
    exits=(0, 2, 3, 5, 6, 7, 8, 9),
)
@click.option(
    "--storage",
    metavar="STORAGE[:LOCATION]",
    default="oci",
    shell_complete=storages,
    help="which one, see: polyarch plugin ls",
)
@pass_invocation
def ls(invocation: Invocation, storage: str) -> None:
    """Print a line an image: a variant under a name."""
    with invocation.session() as session:
        images = session.listing(storage)
    invocation.show(
        json=map(_listed_json, images),
        quiet=dict.fromkeys(short_id(image.id) for image in images),
        lines=_list_lines(images),
    )


def _listed_json(image: ListedImage) -> dict[str, object]:
    return {
        "repository": image.reference.name,
        "tag": image.reference.tag or None,
        "id": image.id,
        "digest": image.digest,
        "manifest": image.manifest,
        "platform": str(image.platform),
        "created": image.created or None,
        "size": image.size,
        "shared_size": image.shared_size,
    }


def _list_lines(images: Sequence[ListedImage]) -> list[str]:
    rows = [("REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "CREATED", "SIZE")]
    rows += [
        (
            image.reference.familiar_name,
            image.reference.tag or "<none>",
            str(image.platform),
            short_id(image.id),
            ago(image.created),
            human_size(image.size),
        )
        for image in images
    ]
    return columns(rows)


@command.command(
    "inspect",
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


@command.command(
    "history",
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


@command.command(
    "unpack",
    help="Write the merged root file system of an image at hand into DIR; DIR is made.",
    examples=("polyarch image unpack alpine ./root", "polyarch image unpack --platform linux/arm64 alpine ./root"),
    exits=(0, 2, 3, 7, 8, 9, 130),
)
@click.argument("reference", metavar="REF", shell_complete=stored_images)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@platform_option(_ONE_OF_SEVERAL)
@pass_invocation
def unpack(invocation: Invocation, reference: str, directory: Path, platform: str | None) -> None:
    """Unpack, and say what lies where."""
    with invocation.session() as session:
        image = session.unpack(reference, directory, platform=platform)
    document = {
        "reference": str(image.reference),
        "platform": str(image.platform),
        "manifest": image.manifest.digest,
        "directory": str(directory),
    }
    invocation.show(
        json=[document],
        quiet=[str(directory)],
        lines=[f"Unpacked {image.reference.familiar} ({image.platform}) into {directory}"],
    )


@command.command(
    "tag",
    help="Give an image at hand a further name, with all its platforms.",
    examples=("polyarch image tag alpine:3 registry.example/base:3", "polyarch image tag 1a2b3c4d5e6f mine:1"),
    exits=(0, 2, 3, 9),
)
@click.argument("reference", metavar="REF", shell_complete=stored_images)
@click.argument("new", metavar="NEW")
@pass_invocation
def tag(invocation: Invocation, reference: str, new: str) -> None:
    """Name it; silent, as docker is."""
    with invocation.session() as session:
        name = str(session.tag(reference, new))
    invocation.show(json=[{"reference": name}], quiet=[name], lines=[])


@command.command(
    "rm",
    help="Take names away, and the blobs that nothing needs any more. With -q it prints the digests of those.",
    examples=("polyarch image rm alpine", "polyarch image rm --platform linux/arm64 alpine"),
    exits=(0, 2, 3, 9, 10),
)
@click.argument("references", metavar="REF...", nargs=-1, required=True, shell_complete=stored_images)
@platform_option("only this one")
@pass_invocation
def rm(invocation: Invocation, references: Sequence[str], platform: str | None) -> int:
    """Remove every reference, going on after failures."""
    with invocation.session() as session:

        def remove(reference: str) -> None:
            digests = session.remove(reference, platform=platform)
            invocation.show(
                json=[{"reference": reference, "removed": list(digests)}],
                quiet=digests,
                lines=[f"Untagged: {reference}", *(f"Deleted: {digest}" for digest in digests)],
            )

        return invocation.each(references, remove)


@command.command(
    "prune",
    help="Remove what no image needs: blobs, and what broken transfers left.",
    examples=("polyarch image prune", "polyarch image prune --format json"),
    exits=(0, 9),
)
@pass_invocation
def prune(invocation: Invocation) -> None:
    """Print what went."""
    with invocation.session() as session:
        removed = session.prune()
    total = sum(size for _, size in removed)
    invocation.show(
        json=({"digest": digest, "size": size} for digest, size in removed),
        quiet=(digest for digest, _ in removed),
        lines=[
            *(f"Deleted: {digest}" for digest, _ in removed),
            f"Total reclaimed space: {human_size(total)}",
        ],
    )
