"""The examples in the docs are run as they stand: Python, and the console sessions with the output that they show.

The images that they name are those of `polyarch.testing`, kept in a local registry.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import NO_FILES_OF_THE_MACHINE
from support.docker_registry import DockerRegistry

pytestmark = pytest.mark.system

CHECKOUT = Path(__file__).parents[2]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VALUE = re.compile(r"\b([0-9a-f]{12}|[0-9.]+[kM]?B)\b")
IMAGE = re.compile(r"(?<![\w/.:-])(busybox|tagged|liar|arm64-only|team/[a-z]+)(?=[:\"\s]|$)")


STORY = CHECKOUT / "docs" / "images.md"
"""A page whose examples go on from each other."""


def blocks(kind: str) -> list[pytest.param]:  # type: ignore[valid-type]
    found = []
    for page in PAGES:
        if page == STORY:
            continue
        for number, (language, text) in enumerate(BLOCK.findall(page.read_text()), 1):
            if language == kind:
                found.append(pytest.param(text, id=f"{page.stem}-{number}"))
    return found


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Of a user who has nothing yet; containers that an example leaves running end with it."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    variables = {
        "PATH": path,
        "HOME": str(tmp_path),
        "POLYARCH_ROOT": str(tmp_path / "root"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "LANG": "C.UTF-8",
        **NO_FILES_OF_THE_MACHINE,
    }
    yield variables
    subprocess.run(["sh", "-c", "polyarch ps -aq | xargs -r polyarch rm -f"], env=variables, check=True)


@pytest.mark.parametrize("text", blocks("python"))
def test_python(text: str, registry: DockerRegistry, environment: dict[str, str], tmp_path: Path) -> None:
    source = IMAGE.sub(lambda match: f"{registry.address}/{match[1]}", text)
    script = tmp_path / "example.py"
    script.write_text(source)
    run = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{source}\n{run.stdout}{run.stderr}"


def steps(text: str) -> list[tuple[str, str]]:
    """The commands of a console session, each with the output that it shows."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def fits(shown: str, printed: str) -> bool:
    """True if what a page shows is what was printed: `…` stands for anything, spaces are folded.

    Digests and sizes are those of the day's busybox in Debian, so that any other will do.
    """
    shown, printed = (VALUE.sub("VALUE", text) for text in (shown, printed))
    pattern = r"\s+".join(re.escape(word).replace("…", ".*?") for word in shown.split())
    return re.fullmatch(rf"\s*{pattern}\s*", printed, re.DOTALL) is not None


@pytest.mark.parametrize("text", blocks("console"))
def test_console(text: str, registry: DockerRegistry, environment: dict[str, str], tmp_path: Path) -> None:
    follow(text, registry, environment, tmp_path)


def test_the_story_of_images(registry: DockerRegistry, environment: dict[str, str], tmp_path: Path) -> None:
    environment["REGISTRY"] = registry.address
    texts = [text for language, text in BLOCK.findall(STORY.read_text()) if language == "console"]
    assert len(texts) >= 8
    follow("".join(texts), registry, environment, tmp_path)


def follow(text: str, registry: DockerRegistry, environment: dict[str, str], folder: Path) -> None:
    """Type what a console session shows, and hold what comes against what it shows."""
    for command, shown in steps(text):
        line = IMAGE.sub(lambda match: f"{registry.address}/{match[1]}", command)
        run = subprocess.run(
            ["sh", "-c", line], env=environment, cwd=folder, capture_output=True, text=True, check=False
        )
        printed = (run.stdout + (run.stderr if run.returncode else "")).replace(f"{registry.address}/", "")
        assert ("error:" in shown) == (run.returncode != 0), f"{line}\n{printed}"
        if shown.strip():
            assert fits(shown, printed), f"{line}\nshown:\n{shown}\nprinted:\n{printed}"


def test_the_pages_have_examples() -> None:
    assert len(blocks("python")) >= 6
    assert len(blocks("console")) >= 6
    pages = {str(block.id).rpartition("-")[0] for block in blocks("console")}
    assert pages >= {"README", "containers", "emulation", "storage"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target
