"""Layers as EROFS images, mounted by the kernel beneath an overlay in a namespace of a child process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from polyarch.container import syscalls
from polyarch.container.erofs import erofs_works, mount_layer
from polyarch.container.overlay import mount_overlay
from polyarch.unpack.erofs.layer import prepare_layer
from polyarch.unpack.limits import USUAL, Limits
from support.isolation import own_mounts
from support.layers import diff_id, opener
from support.overlay_mount import overlay

T = TypeVar("T")


def needs_erofs(place: Path) -> None:
    """Skips where no layer can be mounted."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts EROFS")
    if reason := erofs_works(place):
        pytest.skip(reason)


def prepared(layers: Sequence[bytes], place: Path, limits: Limits = USUAL) -> list[Path]:
    """Each layer as an image below `place`; the topmost first. Raises what `prepare_layer` does."""
    made: list[Path] = []
    for number, (data, held_to) in enumerate(zip(layers, limits.of_layers(len(layers)), strict=True)):
        directory = place / f"erofs-{number}"
        prepare_layer(opener(data), diff_id(data), directory, made, limits=held_to, sync=False)
        made.insert(0, directory)
    return made


def look(layers: Sequence[Path], place: Path, action: Callable[[Path], T]) -> T:
    """What `action` says of the layers, topmost first, mounted beneath each other."""

    def mounted() -> T:
        targets = []
        for number, layer in enumerate(layers):
            target = place / f"mounted-{number}"
            target.mkdir(exist_ok=True)
            mount_layer(layer, target)
            targets.append(target)
        return action(_overlay(targets, place))

    return own_mounts(mounted)


@contextmanager
def seen_by_all(layers: Sequence[Path], target: Path) -> Iterator[Path]:
    """The layers mounted at `target`, which is made, for this process as well."""
    mounted: list[Path] = []
    try:
        for number, layer in enumerate(layers):
            place = target.with_name(f"{target.name}-{number}")
            place.mkdir()
            mount_layer(layer, place)
            mounted.append(place)
        with overlay(mounted, target):
            yield target
    finally:
        for place in mounted:
            syscalls.unmount(place)


def look_unpacked(layers: Sequence[Path], place: Path, action: Callable[[Path], T]) -> T:
    """The same of unpacked ones."""
    return own_mounts(lambda: action(_overlay(layers, place)))


def _overlay(layers: Sequence[Path], place: Path) -> Path:
    top = Path(tempfile.mkdtemp(prefix="overlay-", dir=place))
    for name in ("upper", "work", "merged"):
        (top / name).mkdir()
    mount_overlay(layers, top / "upper", top / "work", top / "merged", "trusted", volatile=True)
    return top / "merged"
