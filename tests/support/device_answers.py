"""Answers of a fleet's devices, and running the script here with the engines that a test gives."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polyarch.fleet.answer import parse_answer
from polyarch.fleet.device_script import device_script, first_line, last_line
from polyarch.fleet.facts import DeviceFacts, Engine
from support.probe_answers import ARM64, answer, core, tree

NONCE = "0123456789abcdef"
PI_4 = answer(
    *core("0xd08", ARM64), *tree("Raspberry Pi 4 Model B Rev 1.4"), uname="Linux 6.6 aarch64", userland="arm64"
)


def device_answer(*lines: str, probe: str = PI_4, nonce: str = NONCE) -> str:
    """A whole answer: the probe's part, and lines of engines."""
    return "\n".join([first_line(nonce), probe.rstrip("\n"), *lines, last_line(nonce), ""])


def facts_of(text: str, *, asked: float = 0, received: float = 1e12) -> DeviceFacts:
    """What is read out of an answer; nothing is said of its clock unless the times are given."""
    return parse_answer("device", text, NONCE, asked=asked, received=received)


def run_script(environment: Mapping[str, str], shell: Sequence[str | Path] = ("/bin/sh",), **more: Any) -> str:
    """What the script prints here; AssertionError where it fails or says something on stderr."""
    argv = [*map(str, shell), "-c", device_script(NONCE)]
    done = subprocess.run(argv, env=dict(environment), capture_output=True, text=True, timeout=120, **more)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def engine_of(facts: DeviceFacts, kind: str) -> Engine:
    """The engine of that kind."""
    return next(engine for engine in facts.engines if engine.kind == kind)


def program(folder: Path, name: str, text: str) -> Path:
    """A program in `folder`: a shell script of this text."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
