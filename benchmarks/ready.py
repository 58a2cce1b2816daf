"""From nothing to a container that has run: what somebody waits for who wants to use an image."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from benchmarks.bench import Bench, Command, Turn, alternating
from benchmarks.engines import dockerd, one_version, podman_words, spec_for
from benchmarks.process import MissingError
from benchmarks.programs import program
from benchmarks.result import Case, against, memory

DOCKER, PODMAN, UMOCI = "docker", "podman", "skopeo, umoci, crun"
NONE, BATCH = "polyarch, sync=none", "polyarch, sync=batch"
HOST = ("--network", "host")
"""polyarch's default, and the quickest for the peers."""


def ready(bench: Bench) -> Case:
    """Root: a pull and `true` in a container of what came, to its end, into a storage that has nothing yet."""
    if os.geteuid() != 0:
        raise MissingError("docker and podman are measured as root")
    reference = bench.origin.reference
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as short:

        def docker(turn: Turn) -> Sequence[str]:
            daemon = turn.ends.enter_context(dockerd(turn.folder, bench.environment, alone=False))
            turn.daemons.append(daemon.pid)
            words = [program("docker"), "--host", f"unix://{daemon.socket}"]
            return both([*words, "pull", "--quiet", reference], [*words, "run", "--rm", *HOST, reference, "true"])

        def podman(turn: Turn) -> Sequence[str]:
            words = [*one_version(), *podman_words(turn.folder, Path(mkdtemp(dir=short)))]
            pulled = [*words, "pull", "--quiet", "--tls-verify=false", reference]
            return both(pulled, [*words, "run", "--rm", *HOST, reference, "true"])

        def umoci(turn: Turn) -> Sequence[str]:
            return by_umoci(turn.folder, reference)

        contenders = alternating(
            bench,
            {DOCKER: docker, PODMAN: podman, UMOCI: umoci} | own(bench),
            bench.runs,
            fresh=True,
        )
    return Case(
        "from nothing to a container that has run, as root",
        contenders,
        [
            *(
                figure
                for name, target in ((NONE, 0.15), (BATCH, 0.2))
                for peer in (DOCKER, PODMAN)
                for figure in against(contenders, name, peer, target)
            ),
            *memory(contenders, NONE, 120),
        ],
        ["CPU seconds of docker are those of its daemon, too"],
    )


def ready_user(bench: Bench) -> Case:
    """The same as an ordinary user, whose layers no kernel mounts; docker is root's."""
    user, reference = bench.ordinary_user, bench.origin.reference
    if user is None:
        return Case("from nothing to a container that has run, as an ordinary user", {}, [], ["left out"])
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as short:
        Path(short).chmod(0o777)

        def as_user(command: Command) -> Command:
            def words(turn: Turn) -> Sequence[str]:
                user.give(turn.folder)
                # An ordinary user cannot hide a version of control groups; polyarch does it itself.
                before = one_version() if user.made_here and command is podman else ()
                return [*before, *user.words(turn.folder, *command(turn))]

            return words

        def podman(turn: Turn) -> Sequence[str]:
            run = Path(mkdtemp(dir=short))
            run.chmod(0o777)
            words = [*podman_words(turn.folder, run, "cgroupfs"), "--storage-driver", "overlay"]
            pulled = [*words, "pull", "--quiet", "--tls-verify=false", reference]
            # Without systemd podman may not make control groups here.
            return both(pulled, [*words, "run", "--rm", *HOST, "--cgroups", "disabled", reference, "true"])

        def docker(turn: Turn) -> Sequence[str]:
            daemon = turn.ends.enter_context(dockerd(turn.folder, bench.environment, alone=False))
            turn.daemons.append(daemon.pid)
            words = [program("docker"), "--host", f"unix://{daemon.socket}"]
            return both([*words, "pull", "--quiet", reference], [*words, "run", "--rm", *HOST, reference, "true"])

        commands: dict[str, Command] = {"docker, as root": docker} if os.geteuid() == 0 else {}
        commands |= {name: as_user(command) for name, command in {PODMAN: podman, **own(bench)}.items()}
        contenders = alternating(bench, commands, bench.runs, fresh=True)
    return Case(
        "from nothing to a container that has run, as an ordinary user",
        contenders,
        [figure for peer in ("docker, as root", PODMAN) for figure in against(contenders, NONE, peer, 0.4)],
    )


def own(bench: Bench) -> Mapping[str, Command]:
    """polyarch's contenders: one that waits for no disk, as the peers do, and one that has all on it before a name."""

    def command(sync: str) -> Command:
        def words(turn: Turn) -> Sequence[str]:
            reference = bench.origin.reference
            pulled = bench.polyarch(turn.folder / "root", "pull", "--prepare", reference, sync=sync)
            return both(pulled, bench.polyarch(turn.folder / "root", "run", "--rm", reference, "true", sync=sync))

        return words

    return {NONE: command("none"), BATCH: command("batch")}


def both(first: Sequence[str], second: Sequence[str]) -> Sequence[str]:
    """The words that do one thing and then another."""
    return ("sh", "-c", f"{shlex.join(first)} && {shlex.join(second)}")


def by_umoci(folder: Path, reference: str) -> Sequence[str]:
    """skopeo brings the layout, umoci unpacks it, crun runs `true`."""
    layout, bundle = f"{folder}/layout", folder / "bundle"
    copied = [program("skopeo"), "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]
    unpacked = [program("umoci"), "unpack", "--image", f"{layout}:big", str(bundle)]
    spec = folder / "config.json"
    spec.write_text(json.dumps(spec_for(program("crun"))))
    lines = [
        shlex.join([*copied, f"docker://{reference}", f"oci:{layout}:big"]),
        shlex.join(unpacked),
        shlex.join(["cp", str(spec), str(bundle)]),
        shlex.join([*one_version(), program("crun"), "run", "--bundle", str(bundle), "polyarch-benchmark"]),
    ]
    return ("sh", "-c", " && ".join(lines))
