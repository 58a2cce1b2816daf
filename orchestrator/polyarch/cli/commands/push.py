"""`polyarch push`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from polyarch.cli.completers import stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, compression_option, pass_invocation, platform_option

if TYPE_CHECKING:
    from polyarch.unpack.recompress import Compression


@click.command(
    "push",
    cls=Command,
    help="Upload an image at hand under its name, or under TO: all its variants under one index.\n"
    "What the registry has is not sent again; the name is given last. With -q it prints the digest of the name.",
    examples=(
        "polyarch push ghcr.io/owner/app:1.0",
        "polyarch push --platform linux/arm64 app localhost:5000/app:1.0",
        "polyarch push --compression zstd:chunked app:1.0 ghcr.io/owner/app:1.0",
    ),
    exits=(0, 2, 3, 5, 6, 7, 8, 9, 130),
)
@click.argument("reference", metavar="REF", shell_complete=stored_images)
@click.argument("to", metavar="[TO]", required=False)
@platform_option("these platforms only, under a new index", plural=True)
@click.option("--max-connections", metavar="N", type=click.IntRange(1, 64), help="blobs uploaded at once")
@compression_option("compress all layers so, under new manifests")
@pass_invocation
def command(
    invocation: Invocation,
    reference: str,
    to: str | None,
    platform: str | None,
    max_connections: int | None,
    compression: Compression | None,
) -> None:
    """Push one image; the plain lines came while it happened."""
    with invocation.session() as session:
        result = session.moving.push(
            reference, to, platform=platform, max_connections=max_connections, compression=compression
        )
    invocation.show(json=(result.to_json(),), quiet=(result.root.digest,), lines=(str(result.reference),))
