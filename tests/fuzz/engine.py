"""Fuzzing guided by coverage: inputs that reach new pairs of lines are kept and changed further."""

from __future__ import annotations

import json
import random
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from fuzz.parsers import Parser

CPU_LIMIT = 1.0
"""Seconds of CPU that a parser may take for one input."""
MEMORY_LIMIT = 256 << 20
"""Bytes that the process may grow by for one input."""

_KEPT = 1 << 13  # bytes
_TRACED_LIMIT = 20.0  # tracing makes Python some ten times slower
_CODE = re.compile(r"/polyarch(?:_platforms|_plugins)?/")
_NUMBERS = (0, 1, -1, 255, 1 << 31, (1 << 32) - 1, 1 << 63, 10**25, 10**400)
_ODD = (*_NUMBERS, 1.5, 1e999, True, None, "", "\ud800", [], {}, [None])
_BYTES = (b"\0", b"\xff", b"\r\n", b"\xef\xbb\xbf", b"\xed\xa0\x80")
_TOKENS = (*_BYTES, b"0" * 20, b"9" * 400, b"-1", b'"', b"'", b"\\", b"[" * 99)


class TooSlow(BaseException):
    """A parser took more CPU time than it may."""


@dataclass
class Run:
    """What a run saw. `findings` has an input for each place that failed; `slowest` is in CPU seconds."""

    executions: int = 0
    pairs: int = 0
    corpus: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    findings: dict[str, bytes] = field(default_factory=dict)


def attempt(parser: Parser, data: bytes, limit: float = CPU_LIMIT) -> str | None:
    """How the parser did to `data` what it does not promise, and where; None if it did not."""
    with suppress(OSError):  # the kernel remembers the most that there ever was (proc(5), clear_refs)
        Path("/proc/self/clear_refs").write_bytes(b"5")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with _at_most(limit):
            parser.read(data)
    except parser.promised:
        pass
    except TooSlow:
        return "too slow"
    except Exception as error:  # what else it may be is the question
        places = [frame for frame in traceback.extract_tb(error.__traceback__) if _CODE.search(frame.filename)]
        place = f"{places[-1].filename.rpartition('/')[2]}:{places[-1].lineno}" if places else "nowhere"
        return f"{type(error).__name__} at {place}: {str(error)[:120]}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    return f"took {grown >> 20} MiB" if grown > MEMORY_LIMIT else None


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def end(*_: object) -> None:
        raise TooSlow

    old = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


