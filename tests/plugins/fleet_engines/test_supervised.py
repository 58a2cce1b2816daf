"""Commands that end with their controller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from polyarch_plugins.fleet_engines.supervised import Supervised
from support.ansible_fleet import running
from support.processes import await_true

HOLDING = """\
import os, sys
from pathlib import Path
from polyarch_plugins.fleet_engines.supervised import Supervised
Supervised(["touch", sys.argv[2]], os.environ, folder=Path(sys.argv[1]), held=True)
print("held", flush=True)
sys.stdin.read()
"""


def test_what_is_held_begins_when_it_is_told_to() -> None:
    process = Supervised(["echo", "begun"], os.environ, held=True)
    process.start()
    assert process.stdout.read() == b"begun\n"
    assert process.wait() == 0
    process.close()


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "closed"])
def test_what_is_held_goes_with_its_folder(killed: bool, tmp_path: Path) -> None:
    """The command was not begun."""
    folder, begun = tmp_path / "folder", tmp_path / "begun"
    folder.mkdir()
    (folder / "file").write_text("")
    if killed:
        argv = [sys.executable, "-c", HOLDING, str(folder), str(begun)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            process.send_signal(signal.SIGKILL)
    else:
        Supervised(["touch", str(begun)], os.environ, folder=folder, held=True).close()
    await_true(lambda: not running(str(folder)), "nothing runs any more")
    assert list(tmp_path.iterdir()) == []
