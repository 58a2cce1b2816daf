"""The playbook, and the inventory with what it needs of each device. Pure.

Ansible fills in templates wherever two braces stand, so that scripts and values go through it in Base64.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from polyarch_plugins.fleet_engines.ansible.events import TASK
from polyarch_plugins.fleet_engines.shell import assignments, quoted

_SSH = "['ssh', 'smart', 'ansible.builtin.ssh', 'ansible.legacy.ssh']"
_LOCAL = "['local', 'ansible.builtin.local', 'ansible.legacy.local']"
_CONNECTION = "{{ ansible_connection | default(lookup('config', 'DEFAULT_TRANSPORT'), true) }}"
_MAY = 255
"""What ssh ends with by itself: a script that does so, too, says it besides."""


@dataclass(frozen=True, slots=True)
class PlayDevice:
    """A device of the play: its number there, the script's variables, the ports to try, and the ssh to call."""

    name: str
    number: int
    values: Mapping[str, str]
    ports: tuple[int, ...]
    ssh: Path


@dataclass(frozen=True, slots=True)
class Play:
    """What runs on all devices. `token` names this run, in lower-case letters and digits; its files are in `folder`.

    `reach` is the port to be reached, None for none; with `needs_way` a device that cannot do that, or (`input`) cannot
    be sent bytes, is left out.
    """

    script: str
    token: str
    folder: Path
    timeout: float
    reach: int | None = None
    needs_way: bool = True
    input: bool = False

    @property
    def gate(self) -> Path:
        """A file in here, called by its number, keeps a device from beginning."""
        return self.folder / "gate"

    @property
    def group(self) -> str:
        """The group of the devices."""
        return f"polyarch_{self.token}"

    def fifo(self, number: int) -> Path:
        """Where a device's input comes from."""
        return self.folder / "in" / str(number)

    def log(self, number: int) -> Path:
        """What ssh says of a device."""
        return self.folder / "log" / str(number)

    def mark(self, number: int) -> str:
        """What stands in the command line of all that is started for a device."""
        return f"@{self.token}:{number}:"

    @property
    def ended_with_255(self) -> str:
        """What a script that ends like ssh leaves at the end of its errors."""
        return f"polyarch-{self.token}-{_MAY}\n"

    def playbook(self) -> str:
        """The text of the playbook."""
        by_ssh = f"polyarch_connection in {_SSH}"
        by_hand = f"polyarch_connection in {_LOCAL}"
        variable, port = ("port=", "") if self.reach else (": ", "")
        if self.reach:
            port = f"port=\" ~ ({self.reach} if {by_hand} else polyarch_ports.split(',')[0]) ~ \";"
        fifo = f' ~ " <{self.folder}/in/" ~ polyarch_number' if self.input else ""
        command = (
            "{{ 'exec /bin/sh -c ' ~ ("
            f"\"'{variable}@{self.token}:\" ~ polyarch_number ~ ':' ~ polyarch_ports ~ \"@;'\""
            " ~ (polyarch_values | b64decode) ~ (polyarch_over_ssh | b64decode)"
            f" if {by_ssh} else "
            f'"\': @{self.token}:" ~ polyarch_number ~ ":@;{port}\'"'
            f" ~ (polyarch_values | b64decode) ~ (polyarch_otherwise | b64decode){fifo}"
            ") }}"
        )
        play = {
            "name": "polyarch",
            "hosts": self.group,
            "gather_facts": False,
            "any_errors_fatal": False,
            "strategy": "linear",
            "vars": {
                "ansible_ssh_executable": "{{ polyarch_ssh }}",
                "ansible_ssh_use_tty": False,
                "ansible_ssh_retries": 0,
                "polyarch_connection": _CONNECTION,
                "polyarch_over_ssh": _hidden(quoted(self._body(watch=not self.input))),
                "polyarch_otherwise": _hidden(quoted(self._body(watch=False))),
            },
            "tasks": [
                {
                    "name": TASK,
                    "ansible.builtin.raw": command,
                    "when": [
                        f"not (('{self.gate}/' ~ polyarch_number) is exists)",
                        f"{by_ssh} or {by_hand}" if self.needs_way else "true",
                    ],
                    "timeout": max(1, math.ceil(self.timeout)),
                    "tags": ["always"],
                }
            ],
        }
        return json.dumps([play])

    def inventory(self, devices: Iterable[PlayDevice]) -> str:
        """The text of an inventory that adds to the user's what the playbook wants to know of each device."""
        hosts = {
            device.name: {
                "polyarch_number": device.number,
                "polyarch_ports": ",".join(map(str, device.ports)),
                "polyarch_values": _hidden(quoted(assignments(device.values))),
                "polyarch_ssh": str(device.ssh),
            }
            for device in devices
        }
        return json.dumps({self.group: {"hosts": hosts}})

    def _body(self, watch: bool) -> str:
        """The script, and what is around it on the device.

        With `watch` its standard input is empty, and the one of the connection is watched: where it ends, nobody
        waits for the script any more. The process group that sshd made for it is asked to end, and killed when the
        script has ended: it may have to put things in order.
        """
        script = f"(\n{self.script}\n)"
        if watch:
            script = f"exec 3<&0 </dev/null\n{script} 3<&- &\n{_WATCH}"
        elif not self.input:
            script += " </dev/null\npolyarch_code=$?\n"
        else:
            script += "\npolyarch_code=$?\n"
        told = f"[ $polyarch_code != {_MAY} ] || echo {self.ended_with_255.strip()} >&2\n"
        stop = "exec 2>/dev/null\nkill -KILL $polyarch_watch\n" if watch else ""
        return f"{script}{told}{stop}exit $polyarch_code\n"


_WATCH = """\
polyarch_script=$!
(
    trap '' TERM
    while read -r polyarch_line; do :; done
    kill -TERM 0
    polyarch_count=0
    while kill -0 $polyarch_script && [ $polyarch_count -lt 180 ]; do
        sleep 1
        polyarch_count=$((polyarch_count + 1))
    done
    kill -KILL 0
) <&3 3<&- >/dev/null 2>&1 &
polyarch_watch=$!
exec 3<&-
wait $polyarch_script
polyarch_code=$?
"""


def _hidden(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode("ascii")
