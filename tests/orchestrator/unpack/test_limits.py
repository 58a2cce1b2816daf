"""What the layers of an image come to together: counted over threads and processes, and whatever reads them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import pytest

from polyarch.errors import IntegrityError
from polyarch.unpack.image import unpack_image, unpack_layer
from polyarch.unpack.limits import LayerLimits, Limits
from polyarch.unpack.listing import list_layer
from polyarch.unpack.merge import merge
from support.erofs_trees import prepared
from support.layers import diff_id, file, layer, opener

LIMITS = Limits(entries=1000)
LAYERS = [layer(*(file(f"{number}-{each}") for each in range(300))) for number in range(4)]


def _flat(layers: Sequence[bytes], place: Path) -> None:
    unpack_image(list(map(opener, layers)), list(map(diff_id, layers)), place / "image", limits=LIMITS, owners=False)


def _overlay(layers: Sequence[bytes], place: Path) -> None:
    for number, (data, held_to) in enumerate(zip(layers, LIMITS.of_layers(len(layers)), strict=True)):
        directory = place / str(number)
        unpack_layer(
            opener(data), diff_id(data), directory, [], flavour="user", owners=False, limits=held_to, sync=False
        )


def _erofs(layers: Sequence[bytes], place: Path) -> None:
    prepared(layers, place, LIMITS)


def _merged(layers: Sequence[bytes], place: Path) -> None:
    merge([list_layer(opener(data), diff_id(data), "here") for data in layers], LIMITS)


@pytest.mark.parametrize("read", [_flat, _overlay, _erofs, _merged])
def test_layers_count_together(read: object, tmp_path: Path) -> None:
    assert callable(read)
    read(LAYERS[:3], tmp_path)
    (tmp_path / "more").mkdir()
    with pytest.raises(IntegrityError, match="more than 1000 entries together") as told:
        read(LAYERS, tmp_path / "more")
    assert "max_image_entries" in str(told.value.hint)


def _take(held_to: LayerLimits, count: int) -> bool:
    """Whether the limit was met."""
    held_to.begin()
    try:
        for _ in range(count):
            held_to.take(1)
        held_to.settle()
    except IntegrityError:
        return True
    return False


def test_threads_count_together() -> None:
    met: list[bool] = []
    threads = [Thread(target=lambda each=each: met.append(_take(each, 300))) for each in LIMITS.of_layers(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(met)


def test_processes_count_together() -> None:
    one, other = LIMITS.of_layers(2)
    child = os.fork()
    if child == 0:
        os._exit(_take(one, 600))
    assert os.waitpid(child, 0)[1] == 0
    assert _take(other, 600)


def test_a_layer_that_is_read_again_counts_once() -> None:
    first, _ = LIMITS.of_layers(2)
    assert [_take(first, 600) for _ in range(3)] == [False] * 3
    assert _take(first, 1001)
