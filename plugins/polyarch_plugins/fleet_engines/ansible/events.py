"""What `ansible-playbook` prints as it goes, by its default callback with JSON results. Pure.

A line an event: ` [started TASK: NAME on HOST]`, `changed: [HOST] => {…}`, `fatal: [HOST]: FAILED! => {…}`,
`fatal: [HOST]: UNREACHABLE! => {…}`, `skipping: [HOST] => {…}`. JSON holds no line break, so that nothing a device
writes can look like a line (ansible-core 2.16 to 2.19: plugins/callback/default.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

TASK = "polyarch"
"""The name of the task."""

Kind: TypeAlias = Literal["started", "ended", "failed", "unreachable", "skipped"]

_STARTED = re.compile(rf" \[started TASK: {TASK} on (.+)\]")
_RESULT = re.compile(r"(ok|changed|skipping|fatal): \[(.+?)\](?:: (FAILED|UNREACHABLE)!)?(?: => (\{.*\}))?", re.DOTALL)
_KINDS: Mapping[str, Kind] = {"FAILED": "failed", "UNREACHABLE": "unreachable"}

ENVIRON: Mapping[str, str] = {
    "ANSIBLE_STDOUT_CALLBACK": "default",
    "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
    "ANSIBLE_CALLBACK_FORMAT_PRETTY": "false",
    "ANSIBLE_SHOW_PER_HOST_START": "true",
    "ANSIBLE_DISPLAY_OK_HOSTS": "true",
    "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true",
    "ANSIBLE_DISPLAY_FAILED_STDERR": "false",
    "ANSIBLE_VERBOSITY": "1",
    "ANSIBLE_FORCE_COLOR": "false",
    "ANSIBLE_NOCOWS": "1",
}
"""What makes Ansible print so, whatever the user's ansible.cfg says."""


@dataclass(frozen=True, slots=True)
class AnsibleEvent:
    """What Ansible says of a host; `result` is what it says of the task there."""

    kind: Kind
    host: str
    result: Mapping[str, object] = field(default_factory=dict, repr=False)

    def text(self, key: str) -> str:
        """The text under `key`; "" where there is none."""
        value = self.result.get(key)
        return value if isinstance(value, str) else ""

    @property
    def code(self) -> int | None:
        """The exit code of the script, where it ended."""
        code = self.result.get("rc")
        return code if isinstance(code, int) else None

    @property
    def timed_out(self) -> bool:
        """The task's time limit ended it."""
        return "timedout" in self.result or "execute in the expected time frame" in self.text("msg")


def parse_line(line: bytes) -> AnsibleEvent | None:
    """The event that a line tells; None for all other lines."""
    text = line.decode("utf-8", "surrogateescape").rstrip("\n")
    started = _STARTED.fullmatch(text)
    if started:
        return AnsibleEvent("started", started[1])
    told = _RESULT.fullmatch(text)
    if not told:
        return None
    word, host, fault, body = told.groups()
    kind: Kind = "skipped" if word == "skipping" else _KINDS.get(fault or "", "failed" if word == "fatal" else "ended")
    return AnsibleEvent(kind, host, _json(body))


def _json(body: str | None) -> Mapping[str, object]:
    if body is None:
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
