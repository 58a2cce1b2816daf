"""Images that share layers, for tests of what travels into an engine and what does not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from polyarch.testing.layout_writer import LayoutWriter, regular
from support.docker_registry import DockerRegistry
from support.layout_files import Layout

HERE = "amd64" if os.uname().machine == "x86_64" else "arm64"
FOREIGN = "linux/arm64" if HERE == "amd64" else "linux/amd64"
MACHINES = {"linux/arm64": "aarch64", "linux/amd64": "x86_64"}


def stack_layout(directory: Path, repository: str, busybox: Path, bulk: int) -> Layout:
    """`REPOSITORY/app:1.0` and `:1.1`, which differ in their top layer, and `/bulk:1.0` with `bulk` random bytes."""
    writer = LayoutWriter(directory)
    program = writer.layer([regular("bin/busybox", busybox.read_bytes(), 0o755)], "COPY busybox /bin/")
    base = writer.layer([regular(f"etc/{repository}", b"base")], "RUN base")
    platform = {"os": "linux", "architecture": HERE}
    for tag in ("1.0", "1.1"):
        own = writer.layer([regular("etc/version", f"{repository} {tag}".encode())], f"RUN {tag}")
        writer.name(f"{repository}/app:{tag}", writer.image(platform, [program, base, own]))
    big = writer.layer([regular("bulk", os.urandom(bulk))], "RUN bulk")
    writer.name(f"{repository}/bulk:1.0", writer.image(platform, [big, program]))
    writer.finish()
    return Layout(directory)


def blobs_asked_for(registry: DockerRegistry, before: int) -> set[str]:
    """The digests of the blobs that were asked for since the log had `before` lines."""
    return {access.path.rpartition("/")[2] for access in registry.access_log()[before:] if "/blobs/" in access.path}


def statuses(layers: Sequence[dict[str, object]]) -> list[object]:
    """What `pull --format json` says of each layer."""
    return [layer["status"] for layer in layers]
