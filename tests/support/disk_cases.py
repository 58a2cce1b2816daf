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

from polyarch.testing.layout_writer import LayoutWriter, folder, regular
from support.command import NO_FILES_OF_THE_MACHINE
from support.device_folder import DEVICE, break_off, lose_device
from support.failing_calls import Fault, Watch, Watched, unwatched, watched

APP, OTHER, NEW = "docker.io/library/app:1", "docker.io/library/other:1", "docker.io/library/new:1"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_ENGINES = {"docker", "podman", "ctr", "k3s"}
"""On the device of a fleet these do nothing, so that this machine's are left alone."""
PLATFORMS = ("linux/amd64", "linux/arm64")


@dataclass(frozen=True, slots=True)
class DiskCase:
    """A command; `before` are those that come before it. `name` is the only name of an image that may change.

    In the words LAYOUT is a layout with the images, ROOT the root folder. `loses`: images may go. `gone` is the exit
    code of one that is tried again when all was done, but not told. `starts`: it starts a program. `fleet`: its device
    is this machine, with its files in ROOT/device. `broken`: what is done to the root folder after those before.
    """

    words: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    name: str = ""
    loses: bool = False
    gone: int = 0
    starts: bool = False
    stdin: str = ""
    fleet: bool = False
    broken: Callable[[Path], None] = lambda root: None


_PULL = ("pull", "--all-platforms", f"oci:LAYOUT:{APP}")
_OTHER = ("pull", "--platform", "linux/amd64", f"oci:LAYOUT:{OTHER}")
_BUSYBOX, _REPORT = "REGISTRY/busybox:1.36", ("--report", "ROOT/report.html")
FLEET = ("fleet", "pull", "-i", "local:", "--into", "oci", "--retries", "0", *_REPORT, _BUSYBOX)
RESUME = ("fleet", "pull", "--resume", *_REPORT)
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
    "fleet-pull": DiskCase(FLEET, (), _BUSYBOX, fleet=True),
    "fleet-pull-again": DiskCase(FLEET, (FLEET,), _BUSYBOX, fleet=True, broken=lose_device),
    "fleet-resume": DiskCase(RESUME, (FLEET,), gone=2, fleet=True, broken=break_off),
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


class DiskSite:
    """A folder in which the cases are tried, always at the same place.

    `names` are further words that stand for others: REGISTRY, AUTHED, USERNAME, PASSWORD.
    """

    def __init__(self, place: Path, busybox: Path, names: Mapping[str, str]) -> None:
        self.place, self.layout, self.root = place, place / "layout", place / "root"
        self._names = {"LAYOUT": str(self.layout), "ROOT": str(self.root), **names}
        write_layout(self.layout, busybox)
        self._told, self._said, self._programs = place / "told", place / "said", place / "bin"
        self._programs.mkdir()
        for name in _ENGINES:
            (self._programs / name).symlink_to("/bin/false")
        for programs in _PATH.split(":"):
            for program in Path(programs).iterdir():
                if not (self._programs / program.name).is_symlink():
                    (self._programs / program.name).symlink_to(program)
        self.within: Callable[[], object] = lambda: None
        """Called in each child before the command."""
        self.sizes: dict[str, int] = {}
        """Bytes of each blob that was seen at the end of a case."""
        _load_all()

    def ready(self, name: str) -> Path:
        """The folder that holds what is there before a case; made once."""
        ready = self.place / f"ready-{name}"
        if not ready.exists():
            shutil.rmtree(self.root, ignore_errors=True)
            self.root.mkdir(mode=0o700)
            for words in CASES[name].before:
                assert self.do(words, CASES[name].stdin).code == 0, f"{words}: {self.told}"
            CASES[name].broken(self.root)
            self.root.rename(ready)
        return ready

    def begin(self, name: str) -> None:
        """Puts what is there before a case into its place."""
        ready = self.ready(name)
        shutil.rmtree(self.root, ignore_errors=True)
        subprocess.run(["cp", "-a", str(ready), str(self.root)], check=True)

    def do(
        self,
        words: tuple[str, ...],
        stdin: str = "",
        *,
        call: str = "",
        number: int = 0,
        fault: Fault = 0,
        device: bool = False,
    ) -> Watched:
        """Runs `polyarch WORDS` in a child, with a fault of `support.failing_calls`; what it said stands in `told`.

        `device`: the calls of a fleet's device are meant.
        """
        watch = Watch(self.root / DEVICE if device else self.root, others=device, outlived=words[0] == "fleet")
        return watched(self._work(words, stdin), watch, call, number, fault)

    def again(self, words: tuple[str, ...], stdin: str = "") -> int:
        """The exit code of `polyarch WORDS`, whose calls nobody looks at: that takes a third of the time."""
        return unwatched(self._work(words, stdin))

    def _work(self, words: tuple[str, ...], stdin: str) -> Callable[[], int]:
        if words[0] == "fleet":
            (self.root / DEVICE).mkdir(exist_ok=True)
        return lambda: self._run(words, stdin)

    @property
    def told(self) -> str:
        """What the last command wrote."""
        return self._told.read_text(errors="replace")

    def word(self, word: str) -> str:
        """What a word of a case stands for."""
        for name, meant in self._names.items():
            word = word.replace(name, meant)
        return word

    def _run(self, words: tuple[str, ...], stdin: str) -> int:
        self._said.write_text(self.word(stdin))
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
        if words[0] == "fleet":
            os.environ.update({"PATH": str(self._programs), "XDG_DATA_HOME": str(self.root / DEVICE)})
            os.environ["TMPDIR"] = str(self.root / DEVICE)
        from polyarch.cli.app import run

        code = run([self.word(word) for word in words])
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return code


def _load_all() -> None:
    """Has the modules of commands loaded before they are forked."""
    for name in ("auth", "cli", "container", "fleet", "lock", "oci", "registry", "transfer", "unpack", "verbs"):
        package = importlib.import_module(f"polyarch.{name}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name != "polyarch.container.monitor":
                importlib.import_module(module.name)
    importlib.import_module("polyarch.session")
