"""The saved inputs: a folder a parser, a file an input."""

from __future__ import annotations

from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")


def saved(name: str) -> dict[str, bytes]:
    """The inputs of a parser, by the name of their files."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / name).iterdir())}
