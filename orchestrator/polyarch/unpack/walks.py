"""The layers of an image walked from the top down, the next ones while the one at hand is still looked at."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import BinaryIO, NamedTuple, Protocol, TypeAlias

from polyarch.unpack.layer_index import LayerIndex, Names
from polyarch.unpack.limits import Limits


class Indexes(Protocol):
    """The layers of an image, from the top down."""

    def any_left(self) -> bool:
        """True if there is a layer that was not asked for."""

    def next(self, wanted: Iterable[bytes]) -> Names:
        """The index of the next layer below. `wanted` are names whose content is likely to be asked for.

        Raises IntegrityError where the layer is no sound archive.
        """


MakeIndex: TypeAlias = Callable[[frozenset[bytes]], Names]


class Made:
    """Indexes that somebody else makes: `makers`, bottom first, each given the names that `next` is given."""

    def __init__(self, makers: Iterable[MakeIndex]) -> None:
        self._makers = list(makers)

    def any_left(self) -> bool:
        """As `Indexes` says."""
        return bool(self._makers)

    def next(self, wanted: Iterable[bytes]) -> Names:
        """As `Indexes` says."""
        return self._makers.pop()(frozenset(wanted))


class _Walk(NamedTuple):
    """A walk that was begun, and whether it has met a file whose name is wanted."""

    made: Future[LayerIndex]
    met: threading.Event


class Walks:
    """Makes the indexes of layers in threads: decompression and reading let others run meanwhile.

    `layers` opens each layer, bottom first. `ahead` layers are walked before they are asked for, unless what is wanted
    was met in one above already: then they hardly matter. What is wrong with a layer is told when it is asked for and
    not before, so that the answer does not depend on who was faster.
    """

    def __init__(self, layers: Sequence[Callable[[], BinaryIO]], ahead: int, limits: Limits) -> None:
        self._unread = list(zip(layers, limits.of_layers(len(layers)), strict=True))
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(ahead + 1, thread_name_prefix="walk")
        self._begun: deque[_Walk] = deque()

    def any_left(self) -> bool:
        """True if there is a layer that was not asked for."""
        return bool(self._unread or self._begun)

    def next(self, wanted: Iterable[bytes]) -> LayerIndex:
        """The index of the next layer below. `wanted` are names whose content is likely to be asked for.

        Raises IntegrityError where the layer is no sound archive.
        """
        names = frozenset(wanted)
        while self._unread and len(self._begun) <= self._ahead:
            if any(walk.met.is_set() for walk in self._begun):
                break
            where, met = f"layer {len(self._unread)}", threading.Event()
            opener, limits = self._unread.pop()
            made = self._pool.submit(partial(LayerIndex, limits=limits), opener, where, names, met.set)
            self._begun.append(_Walk(made, met))
        return self._begun.popleft().made.result()

    def close(self) -> None:
        """Begin no other walk. One that is under way goes on until its stream ends or raises."""
        self._pool.shutdown(wait=False, cancel_futures=True)
