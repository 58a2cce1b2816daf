"""Commands that change what is below a root folder, with what is there before: for faults and kills at any call."""

from __future__ import annotations

import importlib
import os
import pkgutil
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from polyarch.container.record import read_record
from polyarch.testing.layout_writer import LayoutWriter, folder, regular
from support.command import NO_FILES_OF_THE_MACHINE
from support.failing_calls import KILL, Fault, Watched, watched
from support.seen_layout import SeenLayout, seen_layout

APP, OTHER, NEW = "docker.io/library/app:1", "docker.io/library/other:1", "docker.io/library/new:1"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PLATFORMS = ("linux/amd64", "linux/arm64")


@dataclass(frozen=True, slots=True)
class DiskCase:
    """A command; `before` are those that come before it. `name` is the only name of an image that may change.

    In the words LAYOUT is a layout with the images, ROOT the root folder. `loses`: images may go. `gone` is the exit
    code of one that is tried again when all was done, but not told. `starts`: it starts a program.
    """

    words: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    name: str = ""
    loses: bool = False
    gone: int = 0
    starts: bool = False
    stdin: str = ""


_PULL = ("pull", "--all-platforms", f"oci:LAYOUT:{APP}")
_OTHER = ("pull", "--platform", "linux/amd64", f"oci:LAYOUT:{OTHER}")
_CREATE = ("container", "create", "--name", "one", "--pull", "never", OTHER)

CASES: Mapping[str, DiskCase] = {
    "pull": DiskCase(_PULL, (_OTHER,), APP),
    "pull-first": DiskCase(_PULL, (), APP),
    "pull-again": DiskCase(("pull", "--all-platforms", f"oci:LAYOUT/second:{APP}"), (_PULL, _OTHER), APP),
    "pull-prepare": DiskCase(("pull", "--prepare", f"oci:LAYOUT:{OTHER}"), (), OTHER),
    "create": DiskCase(_CREATE, (_OTHER,), gone=2),
    "commit": DiskCase(("commit", "one", NEW), (_OTHER, _CREATE), NEW),
    "rm": DiskCase(("rm", "one"), (_OTHER, _CREATE), gone=3),
    "tag": DiskCase(("image", "tag", OTHER, NEW), (_OTHER, _PULL), NEW),
    "image-rm": DiskCase(("image", "rm", APP), (_OTHER, _PULL), APP, loses=True, gone=3),
    "image-rm-prepared": DiskCase(
        ("image", "rm", OTHER), (("pull", "--prepare", f"oci:LAYOUT:{OTHER}"), _PULL), OTHER, loses=True, gone=3
    ),
    "prune": DiskCase(
        ("image", "prune", "-f"), (_OTHER, _PULL, ("pull", "--all-platforms", f"oci:LAYOUT/second:{APP}")), loses=True
    ),
    "prune-all": DiskCase(("image", "prune", "-af"), (_OTHER, _CREATE, _PULL), APP, loses=True),
    "save": DiskCase(("image", "save", "--all-platforms", "-o", "ROOT/saved.tar", APP), (_PULL,)),
    "load": DiskCase(
        ("image", "load", "-i", "ROOT/saved.tar"),
        (_PULL, ("image", "save", "--all-platforms", "-o", "ROOT/saved.tar", APP), ("image", "rm", APP)),
        APP,
    ),
    "unpack": DiskCase(("image", "unpack", OTHER, "ROOT/unpacked"), (_OTHER,), gone=2),
    "lock": DiskCase(("lock", "--file", "ROOT/polyarch.lock", "REGISTRY/busybox:1.36")),
    "login": DiskCase(("login", "-u", "USERNAME", "--password-stdin", "AUTHED"), stdin="PASSWORD"),
    "logout": DiskCase(
        ("logout", "AUTHED"), (("login", "-u", "USERNAME", "--password-stdin", "AUTHED"),), stdin="PASSWORD"
    ),
    "run": DiskCase(("run", "--rm", "--pull", "never", OTHER, "/bin/true"), (_OTHER,), starts=True),
}  # fmt: skip


def write_layout(place: Path, busybox: Path) -> None:
    """The images: of two platforms, with a shared layer; one with a program. In `second` the name has moved on."""
    for number, target in enumerate((place, place / "second")):
        writer = LayoutWriter(target)
        source = random.Random(number)
        shared = writer.layer([folder("etc"), regular("etc/shared", random.Random(0).randbytes(70_000))], "shared")
        entries = []
        for platform in PLATFORMS:
            words = dict(zip(("os", "architecture"), platform.split("/"), strict=True))
            own = writer.layer([regular("etc/own", source.randbytes(3000))], "own")
            entries.append({**writer.image(words, [shared, own]), "platform": words})
        writer.name(APP, writer.index(entries))
        if number == 0:
            program = writer.layer([folder("bin"), regular("bin/true", busybox.read_bytes(), 0o755)], "program")
            writer.name(OTHER, writer.image({"os": "linux", "architecture": "amd64"}, [shared, program]))
        writer.finish()


