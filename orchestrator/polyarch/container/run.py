"""Running an image's program in a container: in the foreground, or with a process of its own that stays with it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from polyarch.container.bare import WARNING, BareStart, check_bare
from polyarch.container.detach import detach
from polyarch.container.emulation import arrange
from polyarch.container.prepared import Prepared
from polyarch.container.record import Record, new_id, now
from polyarch.container.request import RunRequest, Words
from polyarch.container.rights import rights_at, under_emulator
from polyarch.container.runtime import find_runtime
from polyarch.container.snapshots import Snapshots
from polyarch.container.spec import argv_of
from polyarch.container.start import Start
from polyarch.container.state import Containers
from polyarch.contract.others import EmulatorSource
from polyarch.contract.storage import HasBlobFiles, Image
from polyarch.errors import NotFoundError
from polyarch.events import Emit, Warned
from polyarch.files import disk_error, open_regular
from polyarch.oci.config import check_layer_count
from polyarch.oci.digest import Digest
from polyarch.settings import Settings
from polyarch_platforms.device import Device


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
    check_layer_count(image.config, len(image.manifest.layers), str(image.reference))
    emulated = under_emulator()
    if emulated:
        check_bare(request)
        emit(Warned(WARNING))
    runtime = None if emulated else find_runtime(settings.runtime)
    arrangement = arrange(image.platform, device, sources)
    if arrangement.warning:
        emit(Warned(arrangement.warning))
    rights = rights_at(settings.root)
    openers = [partial(_open, storage, layer.digest) for layer in image.manifest.layers]
    snapshots = Snapshots(settings.root / "snapshots", rights, sync=settings.sync == "batch")
    layers = snapshots.paths(image.config.diff_ids)
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
        runtime=runtime.name if runtime else "none",
        stop_signal=_signal_number(image.config.stop_signal),
    )
    # The record comes first: from then on nobody takes image or layers away.
    container = Containers(settings.root / "containers", rights).create(record)
    try:
        check_here(image, storage)
        snapshots.ensure(openers, image.config.diff_ids, emit)
        prepared = Prepared(request, image, words, rights, layers, container, as_labelled)
        start = Start(prepared, runtime, arrangement) if runtime else BareStart(prepared)
        if request.detach and isinstance(start, Start):
            detach(container, start.apart)
            return Ran(identifier, None)
        code = start.to_its_end()
        if request.rm:
            container.remove(rights)
        return Ran(identifier, code)
    except BaseException:
        container.remove(rights)
        raise
    finally:
        container.close()


def check_here(image: Image, storage: HasBlobFiles) -> None:
    """Raises NotFoundError where the image was removed since it was found."""
    try:
        for blob in (image.manifest.descriptor, *image.manifest.blobs):
            if not blob.urls:
                storage.blob_path(blob.digest)
    except NotFoundError as error:
        name = image.reference.familiar
        raise NotFoundError(f"{name} was removed just now: {error.message}", f"polyarch pull {name}") from error


def _open(storage: HasBlobFiles, digest: Digest) -> BinaryIO:
    path = storage.blob_path(digest)
    try:
        return open_regular(path)
    except OSError as error:
        raise disk_error(error, f"cannot read the layer {path}") from error


def _signal_number(text: str) -> int:
    """The signal of an image's config (config.md, "StopSignal": SIGNAME or SIGRTMIN+NUM; docker takes numbers, too)."""
    base, _, more = text.strip().upper().partition("+")
    name = base if base.startswith("SIG") else f"SIG{base}"
    try:
        number = int(base) if base.isdigit() else signal.Signals[name].value + int(more or 0)
    except (KeyError, ValueError):
        return signal.SIGTERM.value
    return number if 0 < number <= signal.SIGRTMAX else signal.SIGTERM.value
