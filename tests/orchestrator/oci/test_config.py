"""Image configs (OCI image-spec, config.md)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import IntegrityError
from polyarch.oci.config import MAX_CONFIG_SIZE, HistoryLine, chain_ids, check_layer_count, parse_config
from polyarch.oci.digest import digest_of
from polyarch.unpack.entrypoint import entrypoint_elf
from polyarch_platforms.platform import Platform

A, B, C = digest_of(b"a"), digest_of(b"b"), digest_of(b"c")


def _raw(document: object) -> bytes:
    return json.dumps(document).encode()


LEAST: dict[str, object] = {"os": "linux", "architecture": "arm64"}


def test_a_whole_config() -> None:
    raw = _raw(
        {
            "created": "2024-01-01T00:00:00Z",
            "author": "somebody",
            "architecture": "arm",
            "variant": "v7",
            "os": "linux",
            "config": {
                "Entrypoint": ["/init"],
                "Cmd": ["a", "b"],
                "Env": ["PATH=/bin"],
                "WorkingDir": "/srv",
                "User": "7:7",
                "StopSignal": "SIGINT",
                "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
                "Volumes": {"/data": {}},
                "Labels": {"k": "v"},
            },
            "rootfs": {"type": "layers", "diff_ids": [A, B]},
            "history": [
                {"created": "x", "created_by": "RUN y", "comment": "z"},
                {"empty_layer": True},
                {"empty_layer": "yes"},
            ],
        }
    )
    config = parse_config(raw)
    assert (config.raw, config.digest) == (raw, digest_of(raw))
    assert config.platform == Platform("linux", "arm", "v7")
    assert config.diff_ids == (A, B)
    assert (config.entrypoint, config.cmd, config.env) == (("/init",), ("a", "b"), ("PATH=/bin",))
    assert (config.working_dir, config.user, config.stop_signal) == ("/srv", "7:7", "SIGINT")
    assert (config.exposed_ports, config.volumes, config.labels) == (("53/udp", "80/tcp"), ("/data",), {"k": "v"})
    assert config.history == (
        HistoryLine("x", "RUN y", "z", False),
        HistoryLine("", "", "", True),
        HistoryLine("", "", "", False),
    )


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"config": None, "rootfs": None, "history": None},
        {"config": {"Entrypoint": None, "Cmd": None, "Env": None, "Labels": None, "ExposedPorts": None, "User": None}},
        {"rootfs": {"diff_ids": None}},
        {"os.features": ["x"], "unknown": 7},
    ],
)
def test_what_docker_leaves_empty_is_empty(change: dict[str, object]) -> None:
    config = parse_config(_raw({**LEAST, **change}))
    assert (config.entrypoint, config.cmd, config.env, config.diff_ids, config.history) == ((), (), (), (), ())


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{}", "the platform has no 'os'"),
        (_raw({"os": "linux"}), "no 'architecture'"),
        (_raw({**LEAST, "os": 7}), "'os'"),
        (_raw({**LEAST, "rootfs": []}) + b" ", ""),
        (_raw({**LEAST, "rootfs": 7}), "rootfs"),
        (_raw({**LEAST, "rootfs": {"diff_ids": [A, "x"]}}), "diff ID 2"),
        (_raw({**LEAST, "rootfs": {"diff_ids": {}}}), "diff_ids"),
        (_raw({**LEAST, "config": "x"}), "config"),
        (_raw({**LEAST, "config": {"Entrypoint": "sh"}}), "Entrypoint"),
        (_raw({**LEAST, "config": {"Env": [7]}}), "Env"),
        (_raw({**LEAST, "config": {"User": 0}}), "User"),
        (_raw({**LEAST, "config": {"Labels": {"a": 1}}}), "Labels"),
        (_raw({**LEAST, "config": {"Volumes": ["/x"]}}), "Volumes"),
        (_raw({**LEAST, "history": [7]}), "history"),
        (_raw({**LEAST, "history": [{"created_by": 7}]}), "created_by"),
        (b" " * MAX_CONFIG_SIZE + b"{}", "more than a config may have"),
        (b"\x7fELF", "not JSON"),
    ],
)
def test_a_bad_config_is_refused(raw: bytes, said: str) -> None:
    if not said:
        assert parse_config(raw).diff_ids == ()
        return
    with pytest.raises(IntegrityError) as caught:
        parse_config(raw, "here")
    assert said in caught.value.message
    assert caught.value.message.startswith("here")


_junk = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2)
_maps = _junk | st.dictionaries(st.sampled_from(["Entrypoint", "Cmd", "Env", "User", "diff_ids", "Labels"]), _junk)


@given(
    st.fixed_dictionaries(
        {"os": st.just("linux") | _junk, "architecture": st.just("arm64") | _junk},
        optional={"config": _maps, "rootfs": _maps, "history": _junk | st.lists(_maps), "variant": _junk},
    ).map(_raw)
    | st.binary()
)
def test_any_bytes_are_a_config_or_an_integrity_error(raw: bytes) -> None:
    try:
        config = parse_config(raw)
    except IntegrityError:
        return
    assert config.raw is raw


def test_chain_ids() -> None:
    """config.md, "Layer ChainID": L0; H(L0 L1); H(H(L0 L1) L2)."""
    assert chain_ids(()) == ()
    second = digest_of(f"{A} {B}".encode())
    assert chain_ids((A, B, C)) == (A, second, digest_of(f"{second} {C}".encode()))


def test_there_is_one_diff_id_a_layer() -> None:
    config = parse_config(_raw({**LEAST, "rootfs": {"diff_ids": [A, B]}}))
    check_layer_count(config, 2, "here")
    with pytest.raises(IntegrityError, match="here: the manifest has 3 layers, the config 2 diff IDs"):
        check_layer_count(config, 3, "here")


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    """Nothing that is written, executed or looked for by what a config says meets one; Go reads it so, too."""
    half = "\ud800"
    run = {
        "Entrypoint": [half],
        "Env": [f"PATH={half}", "A=\U0001f433"],
        "WorkingDir": half,
        "Labels": {half: half},
        "ExposedPorts": {half: {}},
        "Volumes": {half: {}},
    }
    config = parse_config(json.dumps({"architecture": "amd64", "os": "linux", "config": run}).encode())
    assert (config.entrypoint, config.working_dir, config.labels) == (("\ufffd",), "\ufffd", {"\ufffd": "\ufffd"})
    assert config.env == ("PATH=\ufffd", "A=\U0001f433")
    assert (config.exposed_ports, config.volumes) == (("\ufffd",), ("\ufffd",))
    assert entrypoint_elf([], config) is None
