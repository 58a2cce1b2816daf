"""`polyarch verify`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from polyarch.cli.completers import stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation
from polyarch.cli.output import human_size
from polyarch.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from polyarch.verbs.results import VerifiedImage


@click.command(
    "verify",
    cls=Command,
    help="Read stored images again: digests and sizes, diff IDs, the platform that the programs prove, signatures. "
    "What --repair fetches again, it asks for by digest; without REF it mends what names the images alone.",
    examples=("polyarch verify alpine", "polyarch verify --repair alpine", "polyarch verify --repair"),
    exits=(0, 2, 3, 6, 7, 8, 9, 10),
)
@click.argument("references", metavar="[REF...]", nargs=-1, shell_complete=stored_images)
@click.option(
    "--repair",
    is_flag=True,
    help="first fetch what is damaged; without REF mend the list of images",
)
@pass_invocation
def command(invocation: Invocation, references: Sequence[str], repair: bool) -> int:
    """Verify every reference, going on after failures."""
    if not references and not repair:
        raise UsageError("verify wants an image", "polyarch verify REF; to put right what names images: --repair alone")
    with invocation.session() as session:
        if not references:
            told = session.kept.mend()
            lines = [f"repaired: {each}" for each in told] or ["what names the images is sound"]
            invocation.show(json=[{"repaired": list(told)}], quiet=(), lines=lines)
            return 0

        def verify(reference: str) -> None:
            results = session.kept.verify(reference, repair=repair)
            invocation.show(
                json=(result.to_json() for result in results),
                quiet=(result.manifest for result in results if not result.problems),
                lines=_lines(results),
            )
            if broken := [result for result in results if result.problems]:
                raise IntegrityError(
                    f"{reference}: {broken[0].platform}: {broken[0].problems[0]}",
                    broken[0].hint or _mend(reference, repaired=repair),
                    problems=[problem for result in broken for problem in result.problems],
                )

        return invocation.each(references, verify)


def _mend(reference: str, *, repaired: bool) -> str:
    return f"polyarch image rm {reference}, then pull it again" if repaired else f"polyarch verify --repair {reference}"


def _lines(results: Sequence[VerifiedImage]) -> Iterator[str]:
    for told in results[0].repaired if results else ():
        yield f"{results[0].reference.familiar}: repaired: {told}"
    for result in results:
        what = f"{result.reference.familiar} {result.platform}"
        if result.problems:
            yield from (f"{what}: {problem}" for problem in result.problems)
        else:
            yield f"{what}: sound, {result.blobs} blobs, {human_size(result.bytes)}"
        if result.policy:
            yield f"{what}: policy: {result.policy}"
