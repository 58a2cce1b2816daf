"""The script that asks a device of a fleet what it is, which engines it has and what they have at hand."""

from __future__ import annotations

import re
from pathlib import Path

from polyarch_platforms.probe import probe_script

VERSION = 1
_NONCE = re.compile(r"[0-9a-f]{16,64}")


def device_script(nonce: str) -> str:
    """A POSIX sh script for the device; `polyarch.fleet.facts.parse_answer` reads what it prints.

    `nonce` (16 to 64 lower-case hexadecimal digits, another each time) stands in the first and the last line of the
    answer, so that one that was cut, or is not of this asking, is known. The script holds no text that Ansible takes
    for a template. Raises ValueError for another nonce.
    """
    if not _NONCE.fullmatch(nonce):
        raise ValueError("a nonce is 16 to 64 lower-case hexadecimal digits")
    return "\n".join((first_line(nonce, quoted=True), probe_script(), _text(), last_line(nonce, quoted=True), ""))


def first_line(nonce: str, *, quoted: bool = False) -> str:
    """The first line of an answer; `quoted` is the command that prints it."""
    return _line(f"polyarch-device {VERSION} {nonce}", quoted)


def last_line(nonce: str, *, quoted: bool = False) -> str:
    """The last line of an answer that is whole."""
    return _line(f"polyarch-device-end {nonce}", quoted)


def _line(text: str, quoted: bool) -> str:
    return f"echo '{text}'" if quoted else text


def _text() -> str:
    return Path(__file__).with_name("device.sh").read_text("utf-8")
