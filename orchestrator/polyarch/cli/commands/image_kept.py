"""`polyarch image unpack`, `tag`, `rm`, `prune`, `save` and `load`: what is done with images at hand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from polyarch.cli.completers import stored_images
from polyarch.cli.durations import Duration
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, Count, pass_invocation, platform_option
from polyarch.cli.output import human_size, line
from polyarch.errors import UsageError

if TYPE_CHECKING:
    from polyarch.events import Emit
    from polyarch.verbs.images.prune import Pruned


@click.command(
    "unpack",
    cls=Command,
    help="Write the merged root file system of an image at hand into DIR; DIR is made.",
    examples=("polyarch image unpack alpine ./root", "polyarch image unpack --platform linux/arm64 alpine ./root"),
    exits=(0, 2, 3, 7, 8, 9, 130),
)
@click.argument("reference", metavar="REF", shell_complete=stored_images)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@platform_option()
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
    help="Take names away, and what nothing needs any more. An ID or a digest means an image with its name; what a"
    " container uses stays. With -q it prints the digests of the blobs that went.",
    examples=("polyarch image rm alpine", "polyarch image rm --platform linux/arm64 alpine"),
    exits=(0, 2, 3, 9, 10),
)
@click.argument("references", metavar="REF...", nargs=-1, required=True, shell_complete=stored_images)
@platform_option("only this one")
@click.option("-f", "--force", is_flag=True, help="all names, though stopped containers use it")
@pass_invocation
def rm(invocation: Invocation, references: Sequence[str], platform: str | None, force: bool) -> int:
    """Remove every reference, going on after failures."""
    with invocation.session() as session:

        def remove(reference: str) -> None:
            removed = session.kept.remove(reference, platform=platform, force=force)
            names = [name.familiar for name in removed.names]
            invocation.show(
                json=[{"reference": reference, "untagged": names, "removed": list(removed.blobs)}],
                quiet=removed.blobs,
                lines=[*(f"Untagged: {name}" for name in names), *(f"Deleted: {digest}" for digest in removed.blobs)],
            )

        return invocation.each(references, remove)


@click.command(
    "prune",
    cls=Command,
    help="Free space: images without a name, and what no image and no container needs."
    " With -q it prints the digests of what went.",
    examples=(
        "polyarch image prune",
        "polyarch image prune --all --older-than 30d",
        "polyarch image prune --keep 3 -n",
    ),
    exits=(0, 2, 9, 130),
)
@click.option("-a", "--all", "everything", is_flag=True, help="every image that no container uses")
@click.option("--older-than", metavar="TIME", type=Duration(), help="only what came here so long ago: 24h, 30d")
@click.option("--keep", metavar="N", type=Count(), help="--all, but the last N tags of a repository stay")
@click.option("-n", "--dry-run", is_flag=True, help="only tell what would go")
@click.option("-f", "--force", is_flag=True, help="do not ask before --all and --keep")
@pass_invocation
def prune(
    invocation: Invocation, everything: bool, older_than: float | None, keep: int | None, dry_run: bool, force: bool
) -> None:
    """Print what went, or would go."""
    from polyarch.verbs.images.prune_choice import PruneRules

    rules = PruneRules(everything or keep is not None, older_than, keep)
    with invocation.session() as session:
        if rules.everything and not dry_run and not force and sys.stdin.isatty() and sys.stderr.isatty():
            names = dict.fromkeys(_name(each) for each in session.kept.prune(rules, dry_run=True) if each.reference)
            if names:
                for text in ("These images go:", *(f"  {name}" for name in names)):
                    line(text, sys.stderr)
                if not click.confirm("Remove them?", err=True):
                    return
        pruned = session.kept.prune(rules, dry_run=dry_run)
    total = human_size(sum(each.size for each in pruned))
    untag, delete = ("Would untag", "Would delete") if dry_run else ("Untagged", "Deleted")
    invocation.show(
        json=map(_pruned_json, pruned),
        quiet=(each.digest for each in pruned if each.digest),
        lines=[
            *dict.fromkeys(f"{untag}: {_name(each)}" for each in pruned if each.reference),
            *(f"{delete}: {each.digest or 'what was left of a layer'}" for each in pruned if not each.reference),
            f"Total {'reclaimable' if dry_run else 'reclaimed'} space: {total}",
        ],
    )


def _name(pruned: Pruned) -> str:
    return pruned.reference.familiar if pruned.reference else ""


def _pruned_json(pruned: Pruned) -> dict[str, object]:
    name = str(pruned.reference) if pruned.reference else None
    return {"kind": pruned.kind, "digest": pruned.digest, "size": pruned.size, "reference": name}


@click.command(
    "save",
    cls=Command,
    help="Write images at hand into an archive. docker, podman, skopeo and containerd read it. Without -o it goes to"
    " standard output. Of each the variant for this machine, unless platforms are named.",
    examples=(
        "polyarch image save -o alpine.tar alpine",
        "polyarch image save --all-platforms app:1 | ssh pi docker load",
    ),
    exits=(0, 2, 3, 9),
)
@click.argument("references", metavar="REF...", nargs=-1, required=True, shell_complete=stored_images)
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="a file, which is replaced")
@click.option(
    "--type",
    "kind",
    metavar="oci-archive|docker-archive",
    type=click.Choice(["oci-archive", "docker-archive"]),
    default="oci-archive",
    help="docker-archive: for older tools",
)
@platform_option("only these platforms", plural=True)
@click.option("--all-platforms", is_flag=True, help="all that are at hand")
@pass_invocation
def save(
    invocation: Invocation,
    references: Sequence[str],
    output: Path | None,
    kind: Literal["oci-archive", "docker-archive"],
    platform: str | None,
    all_platforms: bool,
) -> None:
    """Save, and say what lies where, unless the archive itself goes to stdout."""
    if platform and all_platforms:
        raise UsageError("all platforms and certain ones cannot both be asked for", "leave out --all-platforms")
    if output is None and (sys.stdout.isatty() or invocation.json or invocation.quiet):
        raise UsageError("an archive is not for a terminal, nor for one who reads lines", "name a file with -o FILE")
    with invocation.session(lines_to_stderr=output is None) as session:
        images = session.kept.save(
            references, output or sys.stdout.buffer, kind=kind, platform=platform, all_platforms=all_platforms
        )
    if output is not None:
        invocation.show(
            json=[
                {
                    "reference": str(image.reference),
                    "platform": str(image.platform),
                    "manifest": image.manifest.digest,
                    "file": str(output),
                }
                for image in images
            ],
            quiet=[str(output)],
            lines=[f"Saved {image.reference.familiar} ({image.platform}) to {output}" for image in images],
        )


def _of_stdin(show: Emit) -> Emit:
    """What comes through a pipe lies in a file meanwhile, that is in nobody's words."""
    from polyarch.events import PullStarted

    return lambda event: None if isinstance(event, PullStarted) else show(event)


@click.command(
    "load",
    cls=Command,
    help="Bring in the images of an archive. It may be OCI's or docker's, compressed or not; they keep their names."
    " Without -i it is read from standard input. With -q it prints the names.",
    examples=("polyarch image load -i alpine.tar", "polyarch image load < app.tar.gz"),
    exits=(0, 2, 3, 7, 9, 130),
)
@click.option("-i", "--input", "source", metavar="FILE", type=click.Path(path_type=Path), help="a file; - is stdin")
@pass_invocation
def load(invocation: Invocation, source: Path | None) -> None:
    """Load, and print each image's name."""
    stdin = source is None or str(source) == "-"
    if stdin and sys.stdin.isatty():
        raise UsageError("there is no archive on standard input", "name a file with -i FILE")
    with invocation.session(lines_to_stderr=True, through=_of_stdin if stdin else None) as session:
        archive = sys.stdin.buffer if source is None or stdin else source
        for result in session.kept.load(archive):
            invocation.show(
                json=[result.to_json()],
                quiet=[str(result.name)],
                lines=[f"Loaded image: {result.name.familiar} ({result.platform})"],
            )
