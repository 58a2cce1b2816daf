"""What the lab tells its supervisor of a device: made here, read there, JSON between."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from support.fleet_lab.kinds import Kind

PREFIX = 24
"""Bits of the lab's network."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A device: its address, the texts of its keys, and the folder that its root file system begins with.

    number     its own in the lab
    gateway    the controller's address in the lab's network
    host_key   the private key that its sshd shows
    login_key  the public key that may log in as root
    lower      for amd64 this machine's own root
    emulator   what runs its programs; "" for amd64. `variables` are what the emulator wants in the environment
    """

    name: str
    number: int
    kind: Kind
    address: str
    gateway: str
    host_key: str
    login_key: str
    lower: str = "/"
    emulator: str = ""
    variables: tuple[tuple[str, str], ...] = ()

    def dump(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Spec:
        """What `dump` gave."""
        values = json.loads(text)
        variables = tuple((name, value) for name, value in values.pop("variables"))
        return cls(kind=Kind(**values.pop("kind")), variables=variables, **values)


@dataclass(frozen=True, slots=True)
class Folders:
    """Where a device's files are: below a file system in memory that only the supervisor and its devices see."""

    top: Path

    @property
    def upper(self) -> Path:
        """What differs from its lower folder."""
        return self.top / "upper"

    @property
    def work(self) -> Path:
        """The overlay's own."""
        return self.top / "work"

    @property
    def root(self) -> Path:
        """Where its root is put together."""
        return self.top / "root"

    @property
    def store(self) -> Path:
        """Where its engine keeps images: an overlay cannot be the upper folder of the engine's own."""
        return self.top / "store"
