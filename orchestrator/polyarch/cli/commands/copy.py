"""`polyarch copy`."""

from __future__ import annotations

import click

from polyarch.cli.completers import stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation, platform_option


@click.command(
    "copy",
    cls=Command,
    help="Copy an image from one registry to another: all variants, and the signatures, SBOMs and attestations that"
    " refer to them, every digest unchanged.\n"
    "Nothing of it is kept on this machine. With -q it prints the digest of the name.",
    examples=(
        "polyarch copy alpine registry.example/mirror/alpine",
        "polyarch copy --platform linux/amd64,linux/arm64 alpine localhost:5000/alpine",
    ),
    exits=(0, 2, 3, 4, 5, 6, 7, 130),
)
@click.argument("source", metavar="FROM", shell_complete=stored_images)
@click.argument("target", metavar="TO")
@platform_option("these platforms only, under a new index", plural=True)
@click.option("--max-connections", metavar="N", type=click.IntRange(1, 64), help="blobs copied at once")
@pass_invocation
def command(
    invocation: Invocation, source: str, target: str, platform: str | None, max_connections: int | None
) -> None:
    """Copy one image; the plain lines came while it happened."""
    with invocation.session() as session:
        result = session.moving.copy(source, target, platform=platform, max_connections=max_connections)
    invocation.show(json=(result.to_json(),), quiet=(result.root.digest,), lines=(str(result.reference),))
