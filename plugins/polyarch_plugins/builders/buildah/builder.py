"""Drives buildah: one store below polyarch's root, which is also the cache of steps."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from polyarch.contract import (
    OCI_MANIFEST,
    Build,
    BuilderServices,
    Descriptor,
    HostError,
    digest_of,
    disk_error,
    index_json,
    make_directory,
    marker_json,
    read_bounded,
    write_in_one_step,
)
from polyarch_plugins.builders.buildah import files, words

_PASSED_ON = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ftp_proxy",
    "all_proxy",
)
_REGISTRIES_D = "home/.config/containers/registries.d"
_LAST_LINES = 20
_MAX_DOCUMENT = 4 << 20
_DIR_VERSION = "Directory Transport Version: 1.1\n"
"""containers/image, directory/directory_dest.go: without it, a folder that is not empty is not written to."""


class Buildah:
    """The builder `buildah`."""

    def __init__(self, services: BuilderServices) -> None:
        self._services = services
        self._state = services.state
        self._preparing = threading.Lock()
        self._held: int | None = None
        self._driver = ""

    def missing(self) -> str:
        """No buildah in the PATH."""
        return "" if shutil.which("buildah", path=self._path) else "buildah is not installed (apt install buildah)"

    @property
    def _path(self) -> str:
        return self._services.environ.get("PATH", os.defpath)

    def build(self, build: Build) -> None:
        """What `contract.Builder` says."""
        work = build.output.with_name(build.output.name + ".buildah")
        try:
            make_directory(work, 0o700)
            self._prepare()
            (work / "policy.json").write_text(files.policy_json(build.bases))
            (work / "registries.conf").write_text(files.registries_conf(build.bases))
            identity = work / "id"
            self._run(words.build_words(build, str(work / "policy.json"), str(identity)), work, build.say)
            folder = work / "image"
            folder.mkdir()
            (folder / "version").write_text(_DIR_VERSION)
            for layer in build.layers:  # what is there by its name is not written again
                (folder / layer.partition(":")[2]).touch()
            image = identity.read_text().strip()
            self._run(words.push_words(image, str(work / "policy.json"), f"dir:{folder}"), work, build.say)
            _to_layout(folder, build.output, {layer.partition(":")[2] for layer in build.layers})
        except OSError as error:
            raise disk_error(error, f"cannot build in {work}") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def close(self) -> None:
        """Containers of builds that were ended are taken out of the store, unless another build goes on there."""
        if self._held is None:
            return
        try:
            if _alone(self._held) and self._has_containers():
                self._tidy()
        finally:
            os.close(self._held)
            self._held = None

    def _prepare(self) -> None:
        """Once: the store is there, no other process takes anything away in it, and its driver is known."""
        with self._preparing:
            if self._held is not None:
                return
            make_directory(self._state, 0o700)
            for name in ("run", "tmp", _REGISTRIES_D):
                make_directory(self._state / name, 0o700)
            held = os.open(self._state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if _alone(held):
                    self._write("containers.conf", files.CONTAINERS_CONF)
                    self._write("storage.conf", files.STORAGE_CONF)
                    self._write(f"{_REGISTRIES_D}/default.yaml", files.signatures_yaml(self._state / "no-signatures"))
                    self._choose_driver()
                    if self._has_containers():  # of a build that was killed
                        self._tidy()
                fcntl.flock(held, fcntl.LOCK_SH)
                self._driver = self._driver or (self._state / "driver").read_text()
            except BaseException:
                os.close(held)
                raise
            self._held = held

    def _write(self, name: str, text: str) -> None:
        write_in_one_step(self._state / name, text.encode(), self._state / "tmp" / Path(name).name, sync=False)

    def _choose_driver(self) -> None:
        """overlay where the kernel mounts it over this folder, else vfs, which copies all files for each step."""
        with contextlib.suppress(FileNotFoundError):
            self._driver = (self._state / "driver").read_text()
            return
        for driver in ("overlay", "vfs"):
            self._driver, said = driver, list[str]()
            if self._buildah(["info"], self._state, said.append) == 0:
                self._write("driver", driver)
                return
        raise HostError("buildah does not start: " + (said[-1] if said else "it says nothing"))

    def _buildah(self, argv: list[str], work: Path, line: Callable[[str], None]) -> int:
        return self._services.run([*words.store_words(self._state, self._driver), *argv], self._environ(work), line)

    def _has_containers(self) -> bool:
        try:
            return len((self._state / self._driver / f"{self._driver}-containers/containers.json").read_bytes()) > 2
        except OSError:
            return False

    def _tidy(self) -> None:
        self._buildah(["rm", "--all"], self._state, lambda line: None)

    def _environ(self, work: Path) -> dict[str, str]:
        given = self._services.environ
        passed = {name: given[name] for name in _PASSED_ON if name in given}
        return {
            **passed,
            "PATH": self._path,
            "LANG": "C.UTF-8",
            "HOME": str(self._state / "home"),
            "TMPDIR": str(self._state / "tmp"),
            "XDG_RUNTIME_DIR": str(self._state / "run"),
            "CONTAINERS_CONF": str(self._state / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self._state / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(work / "registries.conf"),
            # containers/storage, pkg/unshare: it is in the user namespace that it is to work in.
            "_CONTAINERS_USERNS_CONFIGURED": "done",
        }

    def _run(self, argv: list[str], work: Path, say: Callable[[str], None]) -> None:
        """Raises UsageError or StorageError with the last words where it fails."""
        last = deque[str](maxlen=_LAST_LINES)

        def line(text: str) -> None:
            last.append(text)
            if words.worth_saying(text):
                say(text)

        code = self._buildah(argv, work, line)
        if code != 0:
            raise words.failure(last, code)


def _alone(lock: int) -> bool:
    """True, and then nobody else may use the store, if nobody does."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _to_layout(folder: Path, output: Path, known: set[str]) -> None:
    """Make an OCI image layout of what buildah has written, by renaming."""
    raw = read_bounded(folder / "manifest.json", _MAX_DOCUMENT)
    digest = digest_of(raw)
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for path in list(folder.iterdir()):
        if path.name not in ("version", "manifest.json", "blobs") and path.name not in known:
            path.rename(blobs / path.name)
        elif path.is_file():
            path.unlink()
    (blobs / digest.partition(":")[2]).write_bytes(raw)
    entry = Descriptor(OCI_MANIFEST, digest, len(raw))
    (folder / "index.json").write_bytes(index_json(None, [entry], str(output)))
    (folder / "oci-layout").write_bytes(marker_json())
    folder.rename(output)
