"""What fuzzing found stays mended: every saved input is read again. `make soak` looks for more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fuzz.corpus import CORPUS, saved
from fuzz.engine import attempt, fuzz
from fuzz.parsers import PARSERS, Parser
from support.figures import Figures

TESTS = Path(__file__).parent.parent

# A reader of three steps, none of which chance alone would take; in a file of polyarch's, as far as the tracer sees.
_STEPS = """
def read(data):
    if data[:1] == b"P":
        if data[1:8] == b"polyarc":
            if data[8:] == b"!":
                raise KeyError(data)
"""


@pytest.mark.parametrize("name", PARSERS)
def test_saved_inputs(name: str) -> None:
    wrong = {file: attempt(PARSERS[name], data) for file, data in saved(name).items()}
    assert wrong
    assert {file: what for file, what in wrong.items() if what} == {}


def test_every_folder_of_inputs_has_a_parser() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(PARSERS)


@pytest.mark.parametrize(
    ("name", "piece"),
    [
        pytest.param("header", b"<", id="link"),
        pytest.param("header", b'<x>; rel="a ', id="relation"),
        pytest.param("header", b" next", id="next"),
        pytest.param("header", b'<x>; rel="' + b" next" * 100, id="relation-next"),
        pytest.param("header", b'Basic a="\\', id="challenge"),
        pytest.param("json", b"[", id="json-depth"),
        pytest.param("json", b'{"":', id="json-objects"),
        pytest.param("registry-answers", b"<title", id="title"),
        pytest.param("sources", b"FROM a\nRUN <<a\n", id="here-documents"),
        pytest.param("sources", b"FROM a${a:-", id="variables"),
        pytest.param("sources", b"ARG a=x\nARG a=$a$a\n", id="arguments"),
        pytest.param("container", b"[", id="record-depth"),
        pytest.param("emulators", b"[", id="emulators-depth"),
    ],
)
def test_one_piece_again_and_again(name: str, piece: bytes) -> None:
    """What looks at the rest of its text for each piece takes minutes, what calls itself for each has no stack left."""
    most = PARSERS[name].most
    assert attempt(PARSERS[name], (piece * (most // len(piece) + 1))[:most]) is None


def test_steps_are_found() -> None:
    code: dict[str, Callable[[bytes], object]] = {}
    exec(compile(_STEPS, "/polyarch/steps.py", "exec"), code)
    run = fuzz(Parser(code["read"], (ValueError,)), [b"x"], 20, 1, until=lambda run: bool(run.findings))
    assert list(run.findings) == ["KeyError at steps.py:6"]


@pytest.mark.parametrize(
    ("read", "what"),
    [
        pytest.param(lambda data: {}[data], "KeyError", id="error"),
        pytest.param(lambda data: [number for number in iter(int, 1) if number], "too slow", id="slow"),
        pytest.param(lambda data: bytearray(b"x") * (300 << 20), "took", id="memory"),
    ],
)
def test_what_is_no_promise_is_told(read: Callable[[bytes], object], what: str) -> None:
    limit = 0.5 if what == "too slow" else 10
    assert (attempt(Parser(read, (ValueError,)), b"", limit) or "").startswith(what)
    assert attempt(Parser(lambda data: int(data), (ValueError,)), b"x") is None


@pytest.mark.costly
def test_fuzzing(figures: Figures) -> None:
    """Each parser for ten minutes of CPU, or POLYARCH_FUZZ_SECONDS, as many at once as there are processors."""
    seconds = os.environ.get("POLYARCH_FUZZ_SECONDS", "600")
    kept = TESTS.parent / ".cache" / "fuzz"
    command = [sys.executable, "-m", "fuzz", "--seconds", seconds, "--seed", str(os.getpid()), "--keep", str(kept)]

    def run(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, name], cwd=TESTS, capture_output=True, text=True)

    with ThreadPoolExecutor(os.cpu_count()) as several:
        runs = dict(zip(PARSERS, several.map(run, PARSERS), strict=True))
    for name, each in runs.items():
        figures(f"fuzzing {name}", (each.stdout or each.stderr).partition("\n")[0], "0 findings")
    assert {name: each.stdout + each.stderr for name, each in runs.items() if each.returncode != 0} == {}
