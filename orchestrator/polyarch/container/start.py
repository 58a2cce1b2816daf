"""One container on its way: its mounts, its spec, its runtime, in the namespaces that these need."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from polyarch.container import syscalls
from polyarch.container.cgroups import cgroup_of, hide_second_version, remove_cgroup
from polyarch.container.console import Console, terminal_size
from polyarch.container.detach import TERMINAL, Streams, open_streams, started_hook
from polyarch.container.emulation import Arrangement, exit_code, register_privately
from polyarch.container.etc_files import write_etc_files
from polyarch.container.id_maps import same_ids_in_parts
from polyarch.container.launch import HEARD, Launch
from polyarch.container.logs import OUTPUT
from polyarch.container.overlay import mount_overlay
from polyarch.container.programs import Promise, check_program, explicit_args
from polyarch.container.request import RunRequest, Volume
from polyarch.container.rights import Rights
from polyarch.container.runtime import Runtime, complaint
from polyarch.container.spec import Host, environment_of, runtime_spec, working_directory, write_spec
from polyarch.container.state import Container
from polyarch.container.users import user_inside
from polyarch.contract.storage import Image
from polyarch.errors import HostError
from polyarch.unpack.beneath import Root


@dataclass(frozen=True, slots=True)
class Start:
    """What is needed to start a container."""

    request: RunRequest
    image: Image
    variables: dict[str, str]
    volumes: tuple[Volume, ...]
    rights: Rights
    layers: Sequence[Path]
    container: Container
    runtime: Runtime
    arrangement: Arrangement
    as_labelled: bool

    def to_its_end(self) -> int:
        """Start it on this process's input and output, pass signals on, wait; the exit code."""
        container, tty = self.container, self.request.tty
        with contextlib.ExitStack() as stack:
            console = None
            if tty and self.runtime.hands_console_over:
                console = Console(container.directory, interactive=self.request.interactive)
                stack.callback(console.close)
            nothing = None
            if console is not None or not (self.request.interactive or tty):
                nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                stack.callback(os.close, nothing)
            launch = self._launch(
                {} if nothing is None else {0: nothing},
                console.path if console is not None else None,
                own_group=console is not None or not tty,
                resized=console.resize if console is not None else lambda: None,
            )

            def started(pid: int) -> None:
                container.started(pid)
                if console is not None:
                    console.start()

            try:
                code = exit_code(launch.run(started))
            except OSError as error:
                raise HostError(f"{self.runtime.path} cannot be started: {error.strerror}") from error
        failure = complaint(container.directory / "log", container.record.command[0]) if code else None
        if failure is not None:
            raise failure
        remove_cgroup(container.record.id)  # where the runtime was killed
        container.ended(code)
        return code

    def apart(self) -> tuple[int, Streams]:
        """Start it with streams of its own, and signals blocked; the runtime's process ID."""
        (self.container.directory / OUTPUT).touch(0o600)
        streams = open_streams(
            self.container.directory,
            tty=self.request.tty,
            interactive=self.request.interactive,
            hands_console_over=self.runtime.hands_console_over,
        )
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        pid = self._launch(dict(enumerate(streams.inside)), streams.console).start(before)
        self.container.started(pid)
        return pid, streams

    def _launch(
        self,
        files: dict[int, int],
        console: Path | None,
        *,
        own_group: bool = True,
        resized: Callable[[], None] = lambda: None,
    ) -> Launch:
        private = self.arrangement.way == "private"
        return Launch(
            partial(self._command, files, console),
            self._mounts,
            outer=self.rights.maps,
            inner=same_ids_in_parts() if self.rights.maps is None and private else None,
            own_group=own_group,
            resized=resized,
        )

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
        places = (upper, directory / "work", directory / "rootfs")
        mount_overlay(self.layers, *places, self.rights.flavour, volatile=self.request.rm)

    def _command(self, files: dict[int, int], console: Path | None) -> Sequence[str]:
        """In the last namespaces: the spec, written, and the words that start the runtime with `files` as 0, 1, 2."""
        request, config, directory = self.request, self.image.config, self.container.directory
        identifier = self.container.record.id
        rootfs = Root(directory / "rootfs")
        user = user_inside(request.user or config.user, rootfs, self.rights.maps)
        hostname = request.hostname or (identifier[:12] if request.network == "none" else socket.gethostname())
        environment = environment_of(config, self.variables, user, hostname, tty=request.tty)
        workdir = working_directory(request, config)
        program = check_program(
            self.container.record.command,
            environment["PATH"],
            workdir,
            rootfs,
            promise=self._promise(),
            volumes=[volume.target for volume in self.volumes],
        )
        arrangement, private = self.arrangement, self.arrangement.way == "private"
        namespaced = self.rights.maps is not None or private
        host = Host(
            hostname=hostname,
            files=write_etc_files(directory / "etc", hostname, request.network),
            user_namespace=namespaced,
            same_ids=namespaced and os.geteuid() == 0 and self.rights.maps is None,
            cgroup="" if namespaced else cgroup_of(identifier),
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            terminal=TERMINAL if request.detach else terminal_size(),
            started=started_hook(directory) if request.detach else None,
            emulator=arrangement.explicit.path.resolve() if arrangement.explicit else None,
        )
        args = self.container.record.command
        if arrangement.explicit:
            args = explicit_args(args, program)
        environment = {**arrangement.variables, **environment}
        spec = runtime_spec(request, args, config, user, environment, self.volumes, directory / "rootfs", host)
        write_spec(directory / "config.json", spec)
        if private:
            register_privately(arrangement.emulators)
        for number, file in files.items():
            os.dup2(file, number)
        os.set_inheritable(self.container.lock, True)  # the runtime has it as well: as long as it lives, it is held
        return self.runtime.run(
            directory, identifier, directory / "log", directory / "runtime", console, cgroups=bool(host.cgroup)
        )

    def _promise(self) -> Promise | None:
        """What the image's own program has to be; a user's choice of another one is the user's own."""
        chosen = self.request.entrypoint is not None or (self.request.argv and not self.image.config.entrypoint)
        if chosen or not self.as_labelled:
            return None
        page_size = os.sysconf("SC_PAGE_SIZE") if self.arrangement.way == "native" else None
        return Promise(str(self.image.reference), self.image.platform, page_size)
