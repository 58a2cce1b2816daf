"""The controller's files: keys, what ssh and Ansible have to know of the devices."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from support.fleet_lab.spec import Spec


def make_key(path: Path) -> Path:
    """A new key pair in the file and its `.pub`."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    return path


def public(key: Path) -> str:
    """The public half: its kind and itself."""
    return " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])


def write_ssh_config(path: Path, login_key: Path, known_hosts: Path, specs: Iterable[Spec]) -> None:
    """A configuration that knows the devices by name and by address, and nothing of the user's own."""
    options = {
        "User": "root",
        "IdentityFile": login_key,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "10",
    }
    names = [f"Host {spec.name}\n  HostName {spec.address}\n" for spec in specs]
    every = "".join(f"  {name} {value}\n" for name, value in options.items())
    path.write_text("".join(names) + f"Host *\n{every}")


def write_known_hosts(path: Path, keys: Iterable[tuple[Spec, Path]]) -> None:
    """Each device's key; of one whose key changed, the earlier one."""
    path.write_text("".join(f"{spec.address} {public(key)}\n" for spec, key in keys))


def write_inventory(path: Path, ssh_config: Path, specs: Iterable[Spec]) -> None:
    """Ansible's inventory, with the groups `servers` and `boards`. It is JSON, which YAML contains."""
    groups: dict[str, dict[str, dict[str, str]]] = {"servers": {}, "boards": {}}
    for spec in specs:
        # What has no engine has to be told that a layout is wanted.
        variables = {"polyarch_engine": "oci"} if spec.kind.engine == "oci" else {}
        group = groups["boards" if spec.kind.board else "servers"]
        group[spec.name] = {"ansible_host": spec.address, **variables}
    inventory = {
        "all": {
            "vars": {"ansible_user": "root", "ansible_ssh_common_args": f"-F {ssh_config}"},
            "children": {name: {"hosts": hosts} for name, hosts in groups.items() if hosts},
        }
    }
    path.write_text(json.dumps(inventory, indent=2) + "\n")