class Coverage:
    """Pairs of lines of polyarch that ran one after the other, and the texts that its code compares with."""

    def __init__(self) -> None:
        self.pairs: set[int] = set()
        self.texts: list[bytes] = list(_TOKENS)
        self._numbers: dict[CodeType, int] = {}
        self._last = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        self._last = 0
        sys.settrace(self._call)
        try:
            yield
        finally:
            sys.settrace(None)

    def _call(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        number = self._numbers.get(frame.f_code)
        if number is None:
            ours = _CODE.search(frame.f_code.co_filename) is not None
            number = self._numbers[frame.f_code] = len(self._numbers) + 1 if ours else 0
            for text in frame.f_code.co_consts if ours else ():
                raw = text.encode(errors="ignore") if isinstance(text, str) else text
                if isinstance(raw, bytes) and 0 < len(raw) <= 40 and b"\n" not in raw:
                    self.texts.append(raw)
        return self._line if number else None

    def _line(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        here = self._numbers[frame.f_code] << 12 | (frame.f_lineno or 0)
        self.pairs.add(self._last << 32 | here)
        self._last = here
        return self._line


def fuzz(
    parser: Parser,
    corpus: list[bytes],
    seconds: float,
    seed: int,
    kept: Path | None = None,
    until: Callable[[Run], bool] = lambda run: False,
) -> Run:
    """Tries changed inputs for so many seconds of CPU, or `until` says so; those that reach further go to `kept`."""
    choose, coverage, run = random.Random(seed), Coverage(), Run()
    pool: list[bytes] = []
    start = time.process_time()
    slowest = (0.0, b"")
    waiting = list(corpus)
    while (now := time.process_time()) - start < seconds and not until(run):
        data = waiting.pop() if waiting else mutated(choose, pool, coverage.texts, parser.most)
        known = len(coverage.pairs)
        with coverage.watched():
            wrong = attempt(parser, data, _TRACED_LIMIT)
        run.executions += 1
        if time.process_time() - now > CPU_LIMIT:
            wrong = attempt(parser, data)
        if wrong is not None and run.findings.setdefault(wrong.partition(": ")[0], data) is data and kept is not None:
            (kept / f"found-{len(run.findings)}").write_bytes(data)
        slowest = max(slowest, (time.process_time() - now, data))
        # Large inputs are tried, but not changed further: each would take the time of hundreds.
        if (len(coverage.pairs) > known and len(data) <= _KEPT) or not pool:
            pool.append(data)
            if kept is not None:
                (kept / f"{len(coverage.pairs):06}").write_bytes(data)
    now = time.process_time()
    attempt(parser, slowest[1])
    run.slowest = time.process_time() - now
    run.pairs, run.corpus, run.seconds = len(coverage.pairs), len(pool), now - start
    return run


def mutated(choose: random.Random, pool: list[bytes], texts: list[bytes], most: int) -> bytes:
    """An input of the pool, changed in one to eight places."""
    # New ones are taken more often: they are where something was just reached.
    data = pool[max(choose.randrange(len(pool)), choose.randrange(len(pool)))]
    for _ in range(1 << choose.randrange(4)):
        begin = choose.randrange(len(data) + 1)
        end = min(len(data), begin + (1 << choose.randrange(9)))
        piece = data[begin:end]
        match choose.randrange(11):
            case 0 if piece:
                piece = bytes([piece[0] ^ 1 << choose.randrange(8)]) + piece[1:]
            case 1:
                piece = choose.randbytes(choose.randrange(1, 9)) + piece[choose.randrange(9) :]
            case 2:
                piece = b""
            case 3:
                piece = choose.choice(texts) + piece
            case 4:
                piece = choose.choice(texts)
            case 5:
                other = choose.choice(pool)
                at = choose.randrange(len(other) + 1)
                piece = other[at : at + (1 << choose.randrange(12))]
            case 6:
                piece *= choose.choice((2, 3, 17))
            case 7 if choose.random() < 0.05:
                piece *= most // (len(piece) + 1)
            case 8:
                data, begin, end = _other_number(choose, data), 0, 0
                piece = b""
            case 9:
                data, begin, end = _other_value(choose, data), 0, 0
                piece = b""
            case 10 if choose.random() < 0.2:
                data, piece = data[:end], piece
        data = data[:begin] + piece + data[end:]
    return data[:most]


def _other_number(choose: random.Random, data: bytes) -> bytes:
    numbers = list(re.finditer(rb"[0-9]+", data[:100_000]))
    if not numbers:
        return data
    at = choose.choice(numbers)
    other = choose.choice((0, 1, int(at[0][:18]) + 1, 7, 8, 64, 1 << 31, 1 << 63, (1 << 64) - 1, 10**25, 10**400))
    return data[: at.start()] + str(other).encode() + data[at.end() :]


def _other_value(choose: random.Random, data: bytes) -> bytes:
    """The same JSON with another value somewhere."""
    try:
        document = json.loads(data) if len(data) < 1 << 16 else None
    except (ValueError, RecursionError):
        return data
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            walk(value[key])

    walk(document)
    if not places:
        return data
    container, key = choose.choice(places)
    other, other_key = choose.choice(places)
    container[key] = choose.choice((*_ODD, other[other_key]))
    try:
        return json.dumps(document).encode()
    except (ValueError, RecursionError):  # a value within itself
        return data
