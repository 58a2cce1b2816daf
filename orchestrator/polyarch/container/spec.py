"""The OCI runtime spec of a container (runtime-spec 1.0.2, config.md): as tight as docker's, on the host's network.

Sources of the values: moby, oci/defaults.go (mounts, masked and read-only paths, devices) and oci/caps/defaults.go.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

from polyarch.container.failures import ProgramNotFound
from polyarch.container.request import RunRequest, Volume
from polyarch.container.users import User
from polyarch.container.walls import Walls
from polyarch.errors import UsageError
from polyarch.files import disk_error
from polyarch.oci.config import ImageConfig
from polyarch.unpack.entrypoint import DEFAULT_PATH
from polyarch_platforms.lazy_dataclass import dataclass

CAPABILITIES = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID"),
    *("CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL"),
    "CAP_AUDIT_WRITE",
)
MASKED_PATHS = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware"),
    "/sys/devices/virtual/powercap",
)
EMULATOR = "/dev/.polyarch/qemu"
"""Where a container sees the emulator that each program is started with; nothing in /dev is kept."""
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

# Character devices that every container may use; the runtime makes their nodes (moby, oci/devices_linux.go).
_DEVICES = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None))

# What most systems start programs with (systemd since 240); programs that need more raise it up to the hard limit.
_SOFT_OPEN_FILES = 1024


@dataclass(frozen=True, slots=True)
class Host:
    """What the host gives to a container.

    `user_namespace`: it runs in one. `recursive`: the kernel makes mounts read-only with all that is in them (Linux
    5.12). `cgroup` is its path in the cgroup file systems, "" for none, `unified` that these are of version 2 alone;
    `walls` are what was chosen before. `files` are those of the host's network: path inside -> file. `open_files` is
    the hard limit of open files, `terminal` the size of the user's terminal in rows and columns, where there is one.
    `started` is a hook to run once the program does, `emulator` a program to be seen at `EMULATOR`.
    """

    hostname: str
    files: Mapping[str, Path]
    user_namespace: bool = False
    recursive: bool = True
    cgroup: str = ""
    unified: bool = False
    walls: Walls = field(default_factory=Walls)
    open_files: int = 1024
    terminal: tuple[int, int] | None = None
    started: Mapping[str, object] | None = None
    emulator: Path | None = None


def argv_of(request: RunRequest, config: ImageConfig) -> tuple[str, ...]:
    """The words to start: the user's in place of the image's. Raises UsageError if there are none,
    ProgramNotFound if the first is empty."""
    if request.entrypoint is None:
        argv = config.entrypoint + (request.argv or config.cmd)
    else:
        argv = ((request.entrypoint,) if request.entrypoint else ()) + request.argv
    if argv and not argv[0] and (request.argv or request.entrypoint):
        raise ProgramNotFound("'' is not there")
    if not argv or not argv[0]:
        raise UsageError("the image starts nothing by itself", "name a program behind the image")
    return argv


def environment_of(
    config: ImageConfig, given: Mapping[str, str], user: User, hostname: str, *, tty: bool
) -> dict[str, str]:
    """The program's variables: the defaults, the image's, then the user's."""
    variables = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, "HOME": user.home}
    if tty:
        variables["TERM"] = "xterm"
    for line in config.env:
        name, equals, value = line.partition("=")
        if name and equals:
            variables[name] = value
    return {**variables, **given}


def working_directory(request: RunRequest, config: ImageConfig) -> str:
    """Where the program starts; the runtime makes it if it is missing."""
    return posixpath.normpath("/" + (request.workdir or config.working_dir)).replace("//", "/")


def runtime_spec(
    request: RunRequest,
    args: Sequence[str],
    config: ImageConfig,
    user: User,
    environment: Mapping[str, str],
    volumes: Sequence[Volume],
    rootfs: Path,
    host: Host,
) -> dict[str, object]:
    """config.json for a container whose root file system is mounted at `rootfs`; `args` are the words to start."""
    bound = bool(host.cgroup) and not host.user_namespace
    capabilities = capabilities_for(request, host)
    # As docker: with version 2 a container sees its own control group as the only one.
    own = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", *(["cgroup"] if host.unified else []))]
    linux: dict[str, object] = {
        "namespaces": own + ([{"type": "network"}] if request.network == "none" else []),
        "maskedPaths": list(MASKED_PATHS),
        "readonlyPaths": list(READ_ONLY_PATHS),
    }
    if (seccomp := host.walls.filter(capabilities)) is not None:
        linux["seccomp"] = seccomp
    if host.cgroup:
        limits = host.walls.limits.resources() if host.walls.limits else {}
        linux["cgroupsPath"] = host.cgroup
        linux["resources"] = {**({"devices": _device_rules()} if bound else {}), **limits}
    size = console_size(host.terminal) if host.terminal and request.tty else None
    return {
        "ociVersion": "1.0.2",
        "hostname": host.hostname,
        "root": {"path": str(rootfs), "readonly": request.read_only},
        "process": {
            "terminal": request.tty,
            **({"consoleSize": size} if size else {}),
            "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
            "args": list(args),
            "env": [f"{name}={value}" for name, value in environment.items()],
            "cwd": working_directory(request, config),
            "noNewPrivileges": not host.walls.new_privileges,
            "capabilities": capabilities_of(capabilities, user),
            "rlimits": [
                {
                    "type": "RLIMIT_NOFILE",
                    "soft": min(_SOFT_OPEN_FILES, host.open_files),
                    "hard": host.open_files,
                }
            ],
        },
        "mounts": [
            *_system_mounts(host),
            *_file_mounts(host.files),
            *([_mount(EMULATOR, "bind", str(host.emulator), "bind", "ro", "nosuid", "nodev")] if host.emulator else []),
            *(_volume_mount(volume, host) for volume in volumes),
        ],
        "linux": linux,
        **({"hooks": {"poststart": [host.started]}} if host.started else {}),
    }


