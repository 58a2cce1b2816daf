"""Root file systems of Debian for a foreign architecture, made from the machine's own apt sources; for root only."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from polyarch.testing.debian_busybox import SampleImageError, debian_sources
from polyarch.testing.layout_writer import LayoutWriter

PLATFORMS = {
    "arm64": {"os": "linux", "architecture": "arm64"},
    "armhf": {"os": "linux", "architecture": "arm", "variant": "v7"},
}
"""Debian's name -> the platform."""

ENTER = """
set -e
root=$1 packages=$2; shift 2
mount --bind "$root" "$root"
for folder in proc sys dev; do mount --rbind "/$folder" "$root/$folder"; done
for folder in mnt tmp root run var/tmp var/lib; do mount -t tmpfs -o mode=1777 tmpfs "$root/$folder"; done
mkdir "$root/mnt/polyarch"
mount --bind "$packages" "$root/mnt/polyarch"
mount -o remount,bind,ro "$root"
exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin HOME=/root LANG=C.UTF-8 PYTHONPATH=/mnt/polyarch "$@"
"""
"""A script for sh: goes into the root $1 with the packages of the folder $2, and leaves nothing written there.

It has to be started where mounts are seen by nobody else: by `emulate`.
"""

_PACKAGES = ("?essential", "apt", "ca-certificates", "crun", "python3")
_NOT_NEEDED = ("doc", "man", "locale", "info", "i18n", "lintian", "bash-completion")  # below /usr/share
_RECIPE = "2"  # another one when the recipe changes otherwise than by the words above
_CHECKOUT = Path(__file__).resolve().parents[2]
_SECONDS = 900


class NoForeignRoot(Exception):
    """The root cannot be made on this machine; the message says why."""


def debian_root(architecture: str, cache: Path, packages: Sequence[str] = _PACKAGES) -> Path:
    """The packages, extracted but not configured, by mmdebstrap: it takes seconds, and no foreign program runs.

    `packages` are names, or apt's patterns. Made once and kept in `cache`; several processes may ask. Read it only.
    Raises NoForeignRoot.
    """
    return _kept(_folder(cache, packages) / architecture, lambda target: _extract(architecture, packages, target))


def debian_layout(architecture: str, cache: Path) -> Path:
    """The same root as the one layer of an image, `debian`, in an OCI image layout. Raises NoForeignRoot."""
    root = debian_root(architecture, cache)
    return _kept(
        _folder(cache, _PACKAGES) / f"{architecture}-layout",
        lambda target: _write_layout(root, PLATFORMS[architecture], target),
    )


def debootstrap_foreign(architecture: str, target: Path) -> None:
    """The first stage of debootstrap; the second one has to run in the root. Raises NoForeignRoot."""
    fields = dict(re.findall(r"^([A-Za-z-]+): *(\S+)", _sources()[0], re.MULTILINE))
    key = fields.get("Signed-By", "")
    keyring = [f"--keyring={key}"] if key.startswith("/") else []
    options = ["--foreign", f"--arch={architecture}", "--variant=minbase", "--include=python3", *keyring]
    _run("debootstrap", *options, fields["Suites"], str(target), fields["URIs"])


def polyarch_packages(target: Path) -> None:
    """Installs the checkout's polyarch and all that it needs into the folder: pure Python, for any architecture.

    pip installs a wheel of the checkout; its dependencies are copies of those that the tests run with. Raises
    NoForeignRoot.
    """
    with TemporaryDirectory() as folder:
        wheel = polyarch_wheel(Path(folder))
        _pip("install", "--no-deps", "--no-index", "--no-compile", "--target", str(target), str(wheel))
    for distribution in _needed("polyarch"):
        for file in distribution.files or ():
            if ".." in file.parts or file.suffix == ".pyc":
                continue
            if file.suffix == ".so":
                raise NoForeignRoot(f"{distribution.name} is no pure Python: {file}")
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target / file)


