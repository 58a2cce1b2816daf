"""`polyarch device`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from polyarch.cli.completers import devices
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Group, pass_invocation
from polyarch.cli.output import columns, terminal_width, write
from polyarch.errors import UsageError, platforms_errors

if TYPE_CHECKING:
    from polyarch_platforms.device import CpuInfo, Device

_LONGEST_ANSWER = 4 << 20


@click.group(
    "device",
    cls=Group,
    help="Tell what this machine is, what it executes natively and what by emulation.\n"
    "A machine that has nothing installed is known by its answer to the probe, a sh script.",
    examples=(
        "polyarch device --format json > this-machine.json",
        "polyarch device --print-probe | ssh pi sh -s | polyarch device --facts -",
    ),
    exits=(0, 2, 8),
)
@click.option("--print-probe", is_flag=True, help="print the probe instead")
@click.option("--facts", metavar="FILE|-", help="tell of the machine that answered the probe so")
@click.pass_context
def command(ctx: click.Context, print_probe: bool, facts: str | None) -> None:
    """Print the probe, another machine, or this one."""
    from polyarch_platforms.host import detect, parse_facts, probe_script

    invocation = ctx.find_object(Invocation)
    if invocation is None or ctx.invoked_subcommand:
        if print_probe or facts:
            raise UsageError("--print-probe and --facts stand alone", "leave out the word behind them")
        return
    if print_probe and facts:
        raise UsageError("--print-probe and --facts cannot both be asked for", "first print it, then read its answer")
    if print_probe:
        write(probe_script())
    elif facts:
        with platforms_errors():
            _show(invocation, detect(parse_facts(_read(facts))))
    else:
        with invocation.session() as session:
            _show(invocation, session.device)


def _read(name: str) -> str:
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(_LONGEST_ANSWER)
        else:
            with Path(name).open("rb") as stream:
                raw = stream.read(_LONGEST_ANSWER)
    except OSError as error:
        hint = "the probe writes it: polyarch device --print-probe"
        raise UsageError(f"facts file {name}: {error.strerror}", hint) from error
    # Windows' PowerShell writes what a program says as UTF-16.
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    return raw.decode(encoding, "replace")


def _show(invocation: Invocation, device: Device) -> None:
    invocation.show(
        json=(_json(one) for one in [device]),
        quiet=[str(device.platform)],
        lines=columns(_rows(device), terminal_width()),
    )


def _json(device: Device) -> dict[str, object]:
    document: dict[str, object] = json.loads(device.to_json())
    return document


def _rows(device: Device) -> Iterator[tuple[str, str]]:
    if device.name:
        yield "name", device.name
    yield "platform", str(device.platform)
    yield "native", ", ".join(map(str, device.native))
    for one in device.emulated:
        yield "emulated", f"{one.platform} by {one.emulator} ({one.how})"
    if not device.emulated:
        yield "emulated", "nothing"
    yield "machine", device.machine or "unknown"
    if device.kernel:
        yield "kernel", device.kernel
    yield "userland", f"{device.userland_bits} bits" if device.userland_bits else "unknown"
    yield "page size", f"{device.page_size} bytes" if device.page_size else "unknown"
    if device.userland_bits == 64 and any(one.architecture in ("arm64", "amd64") for one in device.native):
        runs = {True: "programs run, too", False: "programs do not run", None: "no proof that programs run"}
        yield "32 bits", runs[device.compat32]
    yield "cpu", _cpu(device.cpu) or "unknown"
    if device.board:
        board = device.board
        named = [board.model, board.revision and f"revision {board.revision}", board.soc]
        yield "board", ", ".join(part for part in named if part)
    if device.libc:
        yield "libc", device.libc
    if device.inside:
        yield "inside", ", ".join(device.inside)


def _cpu(cpu: CpuInfo) -> str:
    """`ARM Cortex-A76, level v8.2`. x86 models name their maker themselves."""
    maker = "" if cpu.vendor in ("GenuineIntel", "AuthenticAMD") and cpu.model else cpu.vendor
    name = " ".join(f"{maker} {cpu.model}".split())
    return ", ".join(part for part in (name, cpu.level and f"level {cpu.level}") if part)


@command.command(
    "ls",
    help="List the devices known by name, for --device.",
    examples=("polyarch device ls", "polyarch device ls --format json"),
    exits=(0, 2),
)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=devices)
@pass_invocation
def ls(invocation: Invocation, names: tuple[str, ...]) -> None:
    """Print a line a device."""
    from polyarch_platforms import named

    with platforms_errors():
        known = [named.named(name) for name in names or named.names()]
    rows = [("NAME", "PLATFORM", "BOARD OR CPU", "NATIVE")]
    rows += [
        (
            device.name,
            str(device.platform),
            device.board.model if device.board and device.board.model else device.cpu.model or "-",
            ", ".join(map(str, device.native)),
        )
        for device in known
    ]
    invocation.show(
        json=(_json(device) for device in known),
        quiet=(device.name for device in known),
        lines=columns(rows, terminal_width()),
    )
