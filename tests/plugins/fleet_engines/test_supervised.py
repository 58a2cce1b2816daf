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

CONTROLLER = """\
import os, sys
from pathlib import Path
from polyarch_plugins.fleet_engines.supervised import Supervised
folder, how, *command = sys.argv[1:]
process = Supervised(command, os.environ, folder=Path(folder), held=how == "held")
print(how if how == "held" else process.wait(), flush=True)
sys.stdin.read()
"""


def test_what_is_held_begins_when_it_is_told_to() -> None:
    process = Supervised(["echo", "begun"], os.environ, held=True)
    process.start()
    assert process.stdout.read() == b"begun\n"
    assert process.wait() == process.wait() == 0
    process.close()


@pytest.mark.parametrize(
    ("command", "code"), [(["false"], 1), (["sh", "-c", "kill -KILL $$"], 137), (["/no/such/program"], 127)]
)
def test_the_exit_code(command: list[str], code: int) -> None:
    process = Supervised(command, os.environ)
    assert process.wait() == code
    process.close()


def test_what_is_ended_is_told_as_killed(tmp_path: Path) -> None:
    process = Supervised(["sleep", "1000"], os.environ, folder=tmp_path / "folder")
    process.end()
    assert process.wait() == 137
    process.kill("nobody hears of it")
    process.close()


@pytest.mark.parametrize("how", ["held", "ended"])
def test_the_folder_goes_with_a_controller_that_is_killed(how: str, tmp_path: Path) -> None:
    """Before the command begins, and when it has ended and its files are still to be read."""
    folder, begun = tmp_path / "folder", tmp_path / "begun"
    folder.mkdir()
    (folder / "file").write_text("")
    argv = [sys.executable, "-c", CONTROLLER, str(folder), how, "touch", str(begun)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == ("held\n" if how == "held" else "0\n")
        assert (folder / "file").exists()
        process.send_signal(signal.SIGKILL)
    await_true(lambda: not folder.exists() and not running(str(folder)), "it goes, and nothing runs any more")
    assert begun.exists() == (how == "ended")


def test_the_folder_is_gone_when_it_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("")
    process = Supervised(["true"], os.environ, folder=folder)
    assert process.wait() == 0
    assert (folder / "file").exists()
    process.close()
    assert not folder.exists()
