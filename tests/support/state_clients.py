"""docker, podman, skopeo and polyarch behind one face, each with its storage on a disk that the caller gives it.

Images are called `app` and `other`. skopeo keeps them in an OCI layout. What a client cannot do is None.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from support.command import NO_FILES_OF_THE_MACHINE
from support.dockerd import Dockerd
from support.joined_networks import Relay
from support.podman_engine import PodmanEngine, unmount
from support.processes import await_true

SECONDS = 180
LAYER_FILE = "bulk"
Words = Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended and all that it said. `code` is a signal's number where it is negative."""

    code: int
    text: str


class Client:
    """A client whose storage is `data`; what else it needs lies in `aside`. `umask` is that of all that it does."""

    name = ""
    lists: Words = ()
    layer_files = blobs = documents = names = ""
    """Where what it stores is, as patterns below `data`."""

    def __init__(self, data: Path, aside: Path, relay: Relay, umask: int = -1) -> None:
        self.data, self.aside, self.relay, self.umask = data, aside, relay, umask
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(aside), "LANG": "C.UTF-8"}
        self.start()

    def start(self) -> None:
        """Its daemon, if it has one; also after `die`, as after a start of the machine."""

    def die(self) -> None:
        """Its daemon is killed."""

    def stop(self) -> None:
        """Nothing of it runs any more."""

    def ref(self, image: str) -> str:
        return self.relay.ref(f"state/{image}:1")

    def pull(self, image: str) -> Words:
        raise NotImplementedError

    def prepare(self, image: str) -> Words:
        """A pull that makes all ready that `run` reads."""
        return self.pull(image)

    def run(self, image: str) -> Words | None:
        """Prints the digest of the layer's file."""
        raise NotImplementedError

    def inspect(self, image: str) -> Words:
        raise NotImplementedError

    def save(self, image: str, file: Path) -> Words:
        raise NotImplementedError

    def push(self, image: str, registry: str) -> Words:
        """To another registry, which has nothing of it."""
        raise NotImplementedError

    def login(self) -> Words:
        return ["login", "--username", "user", "--password-stdin", self.relay.address]

    def auth_file(self) -> Path:
        return self.aside / "auth.json"

    def begin(self, words: Words, stdin: str = "") -> subprocess.Popen[bytes]:
        """Starts the command; give it to `end`."""
        said = self.aside / "said"
        said.write_text(stdin)
        with said.open("rb") as given:
            return subprocess.Popen(
                list(map(str, self.command(words))),
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self.environ,
                umask=self.umask,
                start_new_session=True,
            )

    def command(self, words: Words) -> Words:
        return [self.name, *words]

    @staticmethod
    def end(child: subprocess.Popen[bytes]) -> Done:
        try:
            text, _ = child.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            text, _ = child.communicate()
            return Done(-99, f"no end in {SECONDS} s: {text.decode(errors='replace')}")
        return Done(child.returncode, text.decode(errors="replace"))

    def do(self, words: Words, stdin: str = "") -> Done:
        return self.end(self.begin(words, stdin))

    def shows(self, image: str) -> bool:
        """True when the name is listed."""
        return self.ref(image) in self.do(self.lists).text


def archived(file: Path) -> tuple[str, list[str]]:
    """The digests of the config and of the uncompressed layers in a docker archive."""
    with tarfile.open(file) as archive:

        def read(name: str) -> bytes:
            member = archive.extractfile(name)
            assert member is not None
            data = member.read()
            return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data

        (image,) = json.loads(read("manifest.json"))
        config, *layers = [hashlib.sha256(read(name)).hexdigest() for name in (image["Config"], *image["Layers"])]
        return f"sha256:{config}", [f"sha256:{digest}" for digest in layers]


