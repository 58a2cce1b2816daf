"""Credential helpers to test with: real programs, found by PATH."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Keeps what it is given in a file beside itself, and notes each call with its arguments.
_KEEPER = """#!{python} -I
import json, pathlib, sys
here = pathlib.Path(__file__).parent
kept = here / "kept.json"
secrets = json.loads(kept.read_text()) if kept.exists() else {{}}
with (here / "calls").open("a") as calls:
    print(*sys.argv[1:], file=calls)
said = sys.stdin.read()
if sys.argv[1] == "store":
    secret = json.loads(said)
    secrets[secret["ServerURL"]] = secret
elif sys.argv[1] == "list":
    print(json.dumps({{server: secret["Username"] for server, secret in secrets.items()}}))
elif sys.argv[1] == "erase":
    secrets.pop(said, None)
elif said in secrets:
    print(json.dumps(secrets[said]))
else:
    print("credentials not found in native keychain")
    sys.exit(1)
kept.write_text(json.dumps(secrets))
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """A name and a script -> the program `docker-credential-NAME`, in PATH; its folder is its own."""

    def make(name: str, script: str) -> Path:
        folder = tmp_path / f"helper-{name}"
        folder.mkdir()
        program = folder / f"docker-credential-{name}"
        program.write_text(script)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return program

    return make


@pytest.fixture
def keeper(helper: Callable[[str, str], Path]) -> Path:
    """The helper `keeper`, which keeps credentials; its calls are in the file `calls` beside it."""
    return helper("keeper", _KEEPER.format(python=sys.executable))
