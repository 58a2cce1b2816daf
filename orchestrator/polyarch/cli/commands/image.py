"""`polyarch image` and `polyarch images`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from polyarch.cli.ages import ago
from polyarch.cli.commands.image_files import diff, files
from polyarch.cli.commands.image_kept import load, prune, rm, save, tag, unpack
from polyarch.cli.commands.image_seen import history, inspect
from polyarch.cli.completers import storages, stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Group, pass_invocation, platform_option
from polyarch.cli.output import columns, human_size, line, short_id, terminal_width
from polyarch.contract.storage import is_unnamed
from polyarch.errors import UsageError

if TYPE_CHECKING:
    from polyarch.verbs.images.listing import ListedImage

_OCI = "oci"

command = Group(
    "image",
    help="Images at hand.",
    examples=("polyarch image ls", "polyarch image unpack alpine ./root"),
)


@command.command(
    "ls",
    help="List the images at hand, or those in another storage. SHARED is what of SIZE other images have, too. With -q "
    "it prints their IDs. --tree shows which layers stand on which, and the containers on theirs.",
    examples=("polyarch image ls", "polyarch image ls --tree", "polyarch images --filter 'reference=*/app:1.*'"),
    exits=(0, 2, 3, 5, 6, 7, 8, 9),
)
@click.argument("pattern", metavar="[REPOSITORY[:TAG]]", default="", shell_complete=stored_images)
@click.option(
    "-f",
    "--filter",
    "filters",
    metavar="KEY=VALUE",
    multiple=True,
    help="dangling, reference, label, before, since",
)
@platform_option("only these platforms", plural=True)
@click.option(
    "--storage",
    metavar="STORAGE[:LOCATION]",
    default=_OCI,
    shell_complete=storages,
    help="which one, see: polyarch plugin ls",
)
@click.option("--tree", is_flag=True, help="as a tree of layers")
@pass_invocation
def ls(
    invocation: Invocation, pattern: str, filters: Sequence[str], platform: str | None, storage: str, tree: bool
) -> None:
    """Print a line an image: a variant under a name."""
    if tree and not invocation.plain:
        raise UsageError("--tree is for people: it goes with neither --format json nor --quiet", "leave out --tree")
    if tree and storage != _OCI:
        raise UsageError(f"--tree is of the storage {_OCI}: of others the layers are not known")
    with invocation.session() as session:
        images = session.seen.listing(storage, pattern=pattern, filters=filters, platform=platform)
        if tree:
            from polyarch.cli.layer_tree import tree_lines

            stacks = session.seen.tree(images, session.containers.all())
            invocation.show(json=(), quiet=(), lines=tree_lines(stacks, terminal_width()))
    if not tree:
        invocation.show(
            json=map(_listed_json, images),
            quiet=dict.fromkeys(short_id(image.id) for image in images if not image.damaged),
            lines=columns(_rows(images), terminal_width()),
        )
    for name in dict.fromkeys(image.reference for image in images if image.damaged):
        text, mend = (name.digest[7:19], "image rm") if is_unnamed(name) else (name.familiar, "verify --repair")
        line(f"warning: {text} is damaged: polyarch {mend} {text}", sys.stderr)
    if invocation.plain and terminal_width() is not None and images:
        _total(images)


def _listed_json(image: ListedImage) -> dict[str, object]:
    return {
        "repository": image.reference.name,
        "tag": image.reference.tag or None,
        "id": image.id or None,
        "digest": image.digest,
        "manifest": image.manifest,
        "platform": str(image.platform),
        "created": image.created or None,
        "size": image.size,
        "shared_size": image.shared_size,
        "damaged": image.damaged,
    }


def _rows(images: Sequence[ListedImage]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "CREATED", "SIZE", "SHARED"),
        *(
            (
                "<none>" if image.dangling else image.reference.familiar_name,
                image.reference.tag or "<none>",
                "damaged" if image.damaged else str(image.platform),
                "<none>" if image.damaged else short_id(image.id),
                ago(image.created),
                human_size(image.size),
                "" if image.shared_size is None else human_size(image.shared_size),
            )
            for image in images
        ),
    ]
    shared = any(image.shared_size is not None for image in images)
    return rows if shared else [row[:-1] for row in rows]  # engines do not tell it


def _total(images: Sequence[ListedImage]) -> None:
    """One more line, for people alone: a script that reads the list finds images in it and nothing else."""
    from polyarch.verbs.images.listing import total_size

    size = total_size(images)
    if size is not None:
        line(f"Total: {human_size(size)}, what is shared counted once")


for _command in (inspect, history, files, diff, unpack, tag, rm, prune, save, load):
    command.add_command(_command)
