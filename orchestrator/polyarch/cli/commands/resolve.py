"""`polyarch resolve`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from polyarch.cli.completers import stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, device_option, emulation_option, pass_invocation, platform_option
from polyarch.cli.output import columns, human_size, short_id, terminal_width

if TYPE_CHECKING:
    from polyarch.resolution.resolve import Resolution
    from polyarch.selection.types import EmulationPolicy, Verdict


@click.command(
    "resolve",
    cls=Command,
    help="Tell which variant of each image would be taken, and for every other one why not. Fetches no layer.\n"
    "With -q it prints the manifest digest of the variant.",
    examples=("polyarch resolve alpine", "polyarch resolve --device pi-3-32bit --format json busybox"),
    exits=(0, 2, 3, 4, 5, 6, 7, 8, 10),
)
@click.argument("references", metavar="REF...", nargs=-1, required=True, shell_complete=stored_images)
@platform_option("the platform asked for by name")
@device_option
@emulation_option
@pass_invocation
def command(
    invocation: Invocation,
    references: Sequence[str],
    platform: str | None,
    device: str | None,
    emulation: EmulationPolicy | None,
) -> int:
    """Resolve every reference, going on after failures."""
    from polyarch.verbs.results import resolution_json

    with invocation.session() as session:

        def resolve(reference: str) -> None:
            resolution = session.resolve(reference, platform=platform, device=device, emulation=emulation)
            invocation.show(
                json=(resolution_json(one) for one in [resolution]),
                quiet=[resolution.chosen.candidate.manifest.digest],
                lines=_lines(resolution, terminal_width()),
            )

        return invocation.each(references, resolve)


def _lines(resolution: Resolution, width: int | None) -> Iterator[str]:
    from polyarch.verbs.results import tag_of

    chosen, target = resolution.chosen, resolution.selection.target
    whose = "this machine, " if target.here else ""
    yield f"{resolution.reference.familiar} for {whose}{target.name}"

    def row(verdict: Verdict) -> tuple[str, ...]:
        candidate = verdict.candidate
        by_tag = f"tag {tag_of(candidate, resolution.reference)}"
        return (
            str(candidate.platform or "unknown") + (" (unproven)" if verdict.unproven else ""),
            verdict.match or "-",
            by_tag if candidate.source == "tag" else candidate.source,
            short_id(candidate.manifest.digest),
            verdict.refused or _taken(resolution),
        )

    others = [verdict for verdict in resolution.selection.verdicts if verdict != chosen]
    rows = [("PLATFORM", "MATCH", "SOURCE", "DIGEST", "WHY"), row(chosen), *map(row, others)]
    yield from columns(rows, width)


def _taken(resolution: Resolution) -> str:
    emulator = resolution.chosen.emulator
    return f"chosen, {human_size(resolution.manifest.size)}" + (f", emulated by {emulator}" if emulator else "")
