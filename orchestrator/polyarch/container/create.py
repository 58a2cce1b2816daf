"""Making containers that are not started at once, of an image or of none, and starting them later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from polyarch.container.bare import check_bare
from polyarch.container.base import SCRATCH, base_manifest, read_blob
from polyarch.container.committed import scratch_config
from polyarch.container.console import CONSOLE
from polyarch.container.detach import STARTING
from polyarch.container.image_layers import layers_of, make_layers
from polyarch.container.later_start import LaterStart, read_later_start
from polyarch.container.layers import MOUNTS, Layers, look
from polyarch.container.mounted import prepare_top
from polyarch.container.prepared import Prepared
from polyarch.container.record import Record
from polyarch.container.request import check_terminal
from polyarch.container.rights import Rights, rights_at, under_emulator
from polyarch.container.run import Ran, Ways, new_record, started
from polyarch.container.spec import argv_of
from polyarch.container.state import Containers
from polyarch.contract.others import EmulatorSource
from polyarch.contract.storage import HasBlobFiles, Image, ReadsBlobs
from polyarch.errors import UsageError, platforms_errors
from polyarch.events import Emit
from polyarch.files import disk_error
from polyarch.oci.config import MAX_CONFIG_SIZE, parse_config
from polyarch.oci.written import described, write_manifest
from polyarch.reference import DEFAULT_REGISTRY, Reference
from polyarch.settings import Settings
from polyarch.unpack.tree import remove_tree
from polyarch_platforms.device import Device
from polyarch_platforms.platform import Platform, parse

_NO_IMAGE = Reference(DEFAULT_REGISTRY, "library/scratch", "")


def scratch_image(platform: Platform) -> Image:
    """No image at all, for this platform."""
    config = parse_config(scratch_config(platform))
    manifest = write_manifest(described(config), ())
    return Image(_NO_IMAGE, manifest, manifest, config, platform)


def image_of(storage: ReadsBlobs, record: Record, reference: Callable[[str], Reference]) -> Image:
    """The image that a container was made from, whatever names it has today. `reference` reads the one it had.

    Raises NotFoundError, IntegrityError.
    """
    with platforms_errors():
        platform = parse(record.platform)
    if not record.manifest:
        return scratch_image(platform)
    manifest = base_manifest(storage, record)
    config = parse_config(read_blob(storage, manifest.config.digest, MAX_CONFIG_SIZE))
    return Image(reference(record.image), manifest, manifest, config, platform)


def create_container(later: LaterStart, image: Image, storage: HasBlobFiles, settings: Settings, emit: Emit) -> Record:
    """Make a container without starting it. Raises UsageError: its name is taken; and what unpacking layers raises."""
    request = later.request
    try:
        argv = argv_of(request, image.config)
    except UsageError:
        argv = ()  # nothing can be started in it; files can be put there
    rights = rights_at(settings.root)
    layers = layers_of(image, rights, settings)
    record = new_record(request, image, argv, layers)
    if image.reference == _NO_IMAGE:
        record = replace(record, image=SCRATCH, manifest="")
    container = Containers(settings.root / "containers", rights).create(record, later.encoded(), whole=False)
    try:
        if record.manifest:
            layers = make_layers(layers, image, storage, rights, settings, emit)
        directory = container.directory
        look(layers, rights, directory / MOUNTS, lambda lowers: prepare_top(directory, lowers, rights))
        container.made(layers.form, sync=settings.sync == "batch")
    except BaseException:
        container.remove(rights)
        raise
    finally:
        container.close()
    return container.record


def start_container(
    containers: Containers,
    record: Record,
    image: Image,
    rights: Rights,
    layers: Layers,
    device: Device,
    sources: Sequence[EmulatorSource],
    settings: Settings,
    emit: Emit,
    *,
    attach: bool,
    interactive: bool = False,
) -> Ran:
    """Start a container that `create_container` made, for the first time or again; with `attach` wait for its end, with
    `interactive` pass stdin on though that was not asked for when it was made.

    Raises as `run_container`; UsageError: it runs already, or was made otherwise.
    """
    later = read_later_start(containers.directory(record), record.name)
    request = replace(later.request, detach=not attach, interactive=interactive or later.request.interactive)
    check_terminal(request.tty and attach)
    if not record.command:
        raise UsageError(f"the container {record.name} has no program to start", "name one to `container create`")
    if under_emulator():
        check_bare(request)
    ways = Ways(image, device, sources, settings, emit)
    runtime, arrangement = ways.chosen()
    walls = ways.walls(request, later.words, runtime)
    container = containers.hold(record)
    try:
        _forget_last_start(container.directory)
        container.starts_by(runtime.name if runtime else "none", detached=not attach)
        prepared = Prepared(request, image, later.words, rights, layers, container, later.as_labelled)
        return started(prepared, runtime, arrangement, walls)
    finally:
        container.close()


def _forget_last_start(directory: Path) -> None:
    """What a runtime that was killed may have left would be in the way of the next one. Raises StorageError."""
    try:
        remove_tree(directory / "runtime")
        (directory / "runtime").mkdir(0o700)
        for name in (STARTING, CONSOLE, "log"):
            (directory / name).unlink(missing_ok=True)
    except OSError as error:
        raise disk_error(error, f"cannot write in {directory}") from error
