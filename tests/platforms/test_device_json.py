"""A device as JSON: what is written reads back, and nothing hostile comes through."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch_platforms.device import MAX_TEXT, Board, CpuInfo, Device, Emulation, from_json
from polyarch_platforms.errors import DeviceError
from polyarch_platforms.platform import parse

DEVICE = Device(
    name="kitchen",
    platform=parse("arm64"),
    native=(parse("arm64/v8.2"), parse("arm64"), parse("arm/v7")),
    emulated=(Emulation(parse("amd64"), "/usr/bin/qemu-x86_64-static", "registered"),),
    machine="aarch64",
    kernel="6.6.31+rpt-rpi-v8",
    userland_bits=64,
    page_size=4096,
    cpu=CpuInfo("ARM", "Cortex-A76", ("fp", "asimd"), "v8.2"),
    board=Board("Raspberry Pi 5 Model B Rev 1.0", "c04170", "BCM2712"),
    compat32=True,
    libc="glibc",
    inside=("docker",),
)


def test_what_is_written_reads_back() -> None:
    text = DEVICE.to_json()
    assert "\n" not in text
    assert from_json(text) == DEVICE
    bare = replace(DEVICE, board=None, emulated=(), userland_bits=None, page_size=None, compat32=None, inside=())
    assert from_json(bare.to_json()) == bare


def test_the_keys_are_those_that_scripts_rely_on() -> None:
    document = json.loads(DEVICE.to_json())
    assert {"platform", "native", "emulated", "machine", "kernel", "userland_bits", "page_size", "cpu", "board"} <= set(
        document
    )
    assert document["native"] == ["linux/arm64/v8.2", "linux/arm64", "linux/arm/v7"]
    assert document["emulated"] == [
        {"platform": "linux/amd64", "emulator": "/usr/bin/qemu-x86_64-static", "how": "registered"}
    ]
    assert set(document["cpu"]) == {"vendor", "model", "features", "level"}
    assert set(document["board"]) == {"model", "revision", "soc"}


def test_the_least_that_is_a_device_and_keys_of_later_versions() -> None:
    device = from_json('{"platform": "arm/v6", "native": ["armel", "arm/v5"], "later": [{}]}')
    assert [str(one) for one in device.native] == ["linux/arm/v6", "linux/arm/v5"]
    assert device.board is None
    assert device.emulated == ()


def _without(key: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DEVICE.to_json())
    del document[key]
    return document


def _with(key: str, value: object) -> dict[str, Any]:
    return {**_without(key), key: value}


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (_without("platform"), "'platform'"),
        (_without("native"), "'native'"),
        (_with("native", []), "'native'"),
        (_with("native", "linux/arm64"), "'native'"),
        (_with("native", ["linux"]), "'native'"),
        (_with("native", [7]), "'native'"),
        (_with("native", ["arm64"] * 8193), "'native'"),
        (_with("platform", "linux//"), "'platform'"),
        (_with("emulated", {}), "'emulated'"),
        (_with("emulated", ["x"]), "'emulated'"),
        (_with("emulated", [{"platform": "s390x", "emulator": "/q", "how": "magic"}]), "'how'"),
        (_with("emulated", [{"emulator": "/q", "how": "private"}]), "'emulated'"),
        (_with("machine", 7), "'machine'"),
        (_with("machine", "a\nb"), "'machine'"),
        (_with("name", "\x1b[2J"), "'name'"),
        (_with("name", "\ud800"), "'name'"),
        (_with("kernel", "x" * 16_385), "'kernel'"),
        (_with("page_size", -4096), "'page_size'"),
        (_with("page_size", 4096.5), "'page_size'"),
        (_with("page_size", True), "'page_size'"),
        (_with("userland_bits", 10**30), "'userland_bits'"),
        (_with("cpu", []), "'cpu'"),
        (_with("cpu", {"features": "fp"}), "'features'"),
        (_with("board", "pi"), "'board'"),
        (_with("compat32", "yes"), "'compat32'"),
        (_with("inside", [None]), "'inside'"),
        ([], "JSON object"),
        (None, "JSON object"),
    ],
)
def test_a_broken_device_says_where(document: object, says: str) -> None:
    with pytest.raises(DeviceError) as caught:
        from_json(json.dumps(document))
    assert says in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "text",
    ["", "{", "nonsense", "[" * 100_000, '{"a":' * 50_000, "1" * 10_000, "\0", " " * (MAX_TEXT + 1), '"\ud800"'],
)
def test_a_text_that_is_no_device(text: str) -> None:
    with pytest.raises(DeviceError) as caught:
        from_json(text)
    assert "\n" not in caught.value.message


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just("linux/arm64"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(json.loads(DEVICE.to_json()))), _JSON, max_size=6), st.booleans())
def test_any_document_is_a_device_or_a_device_error(changes: dict[str, object], whole: bool) -> None:
    document = {**json.loads(DEVICE.to_json()), **changes} if whole else changes
    try:
        device = from_json(json.dumps(document))
    except DeviceError:
        return
    assert from_json(device.to_json()) == device


@given(st.text(max_size=60))
def test_any_text_is_a_device_error(text: str) -> None:
    with pytest.raises(DeviceError):
        from_json(text)
