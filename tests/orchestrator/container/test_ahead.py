"""Layers made ready by threads, while others of them fail."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.container.ahead import Ahead
from polyarch.container.rights import Rights
from polyarch.container.snapshots import NotAsErofs, Snapshots
from polyarch.errors import IntegrityError
from polyarch.events import ignore
from polyarch.unpack.image import OpenLayer
from support.layers import diff_id, file, layer, opener

LAYERS = [layer(file(name)) for name in ("low", "high")]


def test_the_end_is_the_end_of_all_layers(tmp_path: Path) -> None:
    """Whoever makes what is left in child processes must not find layers locked by threads of this one."""
    failed, ended = threading.Event(), []

    def read(number: int, work: Callable[[OpenLayer], None]) -> None:
        if number == 0:
            failed.set()
            raise NotAsErofs("as it is")
        failed.wait()
        for _ in range(20):
            hashlib.sha256(bytes(1 << 20))
        ended.append(number)

    snapshots = Snapshots(tmp_path / "snapshots", Rights("trusted", None), "erofs", sync=False)
    ahead = Ahead(snapshots, list(map(diff_id, LAYERS)), read, lambda number: None)
    ahead.start()
    try:
        with pytest.raises(NotAsErofs, match="as it is"):
            ahead.finish()
        assert ended == [1]
    finally:
        ahead.close()


@pytest.mark.parametrize("shared", [False, True], ids=["new archives", "an archive that is here"])
def test_no_layer_is_named_before_its_blob_was_verified(shared: bool, tmp_path: Path) -> None:
    """Where the archive is here already, nothing of the blob has to be read."""
    snapshots = Snapshots(tmp_path / "snapshots", Rights("trusted", None), "erofs", sync=False)
    ids = list(map(diff_id, LAYERS))
    if shared:
        snapshots.ensure([opener(LAYERS[1])], ids[1:], ignore)
        snapshots.ensure([opener(LAYERS[0])] * 2, ids[:1] * 2, ignore)

    def verified(number: int) -> None:
        raise IntegrityError(f"the blob of layer {number} is another one")

    missing = snapshots.missing(ids)
    ahead = Ahead(snapshots, ids, lambda number, work: work(opener(LAYERS[number])), verified)
    ahead.start()
    try:
        with pytest.raises(IntegrityError, match=f"layer {missing[0]} is another one"):
            ahead.finish()
        assert snapshots.missing(ids) == missing == ([1] if shared else [0, 1])
    finally:
        ahead.close()
