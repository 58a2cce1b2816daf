"""`polyarch lock`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from polyarch.cli.completers import stored_images
from polyarch.cli.failures import failure_of
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation, platform_option
from polyarch.cli.output import columns, short_id, write_bytes
from polyarch.errors import (
    IntegrityError,
    InterruptedPull,
    NotFoundError,
    PartialError,
    PolyarchError,
    UsageError,
)

if TYPE_CHECKING:
    from polyarch.lock.locked import Move
    from polyarch.lock.pinned import Pin
    from polyarch.session import Session
    from polyarch.verbs.lock import LockChange, LockCheck


@click.command(
    "lock",
    cls=Command,
    help="Write down which manifests image names stand for now, in a file to be kept in version control.\n"
    "polyarch pull --locked takes those and no others; --check tells which names moved since, --update follows them."
    " With -q it prints digests, with --check the names that moved or are gone.",
    examples=(
        "polyarch lock alpine ghcr.io/owner/app:1.0",
        "polyarch lock --from compose.yml --platform linux/amd64,linux/arm64",
        "polyarch lock --check",
        "polyarch lock --update alpine",
        "polyarch lock --apply compose.yml -o compose.pinned.yml",
    ),
    exits=(0, 2, 3, 4, 5, 6, 7, 8, 9, 10),
)
@click.argument("references", metavar="[REF...]", nargs=-1, shell_complete=stored_images)
@click.option("-f", "--file", metavar="FILE", type=click.Path(path_type=Path), help="the lock file [polyarch.lock]")
@platform_option("only these; without it all that there are", plural=True)
@click.option(
    "--from",
    "sources",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help="names in a Compose, Kubernetes, Docker file",
)
@click.option("--check", is_flag=True, help="tell what moved (exit 7) or is gone (3)")
@click.option("--update", is_flag=True, help="lock anew what is locked; without REF all")
@click.option(
    "--apply",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="print that file with digests in it",
)
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="where --apply writes the copy")
@pass_invocation
def command(
    invocation: Invocation,
    references: Sequence[str],
    file: Path | None,
    platform: str | None,
    sources: Sequence[Path],
    check: bool,
    update: bool,
    apply: Path | None,
    output: Path | None,
) -> int:
    """One of four: lock, check, update, apply."""
    from polyarch.lock.lock_file import DEFAULT_FILE

    if (check + update + (apply is not None)) > 1:
        raise UsageError("--check, --update and --apply are three things to do", "take one of them")
    if apply is None and output is not None:
        raise UsageError("-o is where --apply writes", "for another lock file take -f FILE")
    if apply and (references or sources or platform):
        raise UsageError("--apply takes a file, and no names or platforms")
    if check and platform:
        raise UsageError("--check looks at the platforms that are locked", "leave out --platform")
    lock_file = file or Path(DEFAULT_FILE)
    platforms = platform.split(",") if platform else []
    with invocation.session(lines_to_stderr=apply is not None) as session:
        if apply is not None:
            return _apply(invocation, session, lock_file, apply, output)
        wanted = _wanted(session, references, sources)
        if check:
            return _check(invocation, session, lock_file, wanted)
        if update:
            return _update(invocation, session, lock_file, wanted, platforms)
        if not wanted:
            raise click.UsageError("missing argument 'REF...', or --from FILE", click.get_current_context())

        def lock(name: str) -> None:
            _show(invocation, session.locks.lock(lock_file, name, platforms, wanted[name]))

        return invocation.each(list(wanted), lock)


def _wanted(session: Session, references: Sequence[str], sources: Sequence[Path]) -> dict[str, tuple[str, ...]]:
    """The names that were written, and those in files, with the platforms that these want them for."""
    wanted: dict[str, tuple[str, ...]] = dict.fromkeys(references, ())
    for source in sources:
        for name, platforms in session.locks.named_in(source).items():
            wanted[name] = (*wanted.get(name, ()), *platforms)
    return wanted


def _update(
    invocation: Invocation,
    session: Session,
    file: Path,
    wanted: dict[str, tuple[str, ...]],
    platforms: Sequence[str],
) -> int:
    from polyarch.lock.lock_file import read_lock

    names = wanted or {str(image.reference): () for image in read_lock(file).images}

    def update(name: str) -> None:
        _show(invocation, session.locks.update(file, name, platforms, names[name]))

    return invocation.each(list(names), update)


def _check(invocation: Invocation, session: Session, file: Path, wanted: dict[str, tuple[str, ...]]) -> int:
    """Look at every name, going on after failures; what moved, or is not as it was locked, counts for most."""
    from polyarch.lock.lock_file import read_lock

    lock = read_lock(file)
    names = wanted or {str(image.reference): () for image in lock.images}
    entries = session.locks.entries(lock, names, file)
    found: dict[str, list[str]] = {"same": [], "moved": [], "gone": []}
    failures: list[PolyarchError] = []
    for name, image in entries.items():
        try:
            check = session.locks.check(image, names[name])
        except PolyarchError as error:
            if len(entries) == 1 or isinstance(error, InterruptedPull):
                raise
            failures.append(error)
            invocation.tell(failure_of(error), error)
            continue
        familiar = image.reference.familiar
        found[check.status].append(familiar)
        quiet = [familiar] if check.status != "same" else []
        invocation.show(json=(each.to_json() for each in [check]), quiet=quiet, lines=_checked(check))
    if found["moved"]:
        hint = f"look at what changed, then: polyarch lock --update {' '.join(found['moved'])}"
        told = {status: found[status] for status in ("moved", "gone")}
        raise IntegrityError(f"moved since it was locked: {', '.join(found['moved'])}", hint, **told)
    if found["gone"]:
        raise NotFoundError(f"gone since it was locked: {', '.join(found['gone'])}", gone=found["gone"])
    broken = [error.exit_code for error in failures if isinstance(error, IntegrityError)]
    if failures and found["same"] and not broken:
        raise PartialError(f"{len(failures)} of {len(entries)} failed: the lines above say which")
    return (broken or [error.exit_code for error in failures] or [0])[0]


def _checked(check: LockCheck) -> Iterator[str]:
    name = check.image.reference.familiar
    if check.status == "moved":
        yield f"{name}: moved, {_arrow(check.image.digest, check.now)}"
        yield from _moves(check.moved)
    elif check.status == "gone":
        yield f"{name}: gone, was {short_id(check.image.digest)}"
    else:
        yield f"{name}: unchanged, {short_id(check.image.digest)}"


def _apply(invocation: Invocation, session: Session, file: Path, path: Path, output: Path | None) -> int:
    """The copy goes to stdout, or else what was written into it."""
    from polyarch.files import disk_error, place_for, write_in_one_step

    if output is None and not invocation.plain:
        raise UsageError("--apply prints the copy, and nothing beside it", "write it into a file with -o FILE")
    text, pins = session.locks.pinned(file, path)
    if output is None:
        write_bytes(text.encode(), sys.stdout)
        return 0
    try:
        place = place_for(output)
        write_in_one_step(place, text.encode(), place.with_name(f".{place.name}.new"), sync=False)
    except OSError as error:
        raise disk_error(error, f"cannot write {output}") from error
    invocation.show(
        json=({"line": pin.line, "name": pin.name, "pinned": pin.pinned} for pin in pins),
        quiet=(pin.pinned for pin in pins),
        lines=(f"{path}, line {pin.line}: {_pinned(pin)}" for pin in pins),
    )
    return 0


def _pinned(pin: Pin) -> str:
    if pin.pinned == pin.name:
        return f"{pin.name} has its digest"
    name, _, digest = pin.pinned.partition("@")
    return f"{name} pinned to {short_id(digest)}"


def _show(invocation: Invocation, change: LockChange) -> None:
    invocation.show(json=(each.to_json() for each in [change]), quiet=[change.image.digest], lines=_told(change))


def _told(change: LockChange) -> Iterator[str]:
    image, old = change.image, change.old
    name = image.reference.familiar
    if change.status == "new":
        yield f"{name}: locked to {short_id(image.digest)} ({', '.join(image.manifests)})"
    elif change.status == "unchanged":
        yield f"{name}: unchanged, {short_id(image.digest)}"
    elif old:
        yield f"{name}: updated, {_arrow(old.digest, image.digest)}"
        yield from _moves(change.moved)


def _moves(moved: Sequence[Move]) -> list[str]:
    return columns([(f"  {move.platform}", _arrow(move.old, move.new)) for move in moved])


def _arrow(old: str | None, new: str | None) -> str:
    if old == new:
        return f"still {short_id(old or '')}"
    return f"{short_id(old) if old else '(not there)'} -> {short_id(new) if new else '(gone)'}"
