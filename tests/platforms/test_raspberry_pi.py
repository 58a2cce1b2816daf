"""Raspberry Pi's revision codes: the whole tables "… in use" and "Old-style revision codes" of its documentation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch_platforms.raspberry_pi import RaspberryPi, from_device_tree, from_revision, identify

NEW = """
900021 Model A Plus|1.1|512|BCM2835
900032 Model B Plus|1.2|512|BCM2835
a01040 2 Model B|1.0|1024|BCM2836
a01041 2 Model B|1.1|1024|BCM2836
a21041 2 Model B|1.1|1024|BCM2836
a02042 2 Model B|1.2|1024|BCM2837
a22042 2 Model B|1.2|1024|BCM2837
900061 Compute Module|1.1|512|BCM2835
a02082 3 Model B|1.2|1024|BCM2837
a22082 3 Model B|1.2|1024|BCM2837
a32082 3 Model B|1.2|1024|BCM2837
a52082 3 Model B|1.2|1024|BCM2837
a22083 3 Model B|1.3|1024|BCM2837
900092 Zero|1.2|512|BCM2835
920092 Zero|1.2|512|BCM2835
900093 Zero|1.3|512|BCM2835
920093 Zero|1.3|512|BCM2835
a020a0 Compute Module 3|1.0|1024|BCM2837
a220a0 Compute Module 3|1.0|1024|BCM2837
9000c1 Zero W|1.1|512|BCM2835
a020d3 3 Model B Plus|1.3|1024|BCM2837
a020d4 3 Model B Plus|1.4|1024|BCM2837
9020e0 3 Model A Plus|1.0|512|BCM2837
9020e1 3 Model A Plus|1.1|512|BCM2837
a02100 Compute Module 3 Plus|1.0|1024|BCM2837
a03111 4 Model B|1.1|1024|BCM2711
b03111 4 Model B|1.1|2048|BCM2711
c03111 4 Model B|1.1|4096|BCM2711
b03112 4 Model B|1.2|2048|BCM2711
c03112 4 Model B|1.2|4096|BCM2711
b03114 4 Model B|1.4|2048|BCM2711
c03114 4 Model B|1.4|4096|BCM2711
d03114 4 Model B|1.4|8192|BCM2711
b03115 4 Model B|1.5|2048|BCM2711
c03115 4 Model B|1.5|4096|BCM2711
d03115 4 Model B|1.5|8192|BCM2711
902120 Zero 2 W|1.0|512|BCM2837
c03130 400|1.0|4096|BCM2711
a03140 Compute Module 4|1.0|1024|BCM2711
b03140 Compute Module 4|1.0|2048|BCM2711
c03140 Compute Module 4|1.0|4096|BCM2711
d03140 Compute Module 4|1.0|8192|BCM2711
b04170 5 Model B|1.0|2048|BCM2712
c04170 5 Model B|1.0|4096|BCM2712
d04170 5 Model B|1.0|8192|BCM2712
a04171 5 Model B|1.1|1024|BCM2712
b04171 5 Model B|1.1|2048|BCM2712
c04171 5 Model B|1.1|4096|BCM2712
d04171 5 Model B|1.1|8192|BCM2712
e04171 5 Model B|1.1|16384|BCM2712
b04180 Compute Module 5|1.0|2048|BCM2712
c04180 Compute Module 5|1.0|4096|BCM2712
d04180 Compute Module 5|1.0|8192|BCM2712
e04180 Compute Module 5|1.0|16384|BCM2712
d04190 500|1.0|8192|BCM2712
e04190 500|1.0|16384|BCM2712
b041a0 Compute Module 5 Lite|1.0|2048|BCM2712
c041a0 Compute Module 5 Lite|1.0|4096|BCM2712
d041a0 Compute Module 5 Lite|1.0|8192|BCM2712
e041a0 Compute Module 5 Lite|1.0|16384|BCM2712
0002 Model B|1.0|256|BCM2835
0003 Model B|1.0|256|BCM2835
0004 Model B|2.0|256|BCM2835
0005 Model B|2.0|256|BCM2835
0006 Model B|2.0|256|BCM2835
0007 Model A|2.0|256|BCM2835
0008 Model A|2.0|256|BCM2835
0009 Model A|2.0|256|BCM2835
000d Model B|2.0|512|BCM2835
000e Model B|2.0|512|BCM2835
000f Model B|2.0|512|BCM2835
0010 Model B Plus|1.2|512|BCM2835
0011 Compute Module|1.0|512|BCM2835
0012 Model A Plus|1.1|256|BCM2835
0013 Model B Plus|1.2|512|BCM2835
0014 Compute Module|1.0|512|BCM2835
0015 Model A Plus|1.1|0|BCM2835
"""
ROWS = [line.split(" ", 1) for line in NEW.strip().splitlines()]
CORES = {"BCM2835": "v6", "BCM2836": "v7", "BCM2837": "v8", "BCM2711": "v8", "BCM2712": "v8.2"}


@pytest.mark.parametrize(("code", "row"), ROWS)
def test_a_revision_code_in_use(code: str, row: str) -> None:
    model, revision, memory, soc = row.split("|")
    board = from_revision(code)
    assert board == RaspberryPi(f"Raspberry Pi {model}", revision, soc, int(memory))
    assert board.cpu is not None
    assert board.cpu.version == CORES[soc]


@pytest.mark.parametrize(
    ("code", "model"),
    [
        # Bits above the code: warranty void (old style: bit 24; new style: bit 25), overvoltage and OTP (29 to 31).
        ("1000002", "Raspberry Pi Model B"),
        ("2a02082", "Raspberry Pi 3 Model B"),
        ("00a02082", "Raspberry Pi 3 Model B"),
        ("e0b03111", "Raspberry Pi 4 Model B"),
        ("0xc03111", "Raspberry Pi 4 Model B"),
        (" C03111\n", "Raspberry Pi 4 Model B"),
        # Of a model that came later: the chip is told all the same.
        ("c04ff0", ""),
    ],
)
def test_a_code_written_otherwise(code: str, model: str) -> None:
    board = from_revision(code)
    assert board is not None
    assert board.model == model
    assert board.soc


@pytest.mark.parametrize("code", ["", "0", "0000", "0001", "0016", "ffff", "xyz", "a0208g", "1" * 9, "-1", "٣"])
def test_what_is_no_code(code: str) -> None:
    assert from_revision(code) is None


@given(st.text(max_size=12) | st.integers(0, 2**32 - 1).map("{:x}".format))
def test_no_text_breaks_it(code: str) -> None:
    board = from_revision(code)
    assert board is None or board.cpu is None or board.cpu.version in CORES.values()


@pytest.mark.parametrize(
    ("model", "compatible", "board"),
    [
        (
            "Raspberry Pi 3 Model B Rev 1.2",
            ("raspberrypi,3-model-b", "brcm,bcm2837"),
            RaspberryPi("Raspberry Pi 3 Model B", "1.2", "BCM2837"),
        ),
        ("Raspberry Pi Zero W", ("raspberrypi,model-zero-w",), RaspberryPi("Raspberry Pi Zero W", "", "BCM2835")),
        # The documentation's word for the CM4S, and the one in Raspberry Pi's kernel (bcm2711-rpi-cm4s.dts).
        ("", ("raspberrypi,4s-compute-module",), RaspberryPi("", "", "BCM2711")),
        ("", ("raspberrypi,4-compute-module-s",), RaspberryPi("", "", "BCM2711")),
        # The chip in the tree counts more than what the model usually has.
        (
            "Raspberry Pi 2 Model B Rev 1.2",
            ("raspberrypi,2-model-b-rev2", "raspberrypi,2-model-b", "brcm,bcm2837"),
            RaspberryPi("Raspberry Pi 2 Model B", "1.2", "BCM2837"),
        ),
        ("Raspberry Pi 9", (), RaspberryPi("Raspberry Pi 9")),
        ("Radxa ROCK 5 Model B", ("radxa,rock-5b", "rockchip,rk3588"), None),
        ("linux,dummy-virt", ("linux,dummy-virt",), None),
        ("", (), None),
    ],
)
def test_the_device_tree(model: str, compatible: tuple[str, ...], board: RaspberryPi | None) -> None:
    assert from_device_tree(model, compatible) == board


PI_2 = ("raspberrypi,2-model-b", "brcm,bcm2836")


@pytest.mark.parametrize(
    ("code", "hardware", "model", "compatible", "board"),
    [
        ("a02042", "BCM2835", "Raspberry Pi 2 Model B Rev 1.2", PI_2, ("Raspberry Pi 2 Model B", "BCM2837")),
        ("0000", "BCM2835", "Raspberry Pi 2 Model B", PI_2, ("Raspberry Pi 2 Model B", "BCM2836")),
        ("a01041", "BCM2835", "", (), ("Raspberry Pi 2 Model B", "BCM2836")),
        ("000e", "BCM2708", "", (), ("Raspberry Pi Model B", "BCM2835")),
        # Other boards have revisions, too.
        ("0010", "Allwinner sun8i Family", "", (), None),
        ("0010", "", "Xunlong Orange Pi PC", ("xunlong,orangepi-pc", "allwinner,sun8i-h3"), None),
        ("", "", "", (), None),
    ],
)
def test_the_board_by_all_that_is_known(
    code: str, hardware: str, model: str, compatible: tuple[str, ...], board: tuple[str, str] | None
) -> None:
    found = identify(code, hardware, model, compatible)
    assert (found and (found.model, found.soc)) == board
