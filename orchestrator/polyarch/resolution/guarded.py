"""Tag conventions of strangers: what one raises, or that it never ends, stays with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

from polyarch.contract.others import ReadsTags, TagConvention, TagProposal, TagReading
from polyarch.errors import InterruptedPull, foreign, printable
from polyarch.events import Emit, Warned
from polyarch.reference import Reference
from polyarch_platforms.platform import Platform

MOST_PROPOSALS = 64
"""Names that a convention may think of for one platform; the contract speaks of a handful."""

T = TypeVar("T")


class Guarded:
    """A TagConvention that is told and passed over from its first fault on."""

    def __init__(self, name: str, convention: TagConvention, emit: Emit) -> None:
        self._name, self._convention, self._emit = name, convention, emit
        self._broken = False

    def propose(self, reference: Reference, platform: Platform) -> Sequence[TagProposal]:
        """What the convention proposes."""
        return self._asked(lambda: self._proposals(reference, platform), ())

    def _proposals(self, reference: Reference, platform: Platform) -> Sequence[TagProposal]:
        proposals = tuple(islice(self._convention.propose(reference, platform), MOST_PROPOSALS))
        for proposal in proposals:
            if not isinstance(proposal, TagProposal):
                raise TypeError(f"propose has to yield TagProposal, not {type(proposal).__name__}")
        return proposals

    def _asked(self, ask: Callable[[], T], instead: T) -> T:
        if self._broken:
            return instead
        try:
            return ask()
        except InterruptedPull:
            raise
        except (Exception, SystemExit) as error:
            self._broken = True
            what = printable(foreign(error))
            self._emit(Warned(f"tag convention {self._name} failed and is passed over: {what}"))
            return instead


class GuardedReader(Guarded):
    """One that reads tags, too."""

    def __init__(self, name: str, convention: TagConvention, reader: ReadsTags, emit: Emit) -> None:
        super().__init__(name, convention, emit)
        self._reader = reader

    def read(self, tag: str) -> TagReading | None:
        """What the convention reads."""
        return self._asked(lambda: self._reading(tag), None)

    def _reading(self, tag: str) -> TagReading | None:
        reading = self._reader.read(tag)
        if not (reading is None or isinstance(reading, TagReading)):
            raise TypeError(f"read has to answer TagReading or None, not {type(reading).__name__}")
        return reading


def guarded(name: str, convention: TagConvention, emit: Emit) -> Guarded:
    """The convention that a plugin called `name` made, guarded."""
    if isinstance(convention, ReadsTags):
        return GuardedReader(name, convention, convention, emit)
    return Guarded(name, convention, emit)
