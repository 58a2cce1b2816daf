"""What the containers of a storage may leave behind: processes, mounts, control groups, folders."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Leftovers:
    """Looks for what belongs to the storage at `root`."""

    root: Path

    def processes(self) -> list[int]:
        """Whose arguments name the storage, or who is where something of it is mounted."""
        # mountinfo names a path within its file system, which may begin anywhere above.
        within = os.fsencode("/".join(self.root.parts[-3:]))
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if within in (path / "mountinfo").read_bytes() or self._names(path):
                    found.append(int(path.name))
        return found

    def named(self, program: str) -> list[int]:
        """The processes of a program whose arguments name the storage."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._names(path) and program.encode() in (path / "cmdline").read_bytes():
                    found.append(int(path.name))
        return found

    def children(self, parents: list[int]) -> list[int]:
        """The processes that these have started."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                if parent in parents:
                    found.append(int(path.name))
        return found

    def containers(self) -> list[Path]:
        """The folders of containers."""
        return [path for path in (self.root / "containers").glob("*/") if path.name != "lock"]

    @staticmethod
    def groups(identifiers: Iterable[str]) -> list[Path]:
        """The control groups of these containers."""
        mounted = Path("/sys/fs/cgroup")
        names = [f"polyarch-{identifier}" for identifier in identifiers]
        return [path for name in names for path in (*mounted.glob(name), *mounted.glob(f"*/{name}"))]

    def _names(self, process: Path) -> bool:
        return os.fsencode(self.root) in (process / "cmdline").read_bytes()
