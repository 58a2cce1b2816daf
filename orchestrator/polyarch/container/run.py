"""Running an image's program in a container: in the foreground, or with a process of its own that stays with it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import replace

from polyarch.container.emulation import Arrangement, arrange
from polyarch.container.image_layers import layers_of, make_layers
from polyarch.container.layers import Layers
from polyarch.container.prepared import Prepared
from polyarch.container.record import Record, new_id, now
from polyarch.container.request import RunRequest, Words
from polyarch.container.rights import rights_at, under_emulator
from polyarch.container.runtime import Runtime, find_runtime
from polyarch.container.spec import argv_of
from polyarch.container.start import Start
from polyarch.container.state import Containers
from polyarch.container.walls import Walls, walls_of
from polyarch.contract.others import EmulatorSource
from polyarch.contract.storage import HasBlobFiles, Image
from polyarch.events import Emit, Warned
from polyarch.settings import Settings
from polyarch_platforms.device import Device
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Ran:
    """A container that was started: `exit_code` is its program's, None where it goes on without this process."""

    id: str
    exit_code: int | None


def run_container(
    request: RunRequest,
    words: Words,
    image: Image,
    storage: HasBlobFiles,
    device: Device,
    sources: Sequence[EmulatorSource],
    settings: Settings,
    emit: Emit,
    *,
    as_labelled: bool = True,
) -> Ran:
    """Start the image's program in a container and wait for its end, or with `detach` until it runs.

    `words` are what `read_words` makes of the request. Below `settings.root` the layers are unpacked once, and the
    container gets a directory of its own. When it ends, or when the process that stays with it is killed, every mount
    and process of it is gone; with `rm`, or if it did not start, every file. With `as_labelled` the image's own program
    has to be what the image's platform promises.

    Raises UsageError: the request does not fit; HostError: no runtime, no emulator, no right to namespaces or mounts;
    IntegrityError, StorageError: unpacking; ProgramNotFound (exit code 127), CannotExecute (126).
    """
    argv = argv_of(request, image.config)
    if under_emulator():
        from polyarch.container.bare import check_bare

        check_bare(request)
    ways = Ways(image, device, sources, settings, emit)
    runtime, arrangement = ways.chosen()
    walls = ways.walls(request, words, runtime)
    rights = rights_at(settings.root)
    layers = layers_of(image, rights, settings)
    record = replace(
        new_record(request, image, argv, layers),
        detached=request.detach,
        runtime=runtime.name if runtime else "none",
    )
    # The record comes first: from then on nobody takes image or layers away.
    container = Containers(settings.root / "containers", rights).create(record, whole=False)
    try:
        layers = make_layers(layers, image, storage, rights, settings, emit)
        container.made(layers.form)
        prepared = Prepared(request, image, words, rights, layers, container, as_labelled)
        return started(prepared, runtime, arrangement, walls)
    except BaseException:
        container.remove(rights)
        raise
    finally:
        container.close()


@dataclass(frozen=True, slots=True)
class Ways:
    """What decides how a container is started."""

    image: Image
    device: Device
    sources: Sequence[EmulatorSource]
    settings: Settings
    emit: Emit

    def chosen(self) -> tuple[Runtime | None, Arrangement]:
        """The OCI runtime (None under an emulator), and how foreign programs are executed; warnings are told."""
        emulated = under_emulator()
        if emulated:
            from polyarch.container.bare import WARNING

            self.emit(Warned(WARNING))
        runtime = None if emulated else find_runtime(self.settings.runtime)
        arrangement = arrange(self.image.platform, self.device, self.sources)
        if arrangement.warning:
            self.emit(Warned(arrangement.warning))
        return runtime, arrangement

    def walls(self, request: RunRequest, words: Words, runtime: Runtime | None) -> Walls:
        """What will stand around the container; a warning is told."""
        if runtime is None:
            return Walls()
        walls = walls_of(request, words, runtime)
        if walls.warning:
            self.emit(Warned(walls.warning))
        return walls


def started(prepared: Prepared, runtime: Runtime | None, arrangement: Arrangement, walls: Walls) -> Ran:
    """Start what is prepared, and wait for its end unless its request says `detach`."""
    container, request = prepared.container, prepared.request
    if runtime is None:
        from polyarch.container.bare import BareStart

        code = BareStart(prepared).to_its_end()
    elif request.detach:
        from polyarch.container.detach import detach

        detach(container, Start(prepared, runtime, arrangement, walls).apart)
        return Ran(container.record.id, None)
    else:
        code = Start(prepared, runtime, arrangement, walls).to_its_end()
    if request.rm:
        container.remove(prepared.rights)
    return Ran(container.record.id, code)


def new_record(request: RunRequest, image: Image, argv: tuple[str, ...], layers: Layers) -> Record:
    """The record of a container that is to be made."""
    identifier = new_id()
    return Record(
        id=identifier,
        name=request.name or identifier[:12],
        image=str(image.reference),
        manifest=image.manifest.digest,
        platform=str(image.platform),
        command=argv,
        created=now(),
        layers=tuple(path.name for path in layers.paths),
        form=layers.form,
        rm=request.rm,
        stop_signal=_signal_number(image.config.stop_signal),
    )


def _signal_number(text: str) -> int:
    """The signal of an image's config (config.md, "StopSignal": SIGNAME or SIGRTMIN+NUM; docker takes numbers, too)."""
    base, _, more = text.strip().upper().partition("+")
    name = base if base.startswith("SIG") else f"SIG{base}"
    try:
        number = int(base) if base.isdigit() else signal.Signals[name].value + int(more or 0)
    except (KeyError, ValueError):
        return signal.SIGTERM.value
    return number if 0 < number <= signal.SIGRTMAX else signal.SIGTERM.value
