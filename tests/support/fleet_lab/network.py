"""The lab's network: a namespace with a bridge, tied to this machine by one pair of links.

This machine's end has an address in a /24 of 198.18.0.0/15, which is kept for tests of networks (RFC 2544), so that it
reaches the devices directly. Both ends vanish with the namespace.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from support.fleet_lab.spec import PREFIX

_BRIDGE = "lan"
_UP = "uplink"
_COUNT = 512


class NetworkError(Exception):
    """The network cannot be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Network:
    """One of the networks that labs may have; `link` is the name of this machine's end, and claims it."""

    number: int

    @property
    def link(self) -> str:
        """15 bytes at most (Linux, IFNAMSIZ)."""
        return f"polylab{self.number}"

    def address(self, host: int) -> str:
        """That of a host, from 1 on: 1 is this machine."""
        return f"198.{18 + self.number // 256}.{self.number % 256}.{host}"

    @property
    def gateway(self) -> str:
        """This machine's address."""
        return self.address(1)


def claim(outside: int) -> Network:
    """Called in the new network namespace: makes its bridge and the pair of links to that of the process `outside`.

    Raises NetworkError.
    """
    _ip("link set lo up", f"link add {_BRIDGE} type bridge", f"link set {_BRIDGE} up")
    into = _inside(outside)
    for number in range(_COUNT):
        network = Network(number)
        taken = subprocess.run(
            [*into, "ip", "-4", "route", "show", "root", f"{network.address(0)}/{PREFIX}"],
            capture_output=True,
            text=True,
        )
        if taken.returncode != 0:
            raise NetworkError(f"ip route: {taken.stderr.strip()}")
        if taken.stdout.strip():
            continue
        try:
            _ip(f"link add {_UP} type veth peer name {network.link} netns {outside}")
        except NetworkError as error:
            if "File exists" in str(error):  # another lab was faster
                continue
            raise
        _ip(f"link set {_UP} master {_BRIDGE} up")
        _ip(
            f"addr add {network.gateway}/{PREFIX} dev {network.link}",
            f"link set {network.link} up",
            prefix=into,
        )
        return network
    raise NetworkError(f"all {_COUNT} networks are in use")


def release() -> None:
    """Called there: takes both ends away at once, instead of some time after the namespace."""
    _ip(f"link del {_UP}")


def attach(number: int, pid: int, address: str, gateway: str) -> None:
    """Called there: gives the network namespace of a process a link on the bridge, with an address.

    Its hardware's address is the same each time, so that what this machine remembers of it is right after a reboot.
    """
    link, hardware = _link(number), f"02:00:00:00:00:{number:02x}"
    _ip(
        f"link add {link} type veth peer name eth0 address {hardware} netns {pid}",
        f"link set {link} master {_BRIDGE} up",
    )
    _ip(
        "link set lo up",
        f"addr add {address}/{PREFIX} dev eth0",
        "link set eth0 up",
        f"route add default via {gateway}",
        prefix=_inside(pid),
    )


def detach(number: int, address: str, outside: int) -> None:
    """Called there: takes that link away at once, instead of some time after the process.

    The network of `outside` forgets who had the address, else it would wait for that one's answers. Raises
    NetworkError.
    """
    _ip(f"link del {_link(number)}")
    _ip(f"neigh flush to {address}", prefix=_inside(outside))


def _link(number: int) -> str:
    return f"d{number}"


def _inside(pid: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{pid}/ns/net"]


def _ip(*commands: str, prefix: Sequence[str] = ()) -> None:
    done = subprocess.run(
        [*prefix, "ip", "-batch", "-"], input="\n".join([*commands, ""]), capture_output=True, text=True
    )
    if done.returncode != 0:
        raise NetworkError(f"ip {'; '.join(commands)}: {' '.join(done.stderr.split())}")
