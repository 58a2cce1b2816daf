"""`polyarch fleet`."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from polyarch.cli.completers import stored_images
from polyarch.cli.durations import Duration
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Count, Group, emulation_option, pass_invocation
from polyarch.cli.output import json_line, terminal_width
from polyarch.errors import PartialError, PolyarchError, UsageError
from polyarch.signals import ending_signals

if TYPE_CHECKING:
    from types import FrameType

    from polyarch.fleet.interrupt import Interrupt
    from polyarch.fleet.record import RolloutRecord
    from polyarch.verbs.fleet.request import FleetRequest

F = TypeVar("F", bound=Callable[..., Any])

command = Group(
    "fleet",
    help="Images for many devices of mixed hardware at once: every device gets the variant that it can run.\n"
    "Devices come from an Ansible inventory; they need SSH and an engine, nothing of polyarch's.",
    examples=(
        "polyarch fleet plan -i hosts.yml alpine:3.20",
        "polyarch fleet pull -i hosts.yml --batch 1,10% --report report.html alpine",
        "polyarch fleet status -i hosts.yml --locked polyarch.lock",
    ),
)


def _asked(function: F) -> F:
    """The words and options with which every verb is told which devices and images are meant."""
    options = (
        click.argument("references", metavar="[REF]...", nargs=-1, shell_complete=stored_images),
        click.option(
            "-i",
            "--inventory",
            metavar="INVENTORY",
            multiple=True,
            help="Ansible's: a file, 'pi1,pi2,'; local: this machine",
        ),
        click.option("-l", "--limit", metavar="PATTERN", default="", help="Ansible's pattern; @failed, @offline"),
        click.option(
            "--compose",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="its images; a Dockerfile's, a manifest's, too",
        ),
        click.option("--locked", metavar="FILE", type=click.Path(path_type=Path), help="exactly what is locked there"),
        click.option(
            "--into",
            metavar="ENGINE",
            type=click.Choice(["docker", "podman", "containerd", "oci"]),
            help="docker, podman, containerd or oci",
        ),
        emulation_option,
        click.option("--forks", metavar="N", type=click.IntRange(1, 10_000), help="devices at once, else 20"),
        click.option("--timeout", metavar="S", type=Duration(1), help="seconds for a device, else 600"),
    )
    for option in reversed(options):
        function = option(function)
    return function


_max_age = click.option(
    "--max-age", metavar="T", type=Duration(), default=0.0, help="ask no device that answered so lately: 10m"
)


@command.command(
    "plan",
    help="Tell what each device would get, why, and how many bytes that takes; nothing is changed.\n"
    "With --format json it can be kept for: polyarch fleet pull --plan FILE. With -q: the devices that would pull.",
    examples=(
        "polyarch fleet plan -i hosts.yml alpine:3.20",
        "polyarch fleet plan -i 'pi1,pi2,' --compose compose.yml --format json >plan",
    ),
    exits=(0, 2, 5, 6, 8, 10),
)
@_asked
@_max_age
@pass_invocation
def plan(invocation: Invocation, /, **words: Any) -> int:
    """Print a line a device. The exit code tells if some devices cannot get what they should."""
    from polyarch.cli.fleet_lines import plan_table
    from polyarch.cli.fleet_show import FleetShow
    from polyarch.fleet.plan_json import plan_lines
    from polyarch.fleet.rollout_failure import plan_failure

    with FleetShow(invocation) as show:
        with invocation.session(lines_to_stderr=True, through=show.over) as session:
            made = session.fleet.plan(_request(words))
    *devices, summary = plan_lines(made)
    invocation.show(
        json=devices,
        quiet=(one.device for one in made.devices if one.verdict == "will-pull"),
        lines=plan_table(made, terminal_width()),
    )
    return _end(invocation, plan_failure(made), summary)


@command.command(
    "pull",
    help="Bring every device the right variant of each image; by waves, and what came is held against the plan.\n"
    "Ctrl-C lets what is under way come to its end; a second one ends it. With -q: the devices that have their images.",
    examples=(
        "polyarch fleet pull -i hosts.yml alpine:3.20",
        "polyarch fleet pull -i hosts.yml --batch 1,10% --check 'test -e /srv' alpine",
        "polyarch fleet pull -i hosts.yml --limit @failed alpine:3.20",
        "polyarch fleet pull --resume",
    ),
    exits=(0, 2, 4, 5, 6, 7, 8, 9, 10, 130),
)
@_asked
@click.option("--batch", metavar="N|P%,...", default="100%", help="sizes of waves: 1,10%,100%")
@click.option("--retries", metavar="N", type=Count(), default=2, help="further attempts at a device, else 2")
@click.option("--max-fail", metavar="N|P%", default="", help="more failures stop it, or a platform")
@click.option("--check", metavar="COMMAND", help="has to succeed on each device at its end")
@click.option("--pause", metavar="T", type=Duration(), default=0.0, help="between two waves: 30s, 10m")
@click.option("--wait-offline", metavar="T", type=Duration(), default=0.0, help="so long, look for offline ones: 2h")
@click.option(
    "--transport",
    metavar="WAY",
    type=click.Choice(["tunnel", "stream", "direct"]),
    help="tunnel, stream or direct; else what is allowed",
)
@click.option("--limit-rate", metavar="RATE", help="bytes a second, all together: 500k, 10M")
@click.option("--plan", "plan_file", metavar="FILE", type=click.Path(path_type=Path), help="do exactly that plan")
@click.option("--resume", is_flag=True, help="go on with the one that was broken off")
@click.option("--report", metavar="FILE.html", type=click.Path(path_type=Path), help="write a page about it")
@pass_invocation
def pull(
    invocation: Invocation,
    /,
    *,
    batch: str,
    retries: int,
    max_fail: str,
    check: str | None,
    pause: float,
    wait_offline: float,
    transport: Any,
    limit_rate: str | None,
    plan_file: Path | None,
    resume: bool,
    report: Path | None,
    **words: Any,
) -> int:
    """Show what happens, and end with what the rollout comes to."""
    from polyarch.cli.fleet_show import FleetShow
    from polyarch.fleet.rate import parse_rate
    from polyarch.fleet.record import RolloutSettings
    from polyarch.fleet.report import check_report_path, write_report
    from polyarch.fleet.stop_rule import parse_max_fail
    from polyarch.fleet.waves import parse_batch
    from polyarch.verbs.fleet.request import PullRequest

    if resume and (others := _given() - {"resume", "report"}):
        raise UsageError(
            f"a rollout goes on as it was begun: {', '.join(sorted(others))} cannot be given with --resume",
            "leave out all but --resume and --report",
        )
    if plan_file and (words["references"] or words["compose"] or words["locked"]):
        raise UsageError("a plan has its images already", "leave them out, or make another plan with: fleet plan")
    request = _request(words)
    if limit_rate is not None and transport == "direct":
        raise UsageError("--limit-rate bounds what goes out from here, and --transport direct lets nothing go out")
    how = PullRequest(
        RolloutSettings(parse_batch(batch), parse_max_fail(max_fail), retries, pause, wait_offline),
        check,
        transport,
        None if limit_rate is None else parse_rate(limit_rate),
    )
    if report is not None:
        check_report_path(report)
    with FleetShow(invocation) as show:
        with invocation.session(lines_to_stderr=True, through=show.over) as session:
            if resume:
                record = session.fleet.resume(_interrupting)
            else:
                record = session.fleet.pull(request, how, _interrupting, plan_file)
    if report is not None:
        write_report(report, record)
    return _ended(invocation, record)


def _given() -> set[str]:
    """The words that stand on the command line, by the names of the parameters that they are."""
    context = click.get_current_context()
    source = click.core.ParameterSource.COMMANDLINE
    return {name for name in context.params if context.get_parameter_source(name) is source}


def _ended(invocation: Invocation, record: RolloutRecord) -> int:
    """Print what a rollout comes to; its outcomes have been printed. The exit code."""
    from polyarch.cli.fleet_lines import record_line
    from polyarch.fleet.outcomes import SUCCEEDED
    from polyarch.fleet.outcomes_json import summary_json
    from polyarch.fleet.rollout_failure import failure_of

    done = (outcome.device for outcome in record.outcomes.values() if outcome.status in SUCCEEDED)
    invocation.show(json=(), quiet=done, lines=[record_line(record)])
    summary = {**summary_json(record.summary), "rollout": record.id, "phase": record.phase}
    return _end(invocation, failure_of(record), {"summary": summary})


def _end(invocation: Invocation, error: PolyarchError | None, summary: Mapping[str, object] | None = None) -> int:
    """Tell the error, if there is one; in JSON the summary is the last line all the same. The exit code."""
    from polyarch.cli.failures import failure_of

    if error is not None:
        invocation.tell(failure_of(error), error)
    if invocation.json and summary is not None:
        json_line(summary)
    return 0 if error is None else error.exit_code


@command.command(
    "status",
    help="How each device stands: what it is, and which images it has against what it should have. Where a device does "
    "not answer, what it said last.\nIt ends with 10 where a device does not have what it should. With -q: those.",
    examples=(
        "polyarch fleet status -i hosts.yml alpine:3.20",
        "polyarch fleet status -i hosts.yml --locked polyarch.lock",
    ),
    exits=(0, 2, 5, 6, 7, 8, 10),
)
@_asked
@_max_age
@pass_invocation
def status(invocation: Invocation, /, **words: Any) -> int:
    """Print a line for each image on each device."""
    from polyarch.cli.fleet_lines import facts_table, status_table
    from polyarch.cli.fleet_show import FleetShow

    with FleetShow(invocation) as show:
        with invocation.session(lines_to_stderr=True, through=show.over) as session:
            states = list(session.fleet.status(_request(words)))
    wrong = [state for state in states if not state.good]
    invocation.show(
        json=(state.to_json() for state in states),
        quiet=(state.device for state in wrong),
        lines=chain(facts_table(states, terminal_width()), status_table(states, terminal_width())),
    )
    error = PartialError(
        f"{len(wrong)} of {len(states)} devices do not have what they should, or did not answer",
        "bring it to them with: polyarch fleet pull",
        devices=[state.device for state in wrong],
    )
    return _end(invocation, error if wrong else None)


@command.command(
    "report",
    help="Write the last rollout's report again: with --report the page, else what became of each device.",
    examples=("polyarch fleet report", "polyarch fleet report --report report.html"),
    exits=(0, 3, 4, 5, 6, 7, 8, 9, 10),
)
@click.option("--report", metavar="FILE.html", type=click.Path(path_type=Path), help="write the page about it")
@pass_invocation
def report(invocation: Invocation, report: Path | None) -> int:
    """Print a line a device, as the rollout did; and end as it did."""
    from polyarch.cli.fleet_lines import outcome_line
    from polyarch.fleet.outcomes_json import outcome_json
    from polyarch.fleet.report import check_report_path, write_report

    if report is not None:
        check_report_path(report)
    with invocation.session(lines_to_stderr=True) as session:
        record = session.fleet.report()
    if report is not None:
        write_report(report, record)
    outcomes = list(record.outcomes.values())
    invocation.show(json=map(outcome_json, outcomes), quiet=(), lines=map(outcome_line, outcomes))
    return _ended(invocation, record)


@contextlib.contextmanager
def _interrupting() -> Iterator[Interrupt]:
    """The first Ctrl-C (or SIGTERM, or SIGHUP) lets what is under way come to its end; the second ends it."""
    from polyarch.fleet.interrupt import Interrupt

    interrupt = Interrupt()

    def stop(number: int, frame: FrameType | None) -> None:
        if interrupt.cancelled:
            interrupt.end()
        else:
            interrupt.cancel()

    before = {number: signal.signal(number, stop) for number in ending_signals()}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _request(words: dict[str, Any]) -> FleetRequest:
    from polyarch.verbs.fleet.request import FORKS, TIMEOUT, FleetRequest

    return FleetRequest(
        inventory=tuple(words["inventory"]),
        limit=words["limit"],
        images=tuple(words["references"]),
        compose=words["compose"],
        locked=words["locked"],
        engine=words["into"],
        emulation=words["emulation"],
        forks=words["forks"] or FORKS,
        timeout=words["timeout"] or TIMEOUT,
        max_age=words.get("max_age", 0.0),
    )
