"""What is compared."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.bench import COMMAND, QUICK_FACTOR, Bench, Turn, alternating
from benchmarks.commit import commit
from benchmarks.copy_all import copy_all
from benchmarks.image_files import image_files
from benchmarks.into_docker import into_docker
from benchmarks.into_engines import into_containerd, into_podman
from benchmarks.many import containers, many
from benchmarks.plugins import plugins
from benchmarks.programs import program
from benchmarks.pulling import pull, second_pull
from benchmarks.push import push
from benchmarks.ready import ready, ready_user
from benchmarks.result import Case, Figure, against, median
from benchmarks.running import run
from benchmarks.second_version import second_version
from benchmarks.small import progress, small
from polyarch_platforms.host import probe_script

NOTHING = "python3 -c pass"


def resolve(bench: Bench) -> Case:
    """The whole process, beside skopeo's look at the same name."""

    def skopeo(turn: Turn) -> Sequence[str]:
        return (program("skopeo"), "inspect", "--tls-verify=false", f"docker://{bench.origin.reference}")

    contenders = alternating(
        bench,
        {
            "skopeo inspect": skopeo,
            NOTHING: nothing,
            "polyarch resolve": lambda turn: bench.polyarch(turn.folder, "resolve", bench.origin.reference),
        },
        bench.runs * QUICK_FACTOR,
    )
    return Case("resolve", contenders, [Figure("resolve", median(contenders["polyarch resolve"]), 0.35, " s")])


def start(bench: Bench) -> Case:
    """The help page against an interpreter that does nothing."""
    contenders = alternating(
        bench, {NOTHING: nothing, "polyarch --help": lambda turn: (COMMAND, "--help")}, bench.runs * QUICK_FACTOR
    )
    return Case("start", contenders, against(contenders, "polyarch --help", NOTHING, 3))


def nothing(turn: Turn) -> Sequence[str]:
    """An interpreter that starts and ends."""
    return (sys.executable, "-c", "pass")


def probe(bench: Bench) -> Case:
    """Asking this machine what it is: the script alone, and the command as a whole."""
    script = probe_script()
    contenders = alternating(
        bench,
        {
            NOTHING: nothing,
            "the probe": lambda turn: ("/bin/sh", "-c", script),
            "polyarch device": lambda turn: bench.polyarch(turn.folder, "device"),
        },
        bench.runs * QUICK_FACTOR,
    )
    asked = Figure("the probe", median(contenders["the probe"]) * 1000, 50, " ms")
    told = against(contenders, "polyarch device", NOTHING, 0)
    return Case("device", contenders, [asked], [f"{figure.name}: {figure.value:.2f}" for figure in told])


CASES = {
    "pull": pull,
    "ready": ready,
    "ready-user": ready_user,
    "second-pull": second_pull,
    "second-version": second_version,
    "run": run,
    "many": many,
    "resolve": resolve,
    "start": start,
    "small": small,
    "progress": progress,
    "containers": containers,
    "probe": probe,
    "plugins": plugins,
    "into-docker": into_docker,
    "into-podman": into_podman,
    "into-containerd": into_containerd,
    "commit": commit,
    "push": push,
    "copy-all": copy_all,
    "image-files": image_files,
}
