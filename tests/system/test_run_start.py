"""What a run of an image at hand costs before the program starts: it loads, and looks for, no more than it needs."""

from __future__ import annotations

import os
import shutil

import pytest

from polyarch_platforms.qemu import kernel_version
from support.command import Polyarch
from support.docker_registry import DockerRegistry

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's run loads the same"),
]
NEEDLESS = {
    "asyncio",
    "bz2",
    "concurrent.futures",
    "http.client",
    "httpx",
    "importlib.metadata",
    "locale",
    "lzma",
    "pickle",
    "pluggy",
    "plumbum",
    "polyarch.container.bare",
    "polyarch.container.console",
    "polyarch.container.detach",
    "polyarch.container.monitor",
    "polyarch.registry.client",
    "polyarch.registry.http_client",
    "polyarch.unpack.tar",
    "polyarch.verbs.devices",  # looks for every emulator, and tries a private binfmt_misc
    "polyarch.verbs.pull",
    "polyarch_plugins.emulators.qemu_user.plugin",
    "random",
    "rich",
    "secrets",
    "shutil",
    "socket",
    "ssl",
    "starlette",
    "subprocess",
    "tempfile",
    "termios",
    "traceback",
}


def loaded(stderr: str) -> set[str]:
    """The modules in what PYTHONPROFILEIMPORTTIME prints."""
    return {line.rpartition("|")[2].strip() for line in stderr.splitlines() if line.startswith("import time:")}


def test_what_a_native_run_loads(polyarch: Polyarch, registry: DockerRegistry) -> None:
    words = ("run", "--rm", registry.ref("busybox:1.36"), "true")
    told = {"PYTHONPROFILEIMPORTTIME": "1"}
    # The second remembers the plugins, now that there is a folder to do so.
    first, _, later = (loaded(polyarch(*words, env=told).ok().stderr) for _ in range(3))
    assert first >= {"httpx", "polyarch.unpack.tar", "polyarch.verbs.devices", "polyarch.verbs.pull"}
    assert "polyarch.container.run" in later
    assert sorted(later & NEEDLESS) == []


def test_a_container_that_goes_with_its_end_waits_for_no_disk(polyarch: Polyarch, registry: DockerRegistry) -> None:
    image = registry.ref("busybox:1.36")
    kept = polyarch("run", image, "cat", "/proc/mounts").ok().stdout.splitlines()[0]
    gone = polyarch("run", "--rm", image, "cat", "/proc/mounts").ok().stdout.splitlines()[0]
    assert kept.startswith("overlay / ")
    assert gone.startswith("overlay / ")
    assert ("volatile" in gone, "volatile" in kept) == (kernel_version() >= (5, 10), False)