class Docker(Client):
    name = "docker"
    lists = ("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    layer_files = f"overlay2/*/diff/{LAYER_FILE}"
    documents = "image/overlay2/imagedb/content/sha256/*"
    names = "image/overlay2/repositories.json"
    _engine: Dockerd | None = None

    def start(self) -> None:
        prefix = ("sh", "-c", f'umask {self.umask:o}; exec "$@"', "sh") if self.umask >= 0 else ()
        self._engine = Dockerd(self.aside / "docker", data=self.data, prefix=prefix)
        self.environ |= self._engine.environ

    def die(self) -> None:
        if self._engine is not None:
            pid = int((self.aside / "docker" / "docker.pid").read_text())
            os.kill(pid, signal.SIGKILL)
            await_true(lambda: not os.path.exists(f"/proc/{pid}/exe"), "the daemon is dead")  # noqa: PTH110
            self.stop()

    def stop(self) -> None:
        if self._engine is not None:
            self._engine.stop()
        self._engine = None

    def command(self, words: Words) -> Words:
        return ["docker", "--config", self.aside, *words]

    def pull(self, image: str) -> Words:
        return ["pull", self.ref(image)]

    def run(self, image: str) -> Words:
        return ["run", "--rm", "--pull", "never", "--network", "none", self.ref(image), "sha256sum", f"/{LAYER_FILE}"]

    def inspect(self, image: str) -> Words:
        return ["image", "inspect", self.ref(image)]

    def save(self, image: str, file: Path) -> Words:
        return ["save", "--output", file, self.ref(image)]

    def push(self, image: str, registry: str) -> Words:
        self.do(["tag", self.ref(image), f"{registry}/pushed:1"])
        return ["push", f"{registry}/pushed:1"]

    def auth_file(self) -> Path:
        return self.aside / "config.json"


class Podman(Client):
    name = "podman"
    lists = ("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    layer_files = f"overlay/*/diff/{LAYER_FILE}"
    documents = "overlay-images/*/*"
    names = "overlay-images/images.json"
    _engine: PodmanEngine | None = None

    def start(self) -> None:
        if self._engine is None:
            self._engine = PodmanEngine(data=self.data)
        # Its own place for unfinished blobs is /var/tmp: a folder of the same disk.
        temporary = self.data.parent / "tmp"
        temporary.mkdir(mode=0o700, exist_ok=True)
        self._words = [f"TMPDIR={temporary}" if word.startswith("TMPDIR=") else word for word in self._engine.command]

    def die(self) -> None:
        if self._engine is not None:  # what lies in memory goes with the machine
            for folder in (self._engine.folder, self.data):
                unmount(folder)
            for name in ("run", "tmp"):
                shutil.rmtree(self._engine.folder / name, ignore_errors=True)

    def stop(self) -> None:
        if self._engine is not None:
            self._engine.stop()
        self._engine = None
        for folder in ("libpod_parent/conmon", "libpod_parent"):  # what another podman still uses stays
            for group in Path("/sys/fs/cgroup").glob(f"*/{folder}"):
                with contextlib.suppress(OSError):
                    group.rmdir()

    def command(self, words: Words) -> Words:
        runtime = ["--runtime", "runc"] if Path("/sys/fs/cgroup/unified").exists() else []  # crun cannot do with both
        return [*self._words, *runtime, *words]

    def pull(self, image: str) -> Words:
        return ["pull", "--tls-verify=false", self.ref(image)]

    def run(self, image: str) -> Words:
        own = ["run", "--rm", "--pull", "never", "--network", "none"]
        return [*own, self.ref(image), "sha256sum", f"/{LAYER_FILE}"]

    def inspect(self, image: str) -> Words:
        return ["image", "inspect", self.ref(image)]

    def save(self, image: str, file: Path) -> Words:
        return ["save", "--output", file, self.ref(image)]

    def push(self, image: str, registry: str) -> Words:
        return ["push", "--tls-verify=false", self.ref(image), f"docker://{registry}/pushed:1"]

    def login(self) -> Words:
        return [*super().login(), "--tls-verify=false", "--authfile", self.auth_file()]


class Skopeo(Client):
    name = "skopeo"
    blobs = "blobs/sha256/*"
    documents = "blobs/sha256/*"
    names = "index.json"

    def shows(self, image: str) -> bool:
        return self.do(self.inspect(image)).code == 0

    def command(self, words: Words) -> Words:
        return ["skopeo", "--insecure-policy", *words]

    def _stored(self, image: str) -> str:
        return f"oci:{self.data}:{image}"

    def pull(self, image: str) -> Words:
        return ["copy", "--src-tls-verify=false", f"docker://{self.ref(image)}", self._stored(image)]

    def run(self, image: str) -> None:
        return None

    def inspect(self, image: str) -> Words:
        return ["inspect", self._stored(image)]

    def save(self, image: str, file: Path) -> Words:
        return ["copy", self._stored(image), f"docker-archive:{file}:{self.ref(image)}"]

    def push(self, image: str, registry: str) -> Words:
        return ["copy", "--dest-tls-verify=false", self._stored(image), f"docker://{registry}/pushed:1"]

    def login(self) -> Words:
        return [*super().login(), "--tls-verify=false", "--authfile", self.auth_file()]


class Polyarch(Client):
    name = "polyarch"
    lists = ("image", "ls", "--format", "json")
    layer_files = "snapshots/*/*/layer.tar"
    blobs = "oci/blobs/sha256/*"
    documents = "oci/blobs/sha256/*"
    names = "oci/index.json"

    def start(self) -> None:
        self.environ |= {**NO_FILES_OF_THE_MACHINE, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        self.environ |= {"REGISTRY_AUTH_FILE": str(self.auth_file())}

    def command(self, words: Words) -> Words:
        return [sys.executable, "-m", "polyarch", "--root", self.data, *words]

    def shows(self, image: str) -> bool:
        lines = [json.loads(line) for line in self.do(self.lists).text.splitlines() if line.startswith("{")]
        return any(f"{line.get('repository')}:{line.get('tag')}" == self.ref(image) for line in lines)

    def pull(self, image: str) -> Words:
        return ["pull", self.ref(image)]

    def prepare(self, image: str) -> Words:
        return ["pull", "--prepare", self.ref(image)]

    def run(self, image: str) -> Words:
        return ["run", "--rm", "--pull", "never", self.ref(image), "sha256sum", f"/{LAYER_FILE}"]

    def inspect(self, image: str) -> Words:
        return ["image", "inspect", self.ref(image)]

    def save(self, image: str, file: Path) -> Words:
        return ["image", "save", "--type", "docker-archive", "--output", file, self.ref(image)]

    def push(self, image: str, registry: str) -> Words:
        return ["push", self.ref(image), f"{registry}/pushed:1"]


CLIENTS: dict[str, type[Client]] = {each.name: each for each in (Polyarch, Docker, Podman, Skopeo)}
