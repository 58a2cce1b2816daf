"""`polyarch commit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from polyarch.cli.completers import containers
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation

if TYPE_CHECKING:
    from polyarch.container.commit import Committed


@click.command(
    "commit",
    cls=Command,
    help="Freeze what a container has written into an image: one layer more, which holds exactly what changed.\n"
    "The image starts what the container's own image starts, unless --change says otherwise, by CMD, ENTRYPOINT, ENV, "
    "EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR as in a Dockerfile. With SOURCE_DATE_EPOCH set the image is of "
    "that time, and so is every file that is younger: the same content gives the same digest.",
    examples=(
        "polyarch commit web web:patched",
        "polyarch commit -c 'CMD [\"/app\"]' -c 'EXPOSE 80' -m 'by hand' new app:1.0",
    ),
    exits=(0, 2, 3, 7, 8, 9, 130),
)
@click.argument("name", metavar="CONTAINER", shell_complete=containers)
@click.argument("reference", metavar="REF")
@click.option(
    "-c",
    "--change",
    "changes",
    metavar="INSTRUCTION",
    multiple=True,
    help="an instruction of a Dockerfile; may be repeated",
)
@click.option("-a", "--author", metavar="TEXT", default="", help="who made it")
@click.option("-m", "--message", metavar="TEXT", default="", help="a line for its history")
@click.option("-p", "--pause/--no-pause", default=True, help="freeze one that runs; else: --pause")
@pass_invocation
def command(
    invocation: Invocation,
    name: str,
    reference: str,
    changes: tuple[str, ...],
    author: str,
    message: str,
    pause: bool,
) -> None:
    """Print the image's ID."""
    from polyarch.container.commit import CommitRequest
    from polyarch.oci.source_date import source_date

    with invocation.session(lines_to_stderr=True) as session:
        request = CommitRequest(changes, author, message, pause, source_date(session.settings.environ))
        committed = session.containers.commit(name, reference, request)
    identifier = committed.image.config.digest
    invocation.show(json=[_json(committed)], quiet=[identifier], lines=[identifier])


def _json(committed: Committed) -> dict[str, object]:
    image, layer = committed.image, committed.layer
    return {
        "reference": str(image.reference),
        "id": image.config.digest,
        "digest": image.manifest.digest,
        "platform": str(image.platform),
        "created": image.config.created,
        "layer": layer and {"digest": layer.digest, "diff_id": committed.diff_id, "size": layer.size},
        "left_out": list(committed.left_out),
    }
