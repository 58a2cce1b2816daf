"""What `make fleet-demo` runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.machine_state import unchanged_machine
from support.processes import await_true

pytestmark = pytest.mark.system

CHECKOUT = Path(__file__).resolve().parents[3]
SCRIPT = CHECKOUT / "docs" / "fleet-demo.sh"


def start(folder: Path) -> subprocess.Popen[str]:
    """The script, with the folder for what is temporary, as the leader of a group of processes."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "REPORT": str(folder / "report.html"),
    }
    return subprocess.Popen(
        ["bash", str(SCRIPT)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.soak
def test_the_demo_shows_a_fleet(tmp_path: Path, soak: bool) -> None:
    if not soak:
        pytest.skip("it takes long: POLYARCH_SOAK=1, or make soak")
    with unchanged_machine(tmp_path):
        said, _ = (demo := start(tmp_path)).communicate(timeout=600)
        assert demo.returncode == 0, said
        assert "4 devices: 4 pulled" in said
        assert "4 of 4 devices as planned" in said
        assert said.endswith(f"The report: {tmp_path}/report.html\n")
        assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
        assert not list(tmp_path.glob("polyarch-fleet-demo.*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make devices")
def test_a_demo_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    with unchanged_machine(tmp_path):
        demo = start(tmp_path)
        await_true(lambda: any(tmp_path.glob("polyarch-fleet-demo.*/lab")), "the devices are being made")
        os.killpg(demo.pid, signal.SIGINT)
        said, _ = demo.communicate(timeout=60)
        assert demo.returncode != 0, said
        assert "Traceback" not in said
        await_true(lambda: not any(tmp_path.glob("polyarch-fleet-demo.*/lab")), "the lab is gone")


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root tries it every time")
def test_who_is_not_root_is_told(tmp_path: Path) -> None:
    argv = ["setpriv", "--reuid=65534", "--clear-groups", "bash", "-c", SCRIPT.read_text(), str(SCRIPT)]
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/")
    assert done.returncode == 8
    assert done.stderr.splitlines()[1] == "hint: sudo make fleet-demo"
