"""`polyarch pull`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from polyarch.cli.completers import storages, stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, device_option, emulation_option, pass_invocation, platform_option
from polyarch.cli.output import human_size, short_id

if TYPE_CHECKING:
    from polyarch.selection.types import EmulationPolicy
    from polyarch.verbs.results import PullResult


@click.command(
    "pull",
    cls=Command,
    help="Bring the right variant of each image: the one that this machine, or the device named, can run.\n"
    "With -q it prints the manifest digest of each variant.",
    examples=(
        "polyarch pull alpine ghcr.io/owner/app:1.0",
        "polyarch pull --device pi-zero --dry-run busybox",
        "polyarch pull --into docker alpine",
        "polyarch pull --prepare wordpress",
        "polyarch pull --locked polyarch.lock",
        "polyarch pull --all-platforms --into oci-archive:images.tar alpine",
    ),
    exits=(0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130),
)
@click.argument("references", metavar="REF...", nargs=-1, shell_complete=stored_images)
@click.option(
    "--into",
    metavar="STORAGE[:LOCATION]",
    default="oci",
    shell_complete=storages,
    help="where to, see: polyarch plugin ls",
)
@platform_option("platforms asked for by name", plural=True)
@click.option("--all-platforms", is_flag=True, help="every variant that there is")
@device_option
@emulation_option
@click.option(
    "--locked",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="a lock file's manifests; without REF all",
)
@click.option("--max-connections", metavar="N", type=click.IntRange(1, 64), help="blobs fetched at once")
@click.option("--prepare", is_flag=True, help="make layers ready to run while they come in")
@click.option("--dry-run", is_flag=True, help="only tell what would be fetched")
@click.option("--allow-mislabelled", is_flag=True, help="take an image as what its programs are")
@pass_invocation
def command(
    invocation: Invocation,
    references: Sequence[str],
    into: str,
    platform: str | None,
    all_platforms: bool,
    device: str | None,
    emulation: EmulationPolicy | None,
    locked: Path | None,
    max_connections: int | None,
    prepare: bool,
    dry_run: bool,
    allow_mislabelled: bool,
) -> int:
    """Pull every reference, going on after failures."""
    if not references and locked is None:
        raise click.UsageError("missing argument 'REF...'", click.get_current_context())
    from polyarch.lock.lock_file import read_lock

    with invocation.session() as session:
        entries = {}
        if locked:
            lock = read_lock(locked)
            references = references or [str(image.reference) for image in lock.images]
            entries = session.locks.entries(lock, references, locked)

        def pull(reference: str) -> None:
            results = session.pull(
                reference,
                platform=platform,
                device=device,
                all_platforms=all_platforms,
                emulation=emulation,
                into=into,
                max_connections=max_connections,
                prepare=prepare,
                dry_run=dry_run,
                allow_mislabelled=allow_mislabelled,
                locked=entries.get(reference),
            )
            invocation.show(
                json=(result.to_json() for result in results),
                quiet=(result.candidate.manifest.digest for result in results),
                lines=_lines(results),
            )

        return invocation.each(references, pull)


def _lines(results: Sequence[PullResult]) -> Iterator[str]:
    """What remains to be said: the other lines came while it happened."""
    for result in results:
        if result.status == "planned":
            for layer in result.layers:
                missing = f"{human_size(layer.size - layer.reused_bytes)} to pull"
                yield f"{short_id(layer.digest)}: {'Already exists' if layer.status == 'exists' else missing}"
            yield f"Digest: {result.root.digest}"
            lacking = (result.candidate.size or 0) - result.reused_bytes
            yield f"Status: Would download {human_size(lacking)} for {result.reference.familiar} ({result.platform})"
    yield str(results[0].name)
