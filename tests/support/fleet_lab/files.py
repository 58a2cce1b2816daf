"""What lies on a device beside its lower folder's programs: its own settings, and whiteouts over what is not its."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from support.fleet_lab.kinds import BOARDS, LabEngine
from support.fleet_lab.spec import Folders, Spec

PLACES = {
    "docker": "var/lib/docker",
    "podman": "var/lib/containers",
    "containerd": "var/lib/containerd",
    "oci": "var/lib/polyarch",
}
"""Engine -> where it keeps images."""

# Of a machine's root, these are a device's, too; all other things there are the controller's own.
_KEPT = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "var")
_EMPTY = ("dev", "proc", "sys", "run", "tmp", "root", "home", "mnt", "srv")
_OWN = (
    *("etc/ssh", "etc/docker", "etc/containers", "etc/containerd", "etc/cni", "etc/profile.d"),
    *("var/tmp", "var/log", "var/cache", *PLACES.values()),
)
_PROGRAMS: dict[LabEngine, tuple[str, ...]] = {
    "docker": ("docker", "dockerd", "docker-proxy", "docker-init"),
    "podman": ("podman", "conmon", "crun"),
    "containerd": ("ctr",),
    "oci": ("skopeo", "umoci", "buildah", "nerdctl", "k3s", "polyarch"),
}
_BINARIES = ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")


def write_files(spec: Spec, folders: Folders) -> None:
    """Fills the upper folder. Takes root: whiteouts are devices, and that a folder hides another is trusted.* (Linux,
    Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories")."""
    lower, upper = Path(spec.lower), folders.upper
    for folder in (upper, folders.work, folders.root, folders.store):
        folder.mkdir(parents=True)
    for path in lower.iterdir():
        if path.name not in (*_KEPT, *_EMPTY):
            _whiteout(upper / path.name)
    for name in (*_EMPTY, *_OWN):
        (upper / name).mkdir(parents=True, exist_ok=True)
        os.setxattr(upper / name, "trusted.overlay.opaque", b"y")
    for name in ("tmp", "var/tmp"):
        (upper / name).chmod(0o1777)
    for engine, programs in _PROGRAMS.items():
        if engine != spec.kind.engine:
            for program in programs:
                _hide_program(program, lower, upper)
    _write_users(lower, upper, spec.login_key)
    _write_sshd(spec, upper)
    _write_engine(spec, upper)
    _put(upper / "var/log/lastlog", "")
    _put(upper / "etc/hostname", f"{spec.name}\n")
    _put(upper / "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {spec.name}\n")
    _put(upper / "etc/resolv.conf", "")
    if spec.kind.board:
        _put(upper / "etc/cpuinfo", BOARDS[spec.kind.board].cpuinfo())


def _whiteout(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, stat.S_IFCHR, 0)


def _hide_program(name: str, lower: Path, upper: Path) -> None:
    for folder in _BINARIES:
        if os.path.lexists(lower / folder / name):
            _whiteout(upper / folder / name)


def _put(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _write_users(lower: Path, upper: Path, login_key: str) -> None:
    """The users of the lower folder, without passwords; root may log in with the key."""
    users = (lower / "etc/passwd").read_text().splitlines()
    names = [line.split(":")[0] for line in users]
    if "sshd" not in names:  # openssh-server's maintainer script makes it
        users.append("sshd:x:105:65534::/run/sshd:/usr/sbin/nologin")
        names.append("sshd")
    _put(upper / "etc/passwd", "\n".join([*users, ""]))
    _put(upper / "etc/shadow", "".join(f"{name}:*:19000:0:99999:7:::\n" for name in names), 0o600)
    _put(upper / "root/.ssh/authorized_keys", f"{login_key}\n", 0o600)
    _put(upper / "root/.bashrc", "")  # what this machine's root has in it is not part of the tests
    for name in ("root", "root/.ssh"):
        (upper / name).chmod(0o700)


def _write_sshd(spec: Spec, upper: Path) -> None:
    _put(upper / "etc/ssh/ssh_host_ed25519_key", spec.host_key, 0o600)
    lines = [
        "HostKey /etc/ssh/ssh_host_ed25519_key",
        "PidFile none",
        "PermitRootLogin prohibit-password",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "UseDNS no",
        "PrintMotd no",
        "PrintLastLog no",
        "MaxStartups 100",
        "MaxSessions 50",
        f"AllowTcpForwarding {'yes' if spec.kind.forwards else 'no'}",
        "Subsystem sftp /usr/lib/openssh/sftp-server",
    ]
    if spec.variables:  # sessions have none of the daemon's own
        lines.append("SetEnv " + " ".join(f"{name}={value}" for name, value in spec.variables))
    _put(upper / "etc/ssh/sshd_config", "\n".join([*lines, ""]))


def _write_engine(spec: Spec, upper: Path) -> None:
    network = f"{spec.gateway}/32"
    if spec.kind.engine == "docker":
        off = ("iptables", "ip6tables", "ip-forward", "ip-masq", "userland-proxy")
        settings = {"bridge": "none", "insecure-registries": [network], **dict.fromkeys(off, False)}
        _put(upper / "etc/docker/daemon.json", json.dumps(settings))
    elif spec.kind.engine == "containerd":
        disabled = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
        _put(upper / "etc/containerd/config.toml", f"version = 2\ndisabled_plugins = {json.dumps(disabled)}\n")
    elif spec.kind.engine == "podman":
        _put(
            upper / "etc/containers/containers.conf",
            # The machine may not let limits be raised, nor have systemd.
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\nnetns = "host"\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n',
        )
        _put(
            upper / "etc/containers/storage.conf",
            '[storage]\ndriver = "overlay"\nrunroot = "/run/containers/storage"\n'
            'graphroot = "/var/lib/containers/storage"\n',
        )
        _put(upper / "etc/containers/policy.json", '{"default": [{"type": "insecureAcceptAnything"}]}')
        _put(upper / "etc/containers/registries.conf", 'unqualified-search-registries = ["docker.io"]\n')
