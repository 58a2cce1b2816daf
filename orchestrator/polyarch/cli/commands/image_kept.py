"""`polyarch image unpack`, `tag`, `rm` and `prune`: what is done with images at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from polyarch.cli.completers import stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation, platform_option
from polyarch.cli.output import human_size

_ONE_OF_SEVERAL = "which one, where several are at hand"


@click.command(
    "unpack",
    cls=Command,
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
        image = session.kept.unpack(reference, directory, platform=platform)
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


@click.command(
    "tag",
    cls=Command,
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
        name = str(session.kept.tag(reference, new))
    invocation.show(json=[{"reference": name}], quiet=[name], lines=[])


@click.command(
    "rm",
    cls=Command,
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
            digests = session.kept.remove(reference, platform=platform)
            invocation.show(
                json=[{"reference": reference, "removed": list(digests)}],
                quiet=digests,
                lines=[f"Untagged: {reference}", *(f"Deleted: {digest}" for digest in digests)],
            )

        return invocation.each(references, remove)


@click.command(
    "prune",
    cls=Command,
    help="Remove what no image needs: blobs, and what broken transfers left.",
    examples=("polyarch image prune", "polyarch image prune --format json"),
    exits=(0, 9),
)
@pass_invocation
def prune(invocation: Invocation) -> None:
    """Print what went."""
    with invocation.session() as session:
        removed = session.kept.prune()
    total = sum(size for _, size in removed)
    invocation.show(
        json=({"digest": digest, "size": size} for digest, size in removed),
        quiet=(digest for digest, _ in removed),
        lines=[
            *(f"Deleted: {digest}" for digest, _ in removed),
            f"Total reclaimed space: {human_size(total)}",
        ],
    )