@dataclass(frozen=True)
class Below:
    """What is below a root: the storage, container -> manifest, and file -> size of every layer made ready."""

    layout: SeenLayout
    containers: dict[str, str]
    layers: dict[str, frozenset[tuple[str, int]]]


def below(root: Path) -> Below:
    """Reads and checks it as it lies there."""
    place = root / "containers"
    records = [read_record(path) for path in place.iterdir() if path.is_dir()] if place.is_dir() else []
    layers = {}
    for form in ("erofs", "trusted", "user", "fuse"):
        for layer in (root / "snapshots" / form).glob("[0-9a-f]*"):
            files = [path for path in layer.rglob("*") if path.is_file() and not path.is_symlink()]
            layers[f"{form}/{layer.name}"] = frozenset(
                (str(path.relative_to(layer)), path.stat().st_size) for path in files
            )
    return Below(seen_layout(root / "oci"), {each.name: each.manifest for each in records if each}, layers)


class DiskSite:
    """A folder in which the cases are tried, always at the same place.

    `names` are further words that stand for others: REGISTRY, AUTHED, USERNAME, PASSWORD.
    """

    def __init__(self, place: Path, busybox: Path, names: Mapping[str, str]) -> None:
        self.place, self.layout, self.root = place, place / "layout", place / "root"
        self._names = {"LAYOUT": str(self.layout), "ROOT": str(self.root), **names}
        write_layout(self.layout, busybox)
        self._told, self._said = place / "told", place / "said"
        self.within: Callable[[], object] = lambda: None
        """Called in each child before the command."""
        _load_all()

    def ready(self, name: str) -> Path:
        """The folder that holds what is there before a case; made once."""
        ready = self.place / f"ready-{name}"
        if not ready.exists():
            shutil.rmtree(self.root, ignore_errors=True)
            self.root.mkdir(mode=0o700)
            for words in CASES[name].before:
                assert self.do(words, CASES[name].stdin).code == 0, f"{words}: {self.told}"
            self.root.rename(ready)
        return ready

    def begin(self, name: str) -> None:
        """Puts what is there before a case into its place."""
        ready = self.ready(name)
        shutil.rmtree(self.root, ignore_errors=True)
        subprocess.run(["cp", "-a", str(ready), str(self.root)], check=True)

    def do(
        self, words: tuple[str, ...], stdin: str = "", *, call: str = "", number: int = 0, fault: Fault = 0
    ) -> Watched:
        """Runs `polyarch WORDS` in a child, with a fault of `support.failing_calls`; what it said stands in `told`."""
        return watched(lambda: self._run(words, stdin), self.root, call, number, fault)

    @property
    def told(self) -> str:
        """What the last command wrote."""
        return self._told.read_text(errors="replace")

    def _word(self, word: str) -> str:
        for name, meant in self._names.items():
            word = word.replace(name, meant)
        return word

    def _run(self, words: tuple[str, ...], stdin: str) -> int:
        self._said.write_text(self._word(stdin))
        said = os.open(self._said, os.O_RDONLY)
        told = os.open(self._told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for number, descriptor in ((0, said), (1, told), (2, told)):
            os.dup2(descriptor, number)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
        sys.dont_write_bytecode = True
        self.within()
        os.environ.clear()
        os.environ.update({**NO_FILES_OF_THE_MACHINE, "PATH": _PATH, "LANG": "C.UTF-8", "SOURCE_DATE_EPOCH": "0"})
        os.environ.update({"HOME": str(self.place / "home"), "TMPDIR": str(self.place)})
        os.environ.update({"POLYARCH_ROOT": str(self.root), "REGISTRY_AUTH_FILE": str(self.root / "auth.json")})
        from polyarch.cli.app import run

        code = run([self._word(word) for word in words])
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return code


def _load_all() -> None:
    """Has the modules of commands loaded before they are forked."""
    for name in ("auth", "cli", "container", "lock", "oci", "registry", "transfer", "unpack", "verbs"):
        package = importlib.import_module(f"polyarch.{name}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name != "polyarch.container.monitor":
                importlib.import_module(module.name)
    importlib.import_module("polyarch.session")


def faults_of(site: DiskSite, name: str, call: str = "", number: int = 0, fault: Fault = 0) -> list[str]:
    """What is wrong with how a command takes a fault, or being killed, and with how the next try ends."""
    case = CASES[name]
    before, end = started(site, name), ended(site, name)
    site.begin(name)
    watched = site.do(case.words, case.stdin, call=call, number=number, fault=fault)
    where = f"{name}: {call or 'call'} {number} {fault} ({watched.met or 'nothing'})"
    wrong = []
    failed = 125 if case.starts else 9
    if fault == KILL:
        if watched.code not in (0, -9):
            wrong.append(f"ended with {watched.code}: {site.told}")
    elif watched.code not in (0, failed):
        wrong.append(f"ended with {watched.code}: {site.told}")
    if fault != KILL and ("Traceback" in site.told or (watched.code and "error: " not in site.told)):
        wrong.append(f"said: {site.told}")
    try:
        after = below(site.root)
        wrong += differences(case, before, after, end, site.told, done=watched.code == 0)
    except (AssertionError, ValueError, OSError) as error:
        wrong.append(f"what is left is damaged: {error!r}")
    again = site.do(case.words, case.stdin)
    if again.code not in (0, case.gone):
        wrong.append(f"the next try ended with {again.code}: {site.told}")
    try:
        now = below(site.root)
        if (now.layout.names, now.containers.keys()) != (end.layout.names, end.containers.keys()):
            wrong.append("the next try came to another end")
        elif not now.layout.images >= end.layout.images or not now.layers.items() >= end.layers.items():
            wrong.append(f"the next try left {sorted(now.layers)} for {sorted(end.layers)}")
        wrong += leftovers(site)
        if not below(site.root).layers.items() <= end.layers.items():
            wrong.append("layers are left that nobody needs")
    except (AssertionError, ValueError, OSError) as error:
        wrong.append(f"the next try left it damaged: {error!r}")
    return [f"{where}: {each}" for each in wrong]


_STARTS: dict[tuple[Path, str], Below] = {}
_ENDS: dict[tuple[Path, str], Below] = {}


def started(site: DiskSite, name: str) -> Below:
    """What is there before a case."""
    key = (site.place, name)
    if key not in _STARTS:
        site.begin(name)
        _STARTS[key] = below(site.root)
    return _STARTS[key]


def ended(site: DiskSite, name: str) -> Below:
    """What is there after a case without faults."""
    key = (site.place, name)
    if key not in _ENDS:
        site.begin(name)
        done = site.do(CASES[name].words, CASES[name].stdin)
        assert done.code == 0, site.told
        _ENDS[key] = below(site.root)
    return _ENDS[key]


def differences(case: DiskCase, before: Below, after: Below, end: Below, told: str, *, done: bool) -> list[str]:
    """Whether what is there is neither as before nor as it shall be in the end, in any part."""
    wrong = []
    for name in before.layout.names.keys() | after.layout.names.keys():
        now = after.layout.names.get(name)
        # Of several platforms one comes after the other, each of them whole.
        whole = now is None or now <= end.layout.names.get(name, frozenset()) | before.layout.names.get(
            name, frozenset()
        )
        if now != before.layout.names.get(name) and not (name == case.name and whole):
            wrong.append(f"{name} is another one")
    if not case.loses and not before.layout.images <= after.layout.images:
        wrong.append("an image is lost")
    if not before.layout.images & end.layout.images <= after.layout.images:
        wrong.append("an image is lost that nobody gave up")
    for name in before.containers.keys() & end.containers.keys():
        if after.containers.get(name) != before.containers[name]:
            wrong.append(f"the container {name} is lost")
    wrong += [
        f"the layer {name} is not whole"
        for name, files in after.layers.items()
        if files != end.layers.get(name, before.layers.get(name))
    ]
    if done and after.layout.names != end.layout.names and "stay: the record" not in told:
        wrong.append("it said that it was done, and is not")
    return wrong


def leftovers(site: DiskSite) -> list[str]:
    """What is left behind that nobody needs, once it was tidied."""
    tidy = site.do(("image", "prune", "-f"))
    if tidy.code:
        return [f"prune ended with {tidy.code}: {site.told}"]
    if site.do(("ps", "-a")).code:
        return [f"ps: {site.told}"]
    now = below(site.root)
    wrong = [f"{len(extra)} blobs are left" for extra in [now.layout.blobs - now.layout.needed] if extra]
    private = site.root / "oci" / ".polyarch"
    left = [*private.glob("partial/*"), *private.glob("leases/*"), *(site.root / "snapshots").glob("*/.*")]
    left += [*(site.root / "temporary").glob("*"), *site.root.glob(".*")]
    left += [
        path
        for path in (site.root / "containers").glob("*/")
        if path.is_dir() and not (path / "container.json").exists()
    ]
    return wrong + [f"{path} is left" for path in left]
