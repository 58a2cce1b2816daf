"""One container on its way to an OCI runtime: its mounts, its spec, in the namespaces that these need."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.container.cgroups import cgroup_of, hide_second_version, is_unified, remove_cgroup
from polyarch.container.emulation import Arrangement, protect_emulators, register_privately
from polyarch.container.foreground import terminal_size, to_its_end
from polyarch.container.id_maps import same_ids_in_parts
from polyarch.container.launch import HEARD, Launch
from polyarch.container.logs import OUTPUT
from polyarch.container.own_dev import mount_own_devices
from polyarch.container.own_proc import mount_proc, proc_refused
from polyarch.container.prepared import Prepared
from polyarch.container.programs import explicit_args
from polyarch.container.runtime import Runtime
from polyarch.container.spec import Host, runtime_spec, write_spec
from polyarch.container.walls import Walls
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.qemu import kernel_version

if TYPE_CHECKING:
    from polyarch.container.detach import Streams
    from polyarch.container.neighbours import Neighbour

_RECURSIVE = (5, 12)  # Linux: the first that has mount_setattr(2)


@dataclass(frozen=True, slots=True)
class Start:
    """What is needed to start a container."""

    prepared: Prepared
    runtime: Runtime
    arrangement: Arrangement
    walls: Walls

    def to_its_end(self) -> int:
        """Start it on this process's input and output, pass signals on, wait; the exit code."""
        container = self.prepared.container
        program = container.record.command[0]
        with self._neighbours() as beside:
            launch = partial(self._launch, beside)
            code = to_its_end(
                self.prepared.request, self.runtime, container.directory, program, launch, container.started
            )
        container.ended(code)
        remove_cgroup(container.record.id)  # where the runtime was killed
        return code

    def apart(self) -> tuple[int, Streams]:
        """Start it with streams of its own, and signals blocked; the runtime's process ID."""
        from polyarch.container.detach import open_streams

        container, request = self.prepared.container, self.prepared.request
        (container.directory / OUTPUT).touch(0o600)
        streams = open_streams(
            container.directory,
            tty=request.tty,
            interactive=request.interactive,
            hands_console_over=self.runtime.hands_console_over,
        )
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        with self._neighbours() as beside:
            pid = self._launch(beside, dict(enumerate(streams.inside)), streams.console).start(before)
        container.started(pid)
        return pid, streams

    def _neighbours(self) -> AbstractContextManager[Sequence[Neighbour]]:
        """Those that run now: only this process knows them by their numbers, not its children in namespaces."""
        layers = self.prepared.layers
        if layers.form != "erofs":
            return nullcontext(())
        from polyarch.container.neighbours import neighbours

        return neighbours(self.prepared.container.directory.parent, layers)

    def _launch(
        self,
        beside: Sequence[Neighbour],
        files: dict[int, int],
        console: Path | None,
        *,
        own_group: bool = True,
        resized: Callable[[], None] = lambda: None,
    ) -> Launch:
        maps, private = self.prepared.rights.maps, self.arrangement.way == "private"
        return Launch(
            partial(self._command, files, console),
            partial(self._mounts, beside),
            outer=maps,
            inner=same_ids_in_parts() if maps is None and private else None,
            own_group=own_group,
            resized=resized,
        )

    def _mounts(self, beside: Sequence[Neighbour]) -> None:
        """In the new mount and PID namespaces: the root file system, and a /proc of these."""
        with proc_refused():
            hide_second_version()
            mount_proc()
        if os.geteuid() == 0 and self.prepared.rights.maps is None:
            mount_own_devices(self.prepared.rootfs)
        self.prepared.mount(beside)

    def _command(self, files: dict[int, int], console: Path | None) -> Sequence[str]:
        """In the last namespaces: the spec, written, and the words that start the runtime with `files` as 0, 1, 2."""
        prepared, arrangement = self.prepared, self.arrangement
        request, maps, record = prepared.request, prepared.rights.maps, prepared.container.record
        directory = prepared.container.directory
        inside = prepared.look_inside(os.sysconf("SC_PAGE_SIZE") if arrangement.way == "native" else None)
        private = arrangement.way == "private"
        namespaced = maps is not None or private
        host = Host(
            hostname=inside.hostname,
            files=inside.files,
            user_namespace=namespaced,
            recursive=kernel_version() >= _RECURSIVE,
            cgroup=cgroup_of(record.id),
            unified=is_unified(),
            walls=self.walls,
            open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
            terminal=terminal_size(),
            emulator=arrangement.explicit.path.resolve() if arrangement.explicit else None,
        )
        if request.detach:
            from polyarch.container.detach import TERMINAL, started_hook

            host = replace(host, terminal=TERMINAL, started=started_hook(directory))
        args = explicit_args(record.command, inside.program) if arrangement.explicit else record.command
        environment = {**arrangement.variables, **inside.environment}
        volumes = prepared.words.volumes
        config = prepared.image.config
        spec = runtime_spec(request, args, config, inside.user, environment, volumes, prepared.rootfs, host)
        write_spec(directory / "config.json", spec)
        if private:
            protect_emulators(arrangement.emulators)
            register_privately(arrangement.emulators, credential=self.walls.new_privileges)
        for number, file in files.items():
            os.dup2(file, number)
        # The runtime has the lock as well: as long as it lives, that is held.
        os.set_inheritable(prepared.container.lock, True)
        return self.runtime.run(
            directory, record.id, directory / "log", directory / "runtime", console, cgroups=bool(host.cgroup)
        )
