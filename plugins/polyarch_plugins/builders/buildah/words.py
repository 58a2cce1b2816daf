"""The words that buildah is started with, and what its own words mean. Pure.

Sources: buildah-build(1), buildah-push(1) of buildah 1.28.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from polyarch.contract import Build, HostError, PolyarchError, StorageError, UsageError, printable

_NOISE = re.compile(
    r"(?:Getting image source signatures|Copying (?:blob|config) .*|Writing manifest to .*|Storing sig.*)"
)
# Which platform it is for is polyarch's to prove; buildah 1.28 expects a wrong one after FROM --platform.
_PLATFORM = re.compile(r"WARNING: image platform .* does not match the expected platform .*")
_UNUSED = re.compile(r"\[Warning\] one or more build args were not consumed: \[(?:(?:TARGET|BUILD)[A-Z]+ ?)*\]")
_DUMP = re.compile(r" &imagebuilder\.Step\{.*")  # Go's own view of an instruction that it does not know
_FULL = "no space left on device"
_NO_IDS = "/etc/subuid"


def store_words(state: Path, driver: str) -> list[str]:
    """`buildah` with its store in `state`. It takes these words from no file where it believes itself rootless."""
    return ["buildah", f"--storage-driver={driver}", f"--root={state / driver}", f"--runroot={state / 'run'}"]


def build_words(build: Build, policy: str, identity: str) -> list[str]:
    """`buildah build …`: with `policy`, a file, and with the image's ID written into the file `identity`."""
    words = ["build", "--isolation=chroot", "--format=oci", "--layers", "--force-rm"]
    words += [f"--signature-policy={policy}", f"--iidfile={identity}"]
    words += [f"--platform={build.platform}", f"--file={build.file}"]
    words += ["--no-cache"] if not build.cache else []
    words += [f"--ignorefile={build.ignore}"] if build.ignore else []
    words += [f"--target={build.target}"] if build.target else []
    words += [f"--timestamp={build.timestamp}"] if build.timestamp is not None else []
    words += [f"--build-arg={name}={value}" for name, value in build.arguments.items()]
    words += [f"--secret=id={name},src={path}" for name, path in build.secrets.items()]
    return [*words, "--", str(build.context)]


def push_words(identity: str, policy: str, directory: str) -> list[str]:
    """`buildah push …`: the image as a folder of files, its layers as they were packed."""
    return ["push", "--quiet", "--disable-compression", f"--signature-policy={policy}", identity, directory]


def worth_saying(line: str) -> bool:
    """False for what tells of buildah's own store, and of arguments that it gives by itself."""
    return not (_NOISE.fullmatch(line) or _PLATFORM.fullmatch(line) or _UNUSED.fullmatch(line))


def failure(lines: Iterable[str], code: int) -> PolyarchError:
    """What the last lines of a build that failed say: the Dockerfile's fault, but for a full disk and missing IDs."""
    said = [line for line in lines if line.strip()]
    errors = [line.partition("rror: ")[2] for line in said if re.match(r"[Ee]rror: ", line)]
    last = errors[-1] if errors else said[-1] if said else f"it ended with {code}"
    text = f"buildah: {printable(_DUMP.sub('', last), 1000)}"
    if _NO_IDS in last:
        return HostError(text, "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER")
    return StorageError(text) if _FULL in last else UsageError(text)
