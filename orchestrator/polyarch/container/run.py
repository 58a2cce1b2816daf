"""Running an image's program in the foreground."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from polyarch.container import syscalls
from polyarch.container.cgroups import cgroup_of, hide_second_version
from polyarch.container.console import Console, terminal_size
from polyarch.container.emulation import Emulators, arrange, exit_code, register_privately
from polyarch.container.etc_files import write_etc_files
from polyarch.container.id_maps import as_root, same_ids_in_parts
from polyarch.container.launch import Launch
from polyarch.container.overlay import mount_overlay
from polyarch.container.programs import check_program
from polyarch.container.request import RunRequest, Volume, parse_environment, parse_volume
from polyarch.container.runtime import Runtime, complaint, find_runtime
from polyarch.container.snapshots import Rights, Snapshots, may_use_trusted
from polyarch.container.spec import Host, argv_of, environment_of, runtime_spec, working_directory, write_spec
from polyarch.container.state import Container, Containers, new_record
from polyarch.container.users import resolve_user
from polyarch.contract.others import EmulatorSource
from polyarch.contract.storage import HasBlobFiles, Image
from polyarch.errors import HostError, UsageError
from polyarch.events import Emit
from polyarch.files import disk_error, make_directory, open_regular
from polyarch.oci.config import check_layer_count
from polyarch.oci.digest import Digest
from polyarch.settings import Settings
from polyarch.unpack.beneath import Root
from polyarch_platforms.device import Device


def run_container(
    request: RunRequest,
    image: Image,
    storage: HasBlobFiles,
    device: Device,
    sources: Sequence[EmulatorSource],
    settings: Settings,
    emit: Emit,
) -> int:
    """Start the image's program in a container and wait for it; its exit code, 128 and the number after a signal.

    Below `settings.root` the layers are unpacked once, the container gets a directory of its own. When it ends, or
    when this process is killed, every mount and process of it is gone; with `rm`, or if it did not start, every file.

    Raises UsageError: the request does not fit; HostError: no runtime, no emulator, no right to namespaces or mounts;
    IntegrityError, StorageError: unpacking; ProgramNotFound (exit code 127), CannotExecute (126).
    """
    with _prepared(request, image, storage, device, sources, settings, emit) as run:
        code = run.to_its_end()
        if request.rm:
            run.container.remove(run.rights)
        return code


def start_container(
    request: RunRequest,
    image: Image,
    storage: HasBlobFiles,
    device: Device,
    sources: Sequence[EmulatorSource],
    settings: Settings,
    emit: Emit,
) -> str:
    """The same, but return once the program runs: the container's ID. A process of its own stays with it.

    When that is killed, the container ends with all its mounts and processes. Raises what `run_container` raises.
    """
    with _prepared(request, image, storage, device, sources, settings, emit) as run:
        detach(run.container, run.apart)
        return run.container.record.id


@contextlib.contextmanager
def _prepared(
    request: RunRequest,
    image: Image,
    storage: HasBlobFiles,
    device: Device,
    sources: Sequence[EmulatorSource],
    settings: Settings,
    emit: Emit,
) -> Iterator[_Run]:
    """A container with all that it needs, ready to start; if what follows fails, it is taken away."""
    volumes = tuple(parse_volume(text) for text in request.volumes)
    variables = parse_environment(request)
    argv = argv_of(request, image.config)
    _check_terminal(request)
    check_layer_count(image.config, len(image.manifest.layers), str(image.reference))
    runtime = find_runtime(settings.runtime)
    arrangement = arrange(image.platform, device, sources)
    rights = rights_at(settings.root)
    openers = [partial(_open, storage, layer.digest) for layer in image.manifest.layers]
    snapshots = Snapshots(settings.root / "snapshots", rights, sync=settings.sync == "batch")
    layers = snapshots.ensure(openers, image.config.diff_ids, emit)
    identifier = new_id()
    record = Record(
        id=identifier,
        name=request.name or identifier[:12],
        image=str(image.reference),
        manifest=image.manifest.digest,
        platform=str(image.platform),
        command=argv,
        created=now(),
        layers=tuple(path.name for path in layers),
        rm=request.rm,
        detached=request.detach,
        stop_signal=signal_name(image.config.stop_signal),
    )
    container = Containers(settings.root / "containers", rights).create(record)
    try:
        yield _Run(request, image, variables, volumes, rights, layers, container, runtime, arrangement)
    except BaseException:
        container.remove(rights)
        raise
    finally:
        container.close()


def _check_terminal(request: RunRequest) -> None:
    if request.tty and not request.detach and not os.isatty(0):
        raise UsageError("the input is no terminal, as -t wants it", "leave out -t")


def _open(storage: HasBlobFiles, digest: Digest) -> BinaryIO:
    path = storage.blob_path(digest)
    try:
        return open_regular(path)
    except OSError as error:
        raise disk_error(error, f"cannot read the layer {path}") from error


@dataclass(frozen=True, slots=True)
class _Run:
    """One container on its way. `emulators` is None unless a private emulation is needed."""

    request: RunRequest
    image: Image
    variables: dict[str, str]
    volumes: tuple[Volume, ...]
    rights: Rights
    layers: Sequence[Path]
    container: Container
    runtime: Runtime
    emulators: Emulators | None

    def to_its_end(self) -> int:
        container = self.container
        with contextlib.ExitStack() as stack:
            console = self._console()
            if console is not None:
                stack.callback(console.close)
            launch = Launch(
                partial(self._command, console.path if console is not None else None),
                self._mounts,
                outer=self.rights.maps,
                inner=same_ids_in_parts() if self.rights.maps is None and self.emulators is not None else None,
                own_group=console is not None or not self.request.tty,
                resized=console.resize if console is not None else lambda: None,
            )

            def started(pid: int) -> None:
                container.update(status="running", pid=pid)
                if console is not None:
                    console.start()

            try:
                code = exit_code(launch.run(started))
            except OSError as error:
                raise HostError(f"{self.runtime.path} cannot be started: {error.strerror}") from error
        failure = complaint(container.directory / "log", container.record.command[0]) if code else None
        if failure is not None:
            raise failure
        container.update(status="exited", pid=0, exit_code=code)
        return code

    def _console(self) -> Console | None:
        """The container's terminal, where the runtime leaves it to this process."""
        if not self.request.tty or not self.runtime.hands_console_over:
            return None
        return Console(self.container.directory, interactive=self.request.interactive)

    def _mounts(self) -> None:
        """In the new mount and PID namespaces: the root file system, and a /proc of these."""
        directory = self.container.directory
        try:
            hide_second_version()
            syscalls.mount("proc", "/proc", "proc", syscalls.SEALED)
        except OSError as error:
            raise HostError(
                f"/proc cannot be mounted in a namespace: {error.strerror}",
                "inside a container, start that with all of /proc (docker: --security-opt systempaths=unconfined)",
            ) from error
        upper = directory / "upper"
        if self.layers:
            # The directory on top is what the container sees as /.
            status = self.layers[0].stat()
            if self.rights.owners:
                os.chown(upper, status.st_uid, status.st_gid)
            upper.chmod(status.st_mode & 0o7777)
        mount_overlay(self.layers, upper, directory / "work", directory / "rootfs", self.rights.flavour)

    def _command(self, console: Path | None) -> Sequence[str]:
        """In the last namespaces: the spec, written, and the words that start the runtime."""
        request, config, directory = self.request, self.image.config, self.container.directory
        rootfs = Root(directory / "rootfs")
        user = resolve_user(request.user or config.user, rootfs)
        maps = self.rights.maps
        if maps is not None and not maps.knows(user.uid, (user.gid, *user.groups)):
            if not maps.knows(user.uid, (user.gid,)):
                raise HostError(
                    f"user {user.uid}:{user.gid} of the image does not exist for this user's containers",
                    "give this user subordinate ids: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "
                    "NAME, and apt install uidmap",
                )
            user = replace(user, groups=())
        hostname = request.hostname or (
            self.container.record.id[:12] if request.network == "none" else socket.gethostname()
        )
        environment = environment_of(config, self.variables, user, hostname, tty=request.tty)
        workdir = working_directory(request, config)
        if not self.volumes:  # on one of them the program may lie
            check_program(self.container.record.command, environment["PATH"], workdir, rootfs)
        namespaced = self.rights.maps is not None or self.emulators is not None
        host = Host(
            hostname=hostname,
            files=write_etc_files(directory / "etc", hostname, request.network),
            user_namespace=namespaced,
            same_ids=namespaced and os.geteuid() == 0 and self.rights.maps is None,
            cgroup="" if namespaced else cgroup_of(self.container.record.id),
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            terminal=terminal_size(),
        )
        spec = runtime_spec(request, config, user, environment, self.volumes, directory / "rootfs", host)
        write_spec(directory / "config.json", spec)
        if self.emulators is not None:
            register_privately(self.emulators)
        if console is not None or not (request.interactive or request.tty):
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
        return self.runtime.run(
            directory,
            self.container.record.id,
            directory / "log",
            directory / "runtime",
            console,
            cgroups=bool(host.cgroup),
        )
