"""What the fleet's verbs are asked: which devices, which images, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from polyarch.errors import IntegrityError, UsageError, printable
from polyarch.files import is_there
from polyarch.fleet.facts import ENGINE_KINDS, EngineKind
from polyarch.fleet.outcomes import TRANSPORTS, Transport
from polyarch.fleet.record import RolloutSettings
from polyarch.oci.json import strings
from polyarch.selection.types import EmulationPolicy
from polyarch_platforms.lazy_dataclass import dataclass

FORKS = 20
TIMEOUT = 600.0
ASK_TIMEOUT = 120.0
"""Seconds that a device has to say what it is; less where `timeout` is less."""


@dataclass(frozen=True, slots=True)
class FleetRequest:
    """Devices and images, for every verb.

    inventory  the words of `-i`: Ansible's, or `NAME:…` for a fleet engine of that name
    limit      a pattern; `@failed` and `@offline` are the devices of the last rollout for which that is so
    images     names; with those that `compose` and `locked` name, else the inventory's `polyarch_images` are meant
    locked     a lock: exactly its manifests
    engine     `--into`, for every device
    forks      devices at once
    timeout    seconds that a device has in each attempt
    max_age    seconds for which what a device said of itself is good
    """

    inventory: tuple[str, ...] = ()
    limit: str = ""
    images: tuple[str, ...] = ()
    compose: Path | None = None
    locked: Path | None = None
    engine: EngineKind | None = None
    emulation: EmulationPolicy | None = None
    forks: int = FORKS
    timeout: float = TIMEOUT
    max_age: float = 0

    def to_json(self) -> dict[str, object]:
        """What going on with a rollout needs of it; `request_from_json` reads it. No image: the plan has them.

        Where no inventory is named, the current folder says which one is Ansible's own (ansible.cfg).
        """
        return {
            "inventory": list(map(whole_path, self.inventory)),
            "folder": str(Path.cwd()),
            "engine": self.engine,
            "emulation": self.emulation,
            "forks": self.forks,
            "timeout": self.timeout,
        }


def whole_path(word: str) -> str:
    """A word of an inventory, to be used elsewhere: a file's or folder's whole path; a list of hosts as it is."""
    path = Path(word).absolute()
    return str(path) if is_there(path) else word


@dataclass(frozen=True, slots=True)
class PullRequest:
    """How images are brought.

    check       a command that has to succeed on the device afterwards
    transport   None: what the device allows
    limit_rate  bytes a second to all devices together; None: no limit
    """

    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    check: str | None = None
    transport: Transport | None = None
    limit_rate: int | None = None

    def to_json(self) -> dict[str, object]:
        """For `pull_from_json`; the rollout's settings are kept elsewhere."""
        return {"check": self.check, "transport": self.transport, "limit_rate": self.limit_rate}


def request_from_json(document: Mapping[str, object]) -> FleetRequest:
    """What `FleetRequest.to_json` gave. Raises IntegrityError for anything else.

    Raises UsageError where it named no inventory, and the current folder is another now: it may have another one.
    """
    forks, timeout, emulation = document.get("forks"), document.get("timeout"), document.get("emulation")
    if not isinstance(forks, int) or not isinstance(timeout, int | float) or forks < 1 or timeout <= 0:
        raise IntegrityError("forks and timeout are no numbers")
    if emulation not in (None, "auto", "never"):
        raise IntegrityError("emulation is neither auto nor never")
    inventory, folder = strings(document.get("inventory"), "inventory"), document.get("folder")
    if not inventory and isinstance(folder, str) and folder != str(Path.cwd()):
        raise UsageError(
            f"it was begun in {printable(folder, 300)}, with the inventory that Ansible finds there", "go on there"
        )
    return FleetRequest(
        inventory=inventory,
        engine=next((kind for kind in ENGINE_KINDS if kind == document.get("engine")), None),
        emulation=emulation,
        forks=forks,
        timeout=timeout,
    )


def pull_from_json(document: Mapping[str, object], rollout: RolloutSettings) -> PullRequest:
    """What `PullRequest.to_json` gave. Raises IntegrityError for anything else."""
    check, rate = document.get("check"), document.get("limit_rate")
    if not (check is None or isinstance(check, str)) or not (rate is None or isinstance(rate, int)):
        raise IntegrityError("check is no text, or limit_rate is no number")
    transport = next((one for one in TRANSPORTS if one == document.get("transport")), None)
    return PullRequest(rollout, check, transport, rate)
