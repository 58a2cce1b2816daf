"""Debian's static busybox for foreign architectures, fetched without touching the machine's own apt or dpkg."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ARCHITECTURES = ("amd64", "arm64", "armhf", "armel", "i386", "s390x", "ppc64el")
"""Debian's names of the architectures that the sample images hold."""

_PACKAGE = "busybox-static"
_IN_PACKAGE = ("bin/busybox", "usr/bin/busybox")  # before and after Debian's merge of / and /usr
_SECONDS = 1200


class SampleImageError(Exception):
    """A sample image cannot be made on this machine; the message says why."""


def debian_busybox(architectures: Iterable[str], cache: Path) -> dict[str, Path]:
    """Debian's busybox for each of the architectures (Debian's names): name -> the program's path under `cache`.

    The machine's own Debian sources and keys are used with a private apt state, so neither root nor a foreign
    architecture in dpkg is needed. What the cache holds is not fetched again; several processes may share one cache.

    Raises SampleImageError when apt is missing, knows no Debian mirror, or does not get a package.
    """
    wanted = tuple(architectures)
    store = cache.absolute() / "busybox"
    store.mkdir(parents=True, exist_ok=True)
    found = {architecture: store / architecture / "busybox" for architecture in wanted}
    with _locked(store / ".lock"):
        missing = [architecture for architecture, path in found.items() if not path.is_file()]
        if missing:
            _fetch(missing, store)
    return found


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(architectures: list[str], store: Path) -> None:
    for program in ("apt-get", "dpkg-deb", "dpkg"):
        if shutil.which(program) is None:
            raise SampleImageError(f"{program} is needed to fetch Debian's {_PACKAGE}, and is not on this machine")
    with tempfile.TemporaryDirectory(prefix="apt-", dir=store) as name:
        apt = Path(name)
        configuration = _private_apt(apt, architectures)
        update = _run(["apt-get", "-c", str(configuration), "-qq", "update"], apt)
        packages = [f"{_PACKAGE}:{architecture}" for architecture in architectures]
        download = _run(["apt-get", "-c", str(configuration), "-qq", "download", *packages], apt)
        # The update may complain about one list of many; what counts is whether the packages came.
        if download.returncode != 0:
            said = " ".join((update.stderr + download.stderr).split())
            raise SampleImageError(f"apt does not get {_PACKAGE} for {', '.join(architectures)}: {said}")
        for architecture in architectures:
            _take_program(apt, architecture, store)


def _take_program(apt: Path, architecture: str, store: Path) -> None:
    (package,) = apt.glob(f"{_PACKAGE}_*_{architecture}.deb")
    tree = apt / architecture
    unpacked = _run(["dpkg-deb", "-x", str(package), str(tree)], apt)
    programs = [tree / name for name in _IN_PACKAGE if (tree / name).is_file()]
    if unpacked.returncode != 0 or not programs:
        raise SampleImageError(f"{package.name} holds no busybox: {unpacked.stderr.strip()}")
    home = store / architecture
    home.mkdir(exist_ok=True)
    programs[0].chmod(0o755)
    programs[0].rename(home / "busybox")


def _private_apt(root: Path, architectures: list[str]) -> Path:
    """Writes an apt configuration with state, cache and sources of its own below `root`; the path of the file."""
    native = _run(["dpkg", "--print-architecture"], root).stdout.strip()
    for folder in ("state/lists/partial", "cache/archives/partial", "sources"):
        (root / folder).mkdir(parents=True)
    (root / "state" / "status").touch()
    (root / "sources" / "debian.sources").write_text("\n".join(debian_sources()))
    listed = "".join(f' "{name}";' for name in dict.fromkeys([native, *architectures]))
    settings = f"""\
#clear APT::Architectures;
APT::Architectures {{{listed} }};
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
APT::Sandbox::User "root";
Dir::State "{root}/state";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "{root}/sources";
Acquire::Languages "none";
Acquire::Retries "3";
"""
    configuration = root / "apt.conf"
    configuration.write_text(settings)
    return configuration


def debian_sources() -> list[str]:
    """The machine's sources of Debian's main suite, one deb822 paragraph each.

    Only the main suite is taken: the security and update suites of a foreign architecture may lag behind on a mirror.
    Formats: sources.list(5), "one-line-style" and "deb822-style".
    """
    suite = _codename()
    paragraphs = [
        f"Types: deb\nURIs: {uris}\nSuites: {suite}\nComponents: main\n{rest}"
        for uris, suites, components, rest in _entries(Path("/etc/apt"))
        if suite in suites.split() and "main" in components.split()
    ]
    if not paragraphs:
        raise SampleImageError(f"/etc/apt names no source of Debian's suite {suite}")
    return list(dict.fromkeys(paragraphs))


def _codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise SampleImageError("/etc/os-release has no VERSION_CODENAME: is this Debian?")


def _entries(etc: Path) -> Iterator[tuple[str, str, str, str]]:
    """(URIs, suites, components, a Signed-By line or nothing) of each binary source in apt's folder."""
    parts = etc / "sources.list.d"
    for path in [etc / "sources.list", *sorted(parts.glob("*.list"))]:
        if path.is_file():
            for line in path.read_text().splitlines():
                if match := re.match(r"deb\s+(?:\[(?P<options>[^]]*)]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line.strip()):
                    options = dict(option.partition("=")[::2] for option in (match["options"] or "").split())
                    key = options.get("signed-by")
                    yield match[2], match[3], match[4], f"Signed-By: {key}\n" if key else ""
    for path in sorted(parts.glob("*.sources")):
        for paragraph in re.split(r"\n\s*\n", path.read_text()):
            text = "\n".join(line for line in paragraph.splitlines() if not line.startswith("#")) + "\n"
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*((?:.*\n)(?:[ \t]+.*\n)*)", text, re.MULTILINE))
            if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes").strip() != "no":
                key = fields.get("Signed-By")
                rest = f"Signed-By: {key}" if key else ""
                yield fields.get("URIs", "").strip(), fields.get("Suites", ""), fields.get("Components", ""), rest


def _run(argv: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    env.pop("APT_CONFIG", None)
    try:
        return subprocess.run(
            argv,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise SampleImageError(f"{argv[0]} did not finish within {_SECONDS} s") from error
