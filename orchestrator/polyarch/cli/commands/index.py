"""`polyarch index`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from polyarch.cli.completers import stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Group, pass_invocation
from polyarch.cli.output import columns, human_size, short_id, terminal_width

if TYPE_CHECKING:
    from polyarch.verbs.moving.moved import IndexResult

command = Group(
    "index",
    help="Images of several platforms joined under one name at a registry.",
    examples=("polyarch index create app:1.0 app:1.0-amd64 app:1.0-arm64v8", "polyarch index inspect app:1.0"),
)

_name = click.argument("name", metavar="NAME", shell_complete=stored_images)
_references = click.argument("references", metavar="REF...", nargs=-1, required=True, shell_complete=stored_images)
_dry_run = click.option("--dry-run", is_flag=True, help="only tell what the index would hold")
_allow = click.option("--allow-mislabelled", is_flag=True, help="take an image as what its programs are")


@command.command(
    "create",
    help="Join images under NAME, which points at the new index afterwards. Each one's platform is read from its config"
    " and from the program that it starts; two of one platform are refused. An index among them brings all its"
    " entries. What lies in another repository is mounted or copied. With -q it prints the digest of the index.",
    examples=(
        "polyarch index create app:1.0 app:1.0-amd64 app:1.0-arm64v8 app:1.0-armhf",
        "polyarch index create --dry-run app:1.0 amd64/app:1.0 arm64v8/app:1.0",
    ),
    exits=(0, 2, 3, 5, 6, 7, 130),
)
@_name
@_references
@_dry_run
@_allow
@pass_invocation
def create(
    invocation: Invocation, name: str, references: Sequence[str], dry_run: bool, allow_mislabelled: bool
) -> None:
    """Make an index."""
    with invocation.session() as session:
        result = session.moving.create_index(name, references, dry_run=dry_run, allow_mislabelled=allow_mislabelled)
    _show(invocation, result)


@command.command(
    "append",
    help="Add images to the index of NAME; where that is a single image, it becomes the first of a new one.\n"
    "With -q it prints the digest of the index.",
    examples=("polyarch index append app:1.0 app:1.0-riscv64", "polyarch index append app:1.0 quay.io/other/app:1.0"),
    exits=(0, 2, 3, 5, 6, 7, 130),
)
@_name
@_references
@_dry_run
@_allow
@pass_invocation
def append(
    invocation: Invocation, name: str, references: Sequence[str], dry_run: bool, allow_mislabelled: bool
) -> None:
    """Add to an index."""
    with invocation.session() as session:
        result = session.moving.append_to_index(name, references, dry_run=dry_run, allow_mislabelled=allow_mislabelled)
    _show(invocation, result)


@command.command(
    "remove",
    help="Take entries out of the index of NAME: by platform, by the digest of the manifest or its beginning, or what a"
    " reference holds. Their attestations go with them. With -q it prints the digest of the index.",
    examples=("polyarch index remove app:1.0 linux/arm/v6", "polyarch index remove app:1.0 sha256:4f53cda18c2b"),
    exits=(0, 2, 3, 5, 6, 7, 130),
)
@_name
@click.argument("words", metavar="PLATFORM|REF|DIGEST...", nargs=-1, required=True)
@_dry_run
@pass_invocation
def remove(invocation: Invocation, name: str, words: Sequence[str], dry_run: bool) -> None:
    """Take out of an index."""
    with invocation.session() as session:
        result = session.moving.remove_from_index(name, words, dry_run=dry_run)
    _show(invocation, result)


@command.command(
    "inspect",
    help="List the entries of the index of NAME. With -q it prints their digests.",
    examples=("polyarch index inspect alpine", "polyarch index inspect --format json ghcr.io/owner/app:1.0"),
    exits=(0, 2, 3, 5, 6, 7),
)
@_name
@pass_invocation
def inspect(invocation: Invocation, name: str) -> None:
    """Print a line an entry."""
    with invocation.session() as session:
        result = session.moving.inspect_index(name)
    invocation.show(
        json=(result.to_json(),),
        quiet=(entry.descriptor.digest for entry in result.entries),
        lines=_lines(result, terminal_width()),
    )


def _show(invocation: Invocation, result: IndexResult) -> None:
    invocation.show(json=(result.to_json(),), quiet=(result.digest,), lines=_lines(result, terminal_width()))


def _lines(result: IndexResult, width: int | None) -> Iterator[str]:
    rows = [("PLATFORM", "MANIFEST", "SIZE", "KIND")]
    for entry in result.entries:
        kind = f"attestation of {short_id(entry.about)}" if entry.about else entry.descriptor.artifact_type or "image"
        rows.append((entry.platform or "-", short_id(entry.descriptor.digest), human_size(entry.descriptor.size), kind))
    yield from columns(rows, width)
    yield f"Digest: {result.digest}"
    yield str(result.reference)
