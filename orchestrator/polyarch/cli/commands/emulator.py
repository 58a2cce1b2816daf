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
    from polyarch_platforms.emulators import EmulatorStatus, EmulatorTest
    from polyarch_platforms.installer import Installed

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
    help="Tell for each architecture what is registered, and whether it works. Changes nothing.",
    examples=("polyarch emulator status", "polyarch emulator status arm64 riscv64 --format json"),
    exits=(0, 2, 8),
)
@_words
@pass_invocation
def status(invocation: Invocation, words: Sequence[str]) -> None:
    """Print a line an architecture."""
    with invocation.session() as session:
        found = session.emulators.status(words)
    invocation.show(
        json=(fields(each) for each in found),
        quiet=(each.arch for each in found if each.works),
        lines=_lines(found, terminal_width()),
    )


def _lines(found: Sequence[EmulatorStatus], width: int | None) -> Iterator[str]:
    rows = [("ARCH", "REGISTERED", "WORKS", "FLAGS", "EMULATOR")]
    for each in found:
        registered = "yes" if each.enabled else "switched off" if each.registered else "no"
        mend = f"to mend it, {each.mend}" if each.mend else None
        boot = f"at each boot by {each.at_boot}" if each.at_boot else None
        about = "; ".join(part for part in (_emulator(each), boot, each.note, mend) if part)
        rows.append((each.arch, registered, "yes" if each.works else "no", each.flags or "-", about or "-"))
    yield from columns(rows, width)


def _emulator(each: EmulatorStatus) -> str:
    version = f" {each.interpreter_version}" if each.interpreter_version else ""
    private = " (private)" if each.source == "private" else ""
    return f"{each.interpreter}{version}{private}" if each.interpreter else ""


@command.command(
    "test",
    help="Try how emulated programs behave, of each architecture or those named: one that prints its "
    "platform, one that starts another, a script, argv[0], a setuid program. Exit 8 if one of them is of no use.",
    examples=("polyarch emulator test", "polyarch emulator test arm64"),
    exits=(0, 2, 8),
)
@_words
@pass_invocation
def test(invocation: Invocation, words: Sequence[str]) -> None:
    """Print a line a check; HostError if an essential one failed."""
    with invocation.session() as session:
        found = session.emulators.test(words)
    invocation.show(
        json=(fields(each.status) | {"checks": [fields(check) for check in each.checks]} for each in found),
        quiet=(each.status.arch for each in found if each.ok),
        lines=_checks(found, terminal_width()),
    )
    if broken := [each.status for each in found if not each.ok]:
        failed = next(check for each in found for check in each.checks if check.essential and check.verdict == "failed")
        raise HostError(
            f"emulation does not work for {', '.join(each.arch for each in broken)}: {broken[0].note or failed.fact}",
            broken[0].mend or f"as root: polyarch emulator install --force {broken[0].arch}",
            architectures=[each.arch for each in broken],
        )


def _checks(found: Sequence[EmulatorTest], width: int | None) -> Iterator[str]:
    rows = [("ARCH", "CHECK", "VERDICT", "FACT")]
    for each in found:
        status = each.status
        how = {"kernel": f"registered, flags {status.flags or '(none)'}", "private": "private", "none": ""}[
            status.source
        ]
        by = ", ".join(part for part in (_emulator(status).removesuffix(" (private)"), how) if part)
        for check in each.checks:
            fact = check.fact if check.name != "program" else "; ".join(part for part in (check.fact, by) if part)
            rows.append((status.arch, check.name, check.verdict.replace("-", " "), fact))
    yield from columns(rows, width)


@command.command(
    "install",
    help="Register emulators for the whole machine, for other tools: by QEMU's qemu-binfmt-conf.sh where the host has "
    "it. They survive a reboot where systemd or update-binfmts registers them again; --persistent asks for that.",
    examples=("polyarch emulator install arm64", "polyarch emulator install --persistent --credential arm64 s390x"),
    exits=(0, 2, 8),
)
@_words
@click.option("--script", metavar="PATH", type=click.Path(path_type=Path), help="QEMU's qemu-binfmt-conf.sh")
@click.option("--persistent/--no-persistent", default=None, help="survive reboots, or fail; default: if possible")
@click.option("--fix-binary/--no-fix-binary", default=None, help="flag F: keep QEMU open, serves containers")
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
    fix_binary: bool | None,
    credential: bool,
    preserve_argv0: bool | None,
    qemu_path: Path | None,
    qemu_suffix: str,
    force: bool,
) -> None:
    """Print what was registered."""
    with invocation.session() as session:
        installed = session.emulators.install(
            words,
            script=script,
            persistent=persistent,
            fix_binary=fix_binary,
            credential=credential,
            preserve_argv0=preserve_argv0,
            qemu_path=qemu_path,
            qemu_suffix=qemu_suffix,
            force=force,
        )
    invocation.show(
        json=(fields(each) for each in installed),
        quiet=(each.arch for each in installed),
        lines=map(_installed, installed),
    )


def _installed(each: Installed) -> str:
    status = "somebody else's entry serves, left as it is" if each.status == "present" else each.status
    flags = f" with flags {each.flags}" if each.flags else ""
    if each.at_boot:
        boot = f"registered at each boot by {each.at_boot}"
    else:
        boot = "not known to survive a reboot" if each.status == "present" else "until the next reboot"
    return f"{each.arch}: {status}: {each.interpreter}{flags}, {boot}"


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
        removed = session.emulators.remove(words)
    said = {
        "removed": "removed",
        "restored": "removed; what it had replaced is back",
        "gone": "was gone already",
        "absent": "not installed by polyarch; left as it is",
    }
    invocation.show(
        json=(fields(each) for each in removed),
        quiet=(each.arch for each in removed if each.status != "absent"),
        lines=(f"{each.arch}: {said[each.status]}{f'; {each.note}' if each.note else ''}" for each in removed),
    )