def capabilities_for(request: RunRequest, host: Host) -> Sequence[str]:
    """The default ones, and what the user adds and drops. Raises HostError: one that cannot be given.

    Where no control group keeps devices shut, CAP_MKNOD would open every disk; a user namespace makes it worth nothing.
    """
    bound = bool(host.cgroup) and not host.user_namespace
    default = [name for name in CAPABILITIES if bound or name != "CAP_MKNOD"]
    if not (request.cap_add or request.cap_drop):
        return default
    from polyarch.container.security import KNOWN_CAPABILITIES, chosen_capabilities, own_capabilities

    had = set(KNOWN_CAPABILITIES) if host.user_namespace else set(own_capabilities())
    if not bound and not host.user_namespace:
        had.discard("CAP_MKNOD")
    return chosen_capabilities(default, request.cap_add, request.cap_drop, had)


def console_size(terminal: tuple[int, int]) -> dict[str, int]:
    """`consoleSize` of the spec for rows and columns."""
    return dict(zip(("height", "width"), terminal, strict=True))


def write_spec(path: Path, spec: Mapping[str, object]) -> None:
    """The spec, or the process of one, as the file that the runtime reads. Raises StorageError."""
    try:
        path.write_bytes(json.dumps(spec).encode())
    except OSError as error:
        raise disk_error(error, f"cannot write {path}") from error


def capabilities_of(names: Sequence[str], user: User) -> dict[str, list[str]]:
    """As docker: root has them, others could get them only by setuid programs or file capabilities."""
    held = list(names) if user.uid == 0 else []
    return {"bounding": list(names), "effective": held, "permitted": held, "inheritable": [], "ambient": []}


def _device_rules() -> list[dict[str, object]]:
    """Without a rule CAP_MKNOD would give access to every disk: nothing is allowed but what is listed.

    Making a node is allowed, as in docker: a node of another device cannot be opened.
    """
    rules: list[dict[str, object]] = [{"allow": False, "access": "rwm"}]
    rules += [{"allow": True, "type": kind, "access": "m"} for kind in ("c", "b")]
    for major, minor in _DEVICES:
        rule: dict[str, object] = {"allow": True, "type": "c", "major": major, "access": "rwm"}
        rules.append(rule if minor is None else {**rule, "minor": minor})
    return rules


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, object]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _system_mounts(host: Host) -> list[dict[str, object]]:
    sealed = ("nosuid", "noexec", "nodev")
    tty = () if host.user_namespace else ("gid=5",)  # which a user namespace may not know
    mounts = [
        _mount("/proc", "proc", "proc", *sealed),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *tty),
        _mount("/dev/shm", "tmpfs", "shm", *sealed, "mode=1777", "size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", *sealed),
    ]
    if host.user_namespace:
        # A user namespace may mount no sysfs on the host's network. In the file systems mounted below /sys files belong
        # to the host's root, who may be root here, and to this user (control groups): each has to be read-only ("rro").
        mounts.append(_mount("/sys", "none", "/sys", "rbind", *sealed, *_read_only(host)))
    else:
        mounts.append(_mount("/sys", "sysfs", "sysfs", *sealed, "ro"))
    if host.unified or (host.cgroup and not host.user_namespace):
        mounts.append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", *sealed, "ro", "relatime"))
    return mounts


def _file_mounts(files: Mapping[str, Path]) -> list[dict[str, object]]:
    return [_mount(target, "bind", str(source), "bind", "rprivate", "rw") for target, source in files.items()]


def _volume_mount(volume: Volume, host: Host) -> dict[str, object]:
    # crun 1.8 takes the option for directories alone, as only these can have mounts in them.
    read_only = _read_only(host) if volume.source.is_dir() else ["ro"]
    access = read_only if volume.read_only else ["rw"]
    return _mount(volume.target, "bind", str(volume.source), "rbind", "rprivate", *access)


def _read_only(host: Host) -> list[str]:
    """The options for a tree of mounts (runtime-spec, config.md, "Linux mount options"). A runtime that does not know
    the second one takes it for the file system's own, which counts for nothing here."""
    return ["ro", "rro"] if host.recursive else ["ro"]
