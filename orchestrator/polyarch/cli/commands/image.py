"""`polyarch image` and `polyarch images`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from polyarch.cli.ages import ago
from polyarch.cli.commands.image_files import diff, files
from polyarch.cli.commands.image_kept import load, prune, rm, save, tag, unpack
from polyarch.cli.commands.image_seen import history, inspect
from polyarch.cli.completers import storages
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Group, pass_invocation
from polyarch.cli.output import columns, human_size, short_id

if TYPE_CHECKING:
    from polyarch.verbs.listing import ListedImage

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


for _command in (inspect, history, files, diff, unpack, tag, rm, prune, save, load):
    command.add_command(_command)
