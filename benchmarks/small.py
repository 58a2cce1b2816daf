"""What polyarch needs on a small device: half of one core, 512 MB; and what showing progress costs."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench, Command, Turn, alternating
from benchmarks.process import measured
from benchmarks.programs import program
from benchmarks.result import Case, Figure, against, cpu, max_rss
from benchmarks.watch import highest_of_all

MOST_MEMORY = 120
"""MB of a path: polyarch and what it starts."""
DEVICE_MEMORY = 512 << 20
DEVICE_SHARE = 0.5
"""Of one core."""
_PERIOD = 100_000  # microseconds
_GROUPS = Path("/sys/fs/cgroup")


def small(bench: Bench) -> Case:
    """Each way once with its memory looked at, then measured: all on one core, within a control group."""
    reference, kept = bench.origin.reference, bench.work / "small-kept"
    run = ("run", "--rm", reference, "true")
    measured(bench.polyarch(kept, *run), bench.environment)
    with device() as (words, told):

        def here(*arguments: str, layers: str = "auto", root: Path | None = None) -> Command:
            return lambda turn: [*words, *bench.polyarch(root or turn.folder, *arguments, layers=layers)]

        def at_hand(command: Command) -> Command:
            def pulled(turn: Turn) -> Sequence[str]:
                measured(bench.polyarch(turn.folder, "pull", reference), bench.environment)
                return command(turn)

            return pulled

        commands = {
            "resolve": here("resolve", reference),
            "pull": here("pull", reference),
            "pull --prepare": here("pull", "--prepare", reference),
            "pull --prepare, unpacking": here("pull", "--prepare", reference, layers="unpack"),
            "run, the first time": at_hand(here(*run)),
            "run": here(*run, root=kept),
        }
        most = {name: _most(bench, name, command) for name, command in commands.items()}
        contenders = alternating(bench, commands, bench.runs, fresh=True)
    figures = [
        Figure(f"memory of {name}, all its processes", max(most[name], max_rss(runs)) / 1e6, MOST_MEMORY, " MB")
        for name, runs in contenders.items()
    ]
    return Case("on a small device", contenders, figures, [told])


def _most(bench: Bench, name: str, command: Command) -> int:
    turn = Turn(bench.work / f"small-{name.replace(' ', '-')}")
    turn.folder.mkdir()
    return highest_of_all(list(command(turn)), bench.environment)


@contextmanager
def device() -> Iterator[tuple[list[str], str]]:
    """The words in front of what is to run as on a small device, and what they do, as far as it is permitted here."""
    quota = int(_PERIOD * DEVICE_SHARE)
    one = {"memory": {"memory.limit_in_bytes": DEVICE_MEMORY}}
    one["cpu"] = {"cpu.cfs_period_us": _PERIOD, "cpu.cfs_quota_us": quota}
    both = {"": {"memory.max": DEVICE_MEMORY, "memory.swap.max": 0, "cpu.max": f"{quota} {_PERIOD}"}}
    wanted: Mapping[str, Mapping[str, object]] = both if (_GROUPS / "cgroup.controllers").exists() else one
    made: list[Path] = []
    core = [program("taskset"), "--cpu-list", str(min(os.sched_getaffinity(0)))]
    try:
        try:
            for controller, limits in wanted.items():
                group = _GROUPS / controller / f"polyarch-bench-{os.getpid()}"
                group.mkdir()
                made.append(group)
                for file, value in limits.items():
                    (group / file).write_text(str(value))
        except OSError as error:
            print(f"  no control group can be made here, {error}: nothing limits memory", file=sys.stderr)
            yield [*core, program("nice"), "-n", "10"], "one core, at low priority; memory is not limited"
            return
        enter = "; ".join(f"echo $$ > {shlex.quote(str(group / 'cgroup.procs'))}" for group in made)
        said = f"{DEVICE_SHARE:g} of one core, {DEVICE_MEMORY >> 20} MB of memory, the page cache included"
        yield [*core, "sh", "-ec", f'{enter}; exec "$@"', "sh"], said
    finally:
        for group in made:
            group.rmdir()


def progress(bench: Bench) -> Case:
    """What a pull's reports cost: the same pull with none, as lines, as JSON, and with bars on a terminal."""
    ways = ("none", "plain", "json")

    def shown(way: str) -> Command:
        return lambda turn: bench.polyarch(turn.folder, "--progress", way, "pull", bench.origin.reference, sync="none")

    def terminal(turn: Turn) -> Sequence[str]:
        words = bench.polyarch(turn.folder, "pull", bench.origin.reference, sync="none")
        return (program("script"), "--quiet", "--return", "--command", shlex.join(words), "/dev/null")

    commands = {f"--progress {way}": shown(way) for way in ways} | {"on a terminal": terminal}
    contenders = alternating(bench, commands, bench.runs, fresh=True)
    without = f"--progress {ways[0]}"
    return Case(
        "progress",
        contenders,
        [
            figure
            for name in commands
            if name != without
            for figure in against(contenders, name, without, 1.01, f"CPU seconds, {name} ÷ {without}", cpu)
        ],
    )
