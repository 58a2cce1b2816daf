"""What docker, podman and skopeo do with each fault, run here: `python -m support.registry_faults.peers` (as root).

Answers are kept in peers.json, from which the table in docs/trust.md is written; both are checked by a test.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

from support.command import NO_FILES_OF_THE_MACHINE
from support.dockerd import Dockerd
from support.forked_commands import ForkedCommands
from support.podman_engine import PodmanEngine
from support.registry_auth import write_auth_file
from support.registry_faults import CASES, answer
from support.registry_faults.case import Case
from support.registry_faults.server import FaultServer

KEPT = Path(__file__).with_name("peers.json")
PAGE = Path(__file__).resolve().parents[3] / "docs" / "trust.md"
BEGIN, END = "<!-- faults: begin -->\n", "<!-- faults: end -->\n"
CLIENTS = ("docker", "podman", "skopeo")
SECONDS = 20
MOST = 256 << 20
MEMORY = 1 << 30
_ADDRESSES = ("169.254.169.254", "fe80::1", "a9fe:a9fe", "metadata.google.internal")


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MOST, 2 * MOST))


def _resident(pids: Sequence[int]) -> int:
    """Bytes of RAM of processes now."""
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return pages * resource.getpagesize()


def _words(argv: Sequence[str], server: FaultServer, environ: dict[str, str], pids: Callable[[int], list[int]]) -> str:
    """How a client ends: `pulls`, `refuses` or how it does not end, and what else is to be said."""
    started, most = monotonic(), 0
    with tempfile.TemporaryFile() as told:
        child = subprocess.Popen(
            argv, stdout=told, stderr=told, stdin=subprocess.DEVNULL, env=environ, preexec_fn=_limits
        )
        ended = ""
        while child.poll() is None:
            most = max(most, _resident(pids(child.pid)))
            if most > MEMORY:
                ended = f"more than {MEMORY >> 30} GiB of memory"
            elif monotonic() - started > SECONDS:
                ended = f"no end in {SECONDS} s"
            if ended:
                child.kill()
            threading.Event().wait(0.02)
        told.seek(0)
        text = told.read().decode(errors="replace")
    said = [ended or ("pulls" if child.returncode == 0 else "refuses")]
    if server.taken > 64 << 20:
        said.append("after 256 MiB" if server.taken > MOST else f"after {server.taken >> 20} MiB")
    if any(server.shown):
        said.append("shows its credentials to the other host")
    if any(address in text for address in _ADDRESSES) and any(word in text for word in ("dial tcp", "lookup")):
        said.append("asks there")
    if any(mark in text for mark in ("\x1b]", "\x1b[2J", "\x07", "\u009b")):
        said.append("prints the control characters")
    return ", ".join(said)


def _each(client: str, run: Callable[[Case, FaultServer], str | None]) -> dict[str, str]:
    server, found = FaultServer(answer, MOST), {}
    try:
        for case in CASES.values():
            server.begin(case.name)
            if (words := run(case, server)) is not None:
                found[case.name] = words
                print(f"{client} {case.name}: {words}", file=sys.stderr, flush=True)
    finally:
        server.stop()
    return found


def _docker(folder: Path) -> dict[str, str]:
    engines = [Dockerd(folder / "0")]

    def run(case: Case, server: FaultServer) -> str | None:
        if case.command[0] != "pull":
            return None
        engine = engines[-1]
        daemon = int((engine.folder / "docker.pid").read_text())
        environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **engine.environ}
        config = folder / "config"
        write_auth_file(config / "config.json", server.address if case.secret else "nowhere.example")
        argv = ["docker", "--config", str(config), "pull", f"{server.address}/{case.name}:1"]
        words = _words(argv, server, environ, lambda pid: [pid, daemon])
        if words.startswith(("more", "no end")):  # what it has begun would be the next case's burden
            engines.append(Dockerd(folder / str(len(engines))))
            engine.stop()
        else:
            engine.clear()
        return words

    try:
        return _each("docker", run)
    finally:
        engines[-1].stop()


def _podman(folder: Path) -> dict[str, str]:
    engine = PodmanEngine()
    environ = {"PATH": os.environ["PATH"], **engine.environ}
    own = [*engine.command[engine.command.index("podman") :]]

    def run(case: Case, server: FaultServer) -> str:
        name = f"{server.address}/{case.name}"
        file = str(write_auth_file(folder / "auth.json", server.address if case.secret else "nowhere.example"))
        if case.command[0] == "pull":
            argv = [*own, "pull", "--tls-verify=false", "--authfile", file, f"{name}:1"]
        else:
            argv = [*own, "search", "--list-tags", "--limit", "100", "--tls-verify=false", "--authfile", file, name]
        words = _words(argv, server, environ, lambda pid: [pid])
        if case.command[0] == "pull" and words.startswith("pulls"):
            engine.try_podman("system", "reset", "--force")  # layers that it has would not be asked for
        return words

    try:
        return _each("podman", run)
    finally:
        engine.stop()


def _skopeo(folder: Path) -> dict[str, str]:
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder)}

    def run(case: Case, server: FaultServer) -> str:
        name = f"docker://{server.address}/{case.name}"
        file = str(write_auth_file(folder / "auth.json", server.address if case.secret else "nowhere.example"))
        with tempfile.TemporaryDirectory(dir=folder) as target:
            if case.command[0] == "pull":
                argv = ["skopeo", "copy", "--src-tls-verify=false", "--authfile", file, f"{name}:1", f"oci:{target}:x"]
            else:
                argv = ["skopeo", "list-tags", "--tls-verify=false", "--authfile", file, name]
            return _words(argv, server, environ, lambda pid: [pid])

    return _each("skopeo", run)


def _polyarch(folder: Path) -> dict[str, str]:
    commands = ForkedCommands()

    def run(case: Case, server: FaultServer) -> str:
        with tempfile.TemporaryDirectory(dir=folder) as home:
            environ = {**NO_FILES_OF_THE_MACHINE, "POLYARCH_CONFIG": f"{home}/polyarch.toml"}
            environ["POLYARCH_ROOT"] = f"{home}/root"
            Path(home, "polyarch.toml").write_text("read_timeout = 3.0\nretries = 2\n")
            if case.secret:
                environ["REGISTRY_AUTH_FILE"] = str(write_auth_file(Path(home, "auth.json"), server.address))
            ran = commands.run(Path(home), [*case.command, f"{server.address}/{case.name}:1"], environ, SECONDS + 10)
        said = "pulls" if ran.code == 0 else f"refuses ({ran.code})"
        return said + (", shows its credentials to the other host" if any(server.shown) else "")

    try:
        return _each("polyarch", run)
    finally:
        commands.stop()


def versions() -> dict[str, str]:
    """What ran."""
    asked = {"docker": ["dockerd", "--version"], "podman": ["podman", "--version"], "skopeo": ["skopeo", "--version"]}
    told = {name: subprocess.run(argv, capture_output=True, text=True).stdout for name, argv in asked.items()}
    return {name: " ".join(text.split(",")[0].split()[-1:]) for name, text in told.items()}


def table(kept: dict[str, dict[str, str]]) -> str:
    """The section of docs/trust.md."""
    names = ", ".join(f"{name} {version}" for name, version in kept["versions"].items())
    lines = [
        f"Run with {names}.",
        "",
        "| the registry… | polyarch | docker | podman | skopeo |",
        "|---|---|---|---|---|",
    ]
    for case in CASES.values():
        cells = [_shown(kept[client].get(case.name, "–"), case) for client in ("polyarch", *CLIENTS)]
        lines.append(f"| {case.does} (`{case.name}`) | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _shown(words: str, case: Case) -> str:
    return words if case.command[0] == "pull" else words.replace("pulls", "lists")


def write_page(kept: dict[str, dict[str, str]], page: Path = PAGE) -> None:
    """Put the table between the marks of the page."""
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(before + BEGIN + table(kept) + END + rest.partition(END)[2])


def main(wanted: Sequence[str]) -> None:
    """The clients that are wanted, at once, each with a server of its own; of the others what is kept stays."""
    runs = {"polyarch": _polyarch, "docker": _docker, "podman": _podman, "skopeo": _skopeo}
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    with tempfile.TemporaryDirectory(prefix="registry-faults-") as folder, ThreadPoolExecutor() as pool:
        running = {}
        for name in wanted or runs:
            Path(folder, name).mkdir()
            running[name] = pool.submit(runs[name], Path(folder, name))
        kept |= {"versions": versions(), **{name: future.result() for name, future in running.items()}}
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    write_page(kept)


if __name__ == "__main__":
    main(sys.argv[1:])
