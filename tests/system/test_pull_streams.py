"""The program of an image is looked for in bytes that have just come: from a registry that stops before its last."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from polyarch.session import Session
from polyarch.settings import Settings
from polyarch.unpack.entrypoint import EntrypointElf, entrypoint_elf
from polyarch_platforms.elf import platform_of
from support.faults import stall_after
from support.faulty_registry import FaultyRegistry
from support.storages import blobs_in

pytestmark = pytest.mark.system

TRAILER = 8
"""Bytes at the end of a gzip stream that hold no content (RFC 1952, 2.3.1)."""


def test_the_search_has_its_answer_before_the_last_byte(
    faulty_registry: FaultyRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = faulty_registry.layout
    largest = max(layout.layers(layout.manifest("busybox:1.36", "arm64")), key=lambda layer: int(layer["size"]))
    path, sent = f"/blobs/{largest['digest']}", int(largest["size"]) - TRAILER
    answered = threading.Event()
    seen: list[tuple[EntrypointElf | None, int, bool]] = []

    def search(*arguments: Any, **options: Any) -> EntrypointElf | None:
        found = entrypoint_elf(*arguments, **options)
        whole = largest["digest"] in blobs_in(tmp_path / "root" / "oci")
        seen.append((found, len(faulty_registry.asked("GET", path)), whole))
        answered.set()
        return found

    monkeypatch.setattr("polyarch.verbs.program.entrypoint_elf", search)
    faulty_registry.script("GET", path, stall_after(sent, until=answered))
    with Session(Settings(root=tmp_path / "root", home=tmp_path, read_timeout=20, sync="none")) as session:
        (result,) = session.pull(faulty_registry.ref("busybox:1.36"), platform="linux/arm64")
    [(found, requests, whole)] = seen
    assert found is not None
    assert platform_of(found.elf).architecture == "arm64"
    assert (requests, whole) == (1, False)
    assert [request.byte_range for request in faulty_registry.asked("GET", path)] == [None, (sent, None)]
    assert (result.status, result.platform) == ("downloaded", "linux/arm64")
