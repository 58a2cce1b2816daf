"""containerd's command `ctr`, as far as it is needed, and how its complaints are told."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from polyarch.contract import Digest, HostError, NotFoundError, StorageError, UsageError, is_digest, printable
from polyarch_plugins.storages.programs import PATIENCE, Programs

_NEEDS = re.compile(r"containerd\.io/gc\.ref\.content[^=,\s]*=([a-z0-9]+:[0-9a-f]+)", re.ASCII)
_START = "start it, such as with: systemctl start containerd; where it listens elsewhere, set CONTAINERD_ADDRESS"


class Ctr:
    """A namespace of a containerd.

    Raises HostError where it is not there or does not answer, StorageError with its words for the rest.
    """

    def __init__(self, words: Sequence[str], environ: Mapping[str, str]) -> None:
        self._words = tuple(words)
        install = "install containerd, such as with: apt install containerd; for k3s, say so in [options.containerd]"
        self._programs = Programs(environ, install, "try it: ctr version")

    def images(self, name: str | None = None) -> dict[str, Digest]:
        """All names, or this one if it is there, and the digests that they point at."""
        filters = () if name is None else (f"name=={json.dumps(name)}",)
        listed: dict[str, Digest] = {}
        # REF TYPE DIGEST SIZE PLATFORMS LABELS (containerd, cmd/ctr/commands/images/images.go)
        for line in self._said("images", "ls", *filters).splitlines()[1:]:
            words = line.split()
            if len(words) < 3 or not is_digest(words[2]):
                raise StorageError(f"containerd's list of images cannot be read: {printable(line, 200)}")
            listed[words[0]] = words[2]
        return listed

    def blobs(self) -> frozenset[Digest]:
        """The digests of the blobs that are there, whole."""
        return frozenset(self._said("content", "ls", "--quiet").split())

    def kept(self) -> frozenset[Digest]:
        """Those of them that an image needs: the others may be collected at any moment.

        What needs what stands in labels (containerd, docs/garbage-collection.md, "Garbage Collection labels").
        """
        needs: dict[Digest, list[Digest]] = {}
        for line in self._said("content", "ls").splitlines()[1:]:
            for digest in line.split(maxsplit=1)[:1]:
                needs[digest] = _NEEDS.findall(line)
        found = set[Digest]()
        ahead = list(self.images().values())
        while ahead:
            digest = ahead.pop()
            if digest in needs and digest not in found:
                found.add(digest)
                ahead += needs[digest]
        return frozenset(found)

    def read(self, digest: Digest) -> bytes:
        """A blob. Raises NotFoundError."""
        return self._run("content", "get", digest)

    def pull(self, name: str, platform: str, hosts: str) -> None:
        """Pull one platform of a name from where the folder `hosts` says, and unpack it."""
        self._run("images", "pull", "--hosts-dir", hosts, "--platform", platform, name, seconds=None)

    def remove(self, name: str) -> None:
        """Take a name away; what nothing needs any more is containerd's to collect. Raises NotFoundError."""
        self._run("images", "rm", name)

    def close(self) -> None:
        """End what still runs: nobody waits for it any more."""
        self._programs.close()

    def _said(self, *arguments: str) -> str:
        return self._run(*arguments).decode(errors="replace")

    def _run(self, *arguments: str, seconds: float | None = PATIENCE) -> bytes:
        done = self._programs.run((*self._words, *arguments), seconds)
        if done.code == 0:
            return done.output
        lines = done.errors.strip().splitlines()
        told = [line for line in lines if not line.startswith(("time=", "{"))]
        raise _complaint((told or lines or [f"{self._words[0]} ended with {done.code}"])[-1])


def _complaint(said: str) -> Exception:
    words = printable(said.removeprefix("ctr: "), 600)
    if "failed to dial" in said or "error while dialing" in said or "rpc error: code = Unavailable" in said:
        if "permission denied" in said:
            return HostError(f"this user may not speak with containerd: {words}", "call polyarch as root")
        return HostError(f"containerd does not answer: {words}", _START)
    if "no space left" in said or "quota exceeded" in said:
        hint = "free some space where containerd keeps its images (ctr images rm), then try again: what came is kept"
        return StorageError(f"containerd: {words}", hint)
    if "invalid reference" in said or "object required" in said:
        return UsageError(f"containerd takes no such name: {words}")
    if said.endswith("not found"):
        return NotFoundError(f"containerd: {words}")
    return StorageError(f"containerd: {words}")
