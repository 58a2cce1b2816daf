"""The instructions of `commit --change`, by tables; and that no text is worse than an error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.container.instructions import apply_instructions
from polyarch.errors import UsageError

BASE: dict[str, Any] = {
    "Env": ["PATH=/bin", "HOME=/root"],
    "Cmd": ["old"],
    "Entrypoint": ["/entry"],
    "WorkingDir": "/srv",
    "Labels": {"a": "1"},
    "ExposedPorts": {"80/tcp": {}},
    "Unknown": [1],
}

# Dockerfile reference, each instruction's own section.
ROWS: dict[str, dict[str, Any]] = {
    'CMD ["/app", "-v", "a b"]': {"Cmd": ["/app", "-v", "a b"]},
    "CMD exec /app $HOME": {"Cmd": ["/bin/sh", "-c", "exec /app $HOME"]},
    "CMD ['/app']": {"Cmd": ["/bin/sh", "-c", "['/app']"]},
    "CMD []": {"Cmd": []},
    'ENTRYPOINT ["/other"]': {"Entrypoint": ["/other"], "Cmd": None},
    "entrypoint run it": {"Entrypoint": ["/bin/sh", "-c", "run it"], "Cmd": None},
    "ENV A=b": {"Env": [*BASE["Env"], "A=b"]},
    "ENV A=b PATH=$PATH:/opt C='$PATH'": {"Env": ["HOME=/root", "A=b", "PATH=/bin:/opt", "C=$PATH"]},
    'ENV A="b  c" D=e\\ f G=\\$HOME H="\\$HOME \\"x\\""': {
        "Env": [*BASE["Env"], "A=b  c", "D=e f", "G=$HOME", 'H=$HOME "x"']
    },
    "ENV A b  c": {"Env": [*BASE["Env"], "A=b  c"]},
    "ENV A=${NONE:-x}${HOME:+y}$NONE": {"Env": [*BASE["Env"], "A=xy"]},
    "ENV A=": {"Env": [*BASE["Env"], "A="]},
    'LABEL b=2 "com.example c"="d e"': {"Labels": {"a": "1", "b": "2", "com.example c": "d e"}},
    "LABEL a=other": {"Labels": {"a": "other"}},
    "USER nobody:nogroup": {"User": "nobody:nogroup"},
    "USER $HOME": {"User": "/root"},
    "WORKDIR /a/../b": {"WorkingDir": "/b"},
    "WORKDIR below": {"WorkingDir": "/srv/below"},
    "WORKDIR //x": {"WorkingDir": "/x"},
    "EXPOSE 443 53/udp 90-91/TCP": {
        "ExposedPorts": {"80/tcp": {}, "443/tcp": {}, "53/udp": {}, "90/tcp": {}, "91/tcp": {}}
    },
    'VOLUME ["/a b", "/c"]': {"Volumes": {"/a b": {}, "/c": {}}},
    "VOLUME /a /c": {"Volumes": {"/a": {}, "/c": {}}},
    "STOPSIGNAL SIGRTMIN+3": {"StopSignal": "SIGRTMIN+3"},
    "STOPSIGNAL 9": {"StopSignal": "9"},
}


@pytest.mark.parametrize("text", ROWS)
def test_what_an_instruction_changes(text: str) -> None:
    config = dict(BASE)
    apply_instructions(config, [text])
    expected = {key: value for key, value in {**BASE, **ROWS[text]}.items() if value is not None}
    assert config == expected


def test_an_entrypoint_leaves_a_command_that_is_new() -> None:
    config = dict(BASE)
    apply_instructions(config, ['CMD ["new"]', 'ENTRYPOINT ["/other"]'])
    assert (config["Entrypoint"], config["Cmd"]) == (["/other"], ["new"])


def test_variables_are_those_before_the_instruction() -> None:
    config = dict(BASE)
    apply_instructions(config, ["ENV A=1", "ENV A=2 B=$A", "ENV C=$A$B"])
    assert config["Env"][2:] == ["A=2", "B=1", "C=21"]


def test_the_shell_of_the_image() -> None:
    config: dict[str, Any] = {"Shell": ["/bin/ash", "-ec"]}
    apply_instructions(config, ["CMD x"])
    assert config["Cmd"] == ["/bin/ash", "-ec", "x"]


@pytest.mark.parametrize("shell", [3, "sh", {"a": "b"}, [1]])
def test_a_shell_that_is_none(shell: object) -> None:
    with pytest.raises(UsageError, match="Shell"):
        apply_instructions({"Shell": shell}, ["CMD x"])


def test_lists_in_each_other_without_end_are_for_the_shell() -> None:
    config: dict[str, Any] = {}
    apply_instructions(config, [f"CMD {'[' * 100_000}"])
    assert config["Cmd"][:2] == ["/bin/sh", "-c"]


@pytest.mark.parametrize(
    "text",
    [
        *("", "RUN true", "FROM x", "CMD", "ENV", "ENV A", "ENV =b", "ENV A=b C", "ENV A='b", "ENV A=${B", "ENV A=$"),
        *("USER a b", "USER ''", "WORKDIR", "EXPOSE x", "EXPOSE 0", "EXPOSE 70000", "EXPOSE 9-8", "EXPOSE 1-60000"),
        *("STOPSIGNAL TERMINATE-IT", "STOPSIGNAL 1 2", "VOLUME 'a", "CMD a\nb", "ENV A=\0", "LABEL a\\"),
    ],
)
def test_what_cannot_be_meant(text: str) -> None:
    with pytest.raises(UsageError, match="--change"):
        apply_instructions(dict(BASE), [text])


@given(
    st.sampled_from(["CMD", "ENV", "LABEL", "EXPOSE", "VOLUME", "USER", "WORKDIR", "STOPSIGNAL", "ENTRYPOINT"]),
    st.text(st.sampled_from("ab =$\\'\"{}:-+[],/1\t"), max_size=30),
)
def test_any_text_is_taken_or_refused(name: str, rest: str) -> None:
    config = dict(BASE)
    try:
        apply_instructions(config, [f"{name} {rest}"])
    except UsageError:
        return
    assert config["Unknown"] == [1]