def polyarch_wheel(folder: Path) -> Path:
    """Builds the checkout's wheel in the folder. Raises NoForeignRoot."""
    _pip("wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(folder), str(_CHECKOUT))
    (wheel,) = folder.glob("polyarch-*.whl")
    return wheel


def pip_wheels(folder: Path) -> None:
    """pip itself and everything that polyarch needs, as wheels from the package index. Raises NoForeignRoot."""
    constraints = str(_CHECKOUT / "constraints.txt")
    wheel = polyarch_wheel(folder)
    _pip("wheel", "--constraint", constraints, "--only-binary", ":all:", "--wheel-dir", str(folder), str(wheel), "pip")


def _needed(name: str) -> Iterator[metadata.Distribution]:
    """The distributions that one needs, without its extras, each once."""
    waiting, seen = [name], {name}
    while waiting:
        for requirement in metadata.requires(waiting.pop()) or ():
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            if match is None or "extra ==" in requirement or match[0] in seen:
                continue
            seen.add(match[0])
            try:
                found = metadata.distribution(match[0])
            except metadata.PackageNotFoundError:
                continue  # for another Python or system
            waiting.append(match[0])
            yield found


def _folder(cache: Path, packages: Sequence[str]) -> Path:
    key = hashlib.sha256(repr((tuple(packages), _NOT_NEEDED, _RECIPE)).encode()).hexdigest()[:12]
    return cache / "foreign-roots" / key


def _kept(target: Path, make: Callable[[Path], None]) -> Path:
    """`target`, made by `make(a path beside it)` unless it is there."""
    if os.geteuid() != 0:
        raise NoForeignRoot("only root can make a root file system")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with TemporaryDirectory(dir=target.parent) as folder:
                made = Path(folder, "made")
                make(made)
                made.rename(target)
    return target


def _extract(architecture: str, packages: Sequence[str], target: Path) -> None:
    _run(
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=extract",
        f"--architectures={architecture}",
        *(f"--include={package}" for package in packages),
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        "",
        str(target),
        "-",
        stdin="\n".join(_sources()),
    )
    for name in _NOT_NEEDED:
        shutil.rmtree(target / "usr" / "share" / name, ignore_errors=True)
    (target / "mnt").mkdir()  # as base-files' maintainer script does, and base-passwd's:
    for name in ("passwd", "group"):
        shutil.copy(target / "usr" / "share" / "base-passwd" / f"{name}.master", target / "etc" / name)
    for name in ("sources.list", "resolv.conf"):  # this machine's
        (target / "etc" / name).unlink(missing_ok=True)
    shutil.rmtree(target / "etc" / "apt" / "sources.list.d", ignore_errors=True)


def _write_layout(root: Path, platform: dict[str, str], target: Path) -> None:
    writer = LayoutWriter(target)
    layer = writer.open_layer("mmdebstrap")
    with tarfile.open("/dev/null", "w") as reader:  # only for what it reads of files
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root)
            if name.parts[0] == "dev" or path.is_socket():
                continue
            info = reader.gettarinfo(path, str(name))
            if info.isreg():
                with path.open("rb") as content:
                    layer.add((info, content))
            else:
                layer.add((info, None))
    writer.name("debian", {**writer.image(platform, [layer.close()]), "platform": platform})
    writer.finish()


def _sources() -> list[str]:
    try:
        return debian_sources()
    except SampleImageError as error:
        raise NoForeignRoot(str(error)) from error


def _pip(*words: str) -> None:
    _run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words)


def _run(*argv: str, stdin: str = "") -> None:
    try:
        done = subprocess.run(
            argv,
            env={**os.environ, "LC_ALL": "C", "PIP_ROOT_USER_ACTION": "ignore"},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoForeignRoot(f"{argv[0]}: {error}") from error
    if done.returncode != 0:
        raise NoForeignRoot(f"{argv[0]}: {' '.join(done.stderr.split())[-500:]}")
