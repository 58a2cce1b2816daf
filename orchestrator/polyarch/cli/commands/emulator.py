"""`polyarch emulator`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from polyarch.cli.completers import architectures
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Group, pass_invocation
from polyarch.cli.output import columns, fields, terminal_width
from polyarch.errors import HostError

if TYPE_CHECKING:
    from polyarch_platforms.emulators import EmulatorStatus

command = Group(
    "emulator",
    help="What the kernel has registered to run foreign programs with, and whether it works.\n"
    "polyarch itself needs nothing registered: it emulates privately where it can.",
    examples=("polyarch emulator status", "polyarch emulator install arm64"),
    exits=(0, 2, 8),
)

_words = click.argument("words", metavar="[ARCH]...", nargs=-1, shell_complete=architectures)


@command.command(
    "status",
    help="Tell for each architecture what is registered, and whether a program of it runs. Changes nothing.",
    examples=("polyarch emulator status", "polyarch emulator status arm64 riscv64 --format json"),
    exits=(0, 2, 8),
)
@_words
@pass_invocation
def status(invocation: Invocation, words: Sequence[str]) -> None:
    """Print a line an architecture."""
    with invocation.session() as session:
        _show(invocation, session.emulator_status(words))


@command.command(
    "test",
    help="Run a program of each architecture that can be emulated here (or is named); exit 8 unless all run.",
    examples=("polyarch emulator test", "polyarch emulator test arm64"),
    exits=(0, 2, 8),
)
@_words
@pass_invocation
def test(invocation: Invocation, words: Sequence[str]) -> None:
    """Print a line an architecture; HostError if one does not work."""
    with invocation.session() as session:
        found = session.emulator_test(words)
    _show(invocation, found)
    if broken := [each for each in found if not each.works]:
        raise HostError(
            f"emulation does not work for {', '.join(each.arch for each in broken)}: {broken[0].note}",
            "see: polyarch doctor",
            architectures=[each.arch for each in broken],
        )


def _show(invocation: Invocation, found: Sequence[EmulatorStatus]) -> None:
    invocation.show(
        json=(fields(each) for each in found),
        quiet=(each.arch for each in found if each.works),
        lines=_lines(found, terminal_width()),
    )


def _lines(found: Sequence[EmulatorStatus], width: int | None) -> Iterator[str]:
    rows = [("ARCH", "REGISTERED", "WORKS", "FLAGS", "EMULATOR")]
    for each in found:
        registered = "yes" if each.enabled else "switched off" if each.registered else "no"
        emulator = each.interpreter or ""
        if each.interpreter_version:
            emulator += f" {each.interpreter_version}"
        if each.source == "private":
            emulator += " (private)"
        about = "; ".join(part for part in (emulator, each.note) if part)
        rows.append((each.arch, registered, "yes" if each.works else "no", each.flags or "-", about or "-"))
    yield from columns(rows, width)


@command.command(
    "install",
    help="Register emulators for the whole machine: by QEMU's qemu-binfmt-conf.sh where the host has it, else in the "
    "host's own way. The options mean what QEMU's script means by them.",
    examples=("polyarch emulator install arm64", "polyarch emulator install --persistent --credential arm64 s390x"),
    exits=(0, 2, 8),
)
@_words
@click.option("--script", metavar="PATH", type=click.Path(path_type=Path), help="QEMU's qemu-binfmt-conf.sh")
@click.option("--persistent/--no-persistent", default=None, help="flag F: keep QEMU open, serves containers")
@click.option("--credential", is_flag=True, help="flag C: setuid programs keep their rights")
@click.option("--preserve-argv0/--no-preserve-argv0", default=None, help="flag P: programs see their own argv[0]")
@click.option("--qemu-path", metavar="DIR", type=click.Path(path_type=Path), help="where the QEMU programs are")
@click.option("--qemu-suffix", metavar="TEXT", default="", help="behind qemu-ARCH, such as -static")
@click.option("--force", is_flag=True, help="replace what somebody else registered")
@pass_invocation
def install(
    invocation: Invocation,
    words: Sequence[str],
    script: Path | None,
    persistent: bool | None,
    credential: bool,
    preserve_argv0: bool | None,
    qemu_path: Path | None,
    qemu_suffix: str,
    force: bool,
) -> None:
    """Print what was registered."""
    with invocation.session() as session:
        installed = session.emulator_install(
            words,
            script=script,
            persistent=persistent,
            credential=credential,
            preserve_argv0=preserve_argv0,
            qemu_path=qemu_path,
            qemu_suffix=qemu_suffix,
            force=force,
        )
    invocation.show(
        json=(fields(each) for each in installed),
        quiet=(each.arch for each in installed),
        lines=(
            f"{each.arch}: {each.status}, {each.interpreter}" + (f" with flags {each.flags}" if each.flags else "")
            for each in installed
        ),
    )


@command.command(
    "remove",
    help="Take away what polyarch installed, and nothing else; what it had replaced comes back.",
    examples=("polyarch emulator remove", "polyarch emulator remove arm64"),
    exits=(0, 2, 8),
)
@_words
@pass_invocation
def remove(invocation: Invocation, words: Sequence[str]) -> None:
    """Print what became of each."""
    with invocation.session() as session:
        removed = session.emulator_remove(words)
    said = {
        "removed": "removed",
        "restored": "removed; what it had replaced is back",
        "gone": "was gone already",
        "absent": "not installed by polyarch; left as it is",
    }
    invocation.show(
        json=(fields(each) for each in removed),
        quiet=(each.arch for each in removed if each.status != "absent"),
        lines=(f"{each.arch}: {said[each.status]}" for each in removed),
    )
