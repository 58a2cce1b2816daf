from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.container.request import RunRequest, Volume, parse_environment, parse_volume
from polyarch.errors import UsageError


@pytest.mark.parametrize(
    ("text", "target", "read_only"),
    [
        ("./data:/data", "/data", False),
        ("./data:/data:ro", "/data", True),
        ("./data:/data:rw", "/data", False),
        ("/{here}/data:/a/b", "/a/b", False),
        ("./data/file:/etc/file:ro", "/etc/file", True),
    ],
)
def test_volumes(text: str, target: str, read_only: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").touch()
    volume = parse_volume(text.replace("/{here}", str(tmp_path)))
    source = tmp_path / "data" / ("file" if "file" in text else "")
    assert volume == Volume(source, target, read_only)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "SOURCE:TARGET"),
        ("./data", "SOURCE:TARGET"),
        (":/data", "SOURCE:TARGET"),
        ("./data:/data:ro:more", "SOURCE:TARGET"),
        ("./data:/data:shared", "SOURCE:TARGET"),
        ("./data:data", "absolute"),
        ("./data:/", "not /"),
        ("./data:/..", "not /"),
        ("named:/data", "no named volumes"),
        ("./missing:/data", "does not exist"),
    ],
)
def test_broken_volumes(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(UsageError, match=message):
        parse_volume(text)


def test_later_variables_win_and_names_alone_are_passed_on(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("# a comment\n\n  A=1\nB=two words\nC=a=b\nGIVEN\nMISSING\nD='kept'\n")
    two.write_text("A=2\n")
    request = RunRequest(
        env=("C=", "E=5", "SECRET", "NOT_THERE"), env_files=(one, two), environ={"GIVEN": "g", "SECRET": "s"}
    )
    assert parse_environment(request) == {
        "A": "2",
        "B": "two words",
        "C": "",
        "GIVEN": "g",
        "D": "'kept'",
        "E": "5",
        "SECRET": "s",
    }


@pytest.mark.parametrize("content", [b"=x\n", b"A B=x\n", b"A\xff=1\n"])
def test_broken_files_of_variables(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=str(path)):
        parse_environment(RunRequest(env_files=(path,)))


def test_a_missing_file_of_variables(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        parse_environment(RunRequest(env_files=(tmp_path / "none",)))


def test_the_callers_environment_is_not_shown() -> None:
    assert "hunter2" not in repr(RunRequest(environ={"PASSWORD": "hunter2"}))


@pytest.mark.parametrize(
    "words",
    [
        {"name": "a b"},
        {"name": "../x"},
        {"name": "-x"},
        {"hostname": "a_b"},
        {"hostname": "-a"},
        {"hostname": "x" * 65},
        {"workdir": "relative"},
        {"argv": ("a\0b",)},
        {"env": ("A=\0",)},
    ],
)
def test_words_that_cannot_be(words: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        RunRequest(**words)  # type: ignore[arg-type]


def test_a_name_from_outside_is_escaped_once() -> None:
    with pytest.raises(UsageError) as caught:
        RunRequest(name="a\x1bb")
    assert caught.value.message == r"'a\x1bb' cannot be the name of a container"
