"""Asking the devices of a fleet what they are, and what they have."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from typing import TypeAlias

from polyarch.contract.fleet import FleetDevice, FleetEngine, FleetResult, FleetStatus, FleetTask
from polyarch.errors import HostError, StorageError, printable
from polyarch.events import Emit, Warned
from polyarch.fleet.answer import parse_answer
from polyarch.fleet.device_script import device_script
from polyarch.fleet.facts import DeviceFacts
from polyarch.fleet.interrupt import Interrupt
from polyarch.fleet.reasons import FactsFault, ReasonCode
from polyarch.verbs.fleet.facts_cache import FactsCache

Answer: TypeAlias = DeviceFacts | FactsFault

_LOOPBACK = "127.0.0.1"

_FAULTS: Mapping[FleetStatus, tuple[ReasonCode, str, str | None]] = {
    "offline": ("offline", "nothing answers there", "switch it on; --wait-offline comes back to it"),
    "unreachable": ("unreachable", "the connection broke", "ask it again"),
    "unauthorized": (
        "unauthorized",
        "it let nobody in",
        "look at the user and the key that the inventory gives it; no password is ever asked for",
    ),
    "host-key": (
        "host-key",
        "it shows another key than the one that is known, or none is known",
        "find out why; where it was set up anew: ssh-keygen -R HOST, then connect once by hand",
    ),
    "no-forwarding": ("no-forwarding", "it lets no port be forwarded", None),
    "timeout": ("timeout", "it did not answer in time", "give it more time with --timeout"),
    "skipped": ("interrupted", "it was not asked any more", None),
    "interrupted": ("interrupted", "asking it was ended from here", None),
}
"""For each way of going wrong: reason code, words, hint."""


def gather(
    engine: FleetEngine,
    devices: Sequence[FleetDevice],
    *,
    forks: int,
    timeout: float,
    interrupt: Interrupt | None = None,
) -> Generator[tuple[str, Answer], None, None]:
    """Ask each device, `forks` at once, `timeout` seconds each: its name, and its facts or why there are none.

    In the order in which they answer, each exactly once. Whatever a device answers, the others go on. A port of this
    loopback is offered to see whether they can be tunneled to. Closing the iterator (`contextlib.closing`) ends what is
    under way. By `interrupt` nobody more is asked, and when that ends nobody is waited for. Raises HostError, and what
    the engine raises where it cannot run at all.
    """
    if not devices:
        return
    nonce = secrets.token_hex(16)
    waiting = dict.fromkeys(device.name for device in devices)
    tasks = [FleetTask(device) for device in devices]
    begun = time.time()
    with (
        _listener() as listener,
        engine.run(
            device_script(nonce),
            tasks,
            forks=forks,
            timeout=timeout,
            reach=listener.getsockname()[1],
            must_reach=False,
        ) as run,
        interrupt.watching(run, tuple(waiting)) if interrupt else nullcontext(),
    ):
        for event in run:
            if isinstance(event, FleetResult) and event.device in waiting:
                del waiting[event.device]
                yield event.device, _answer(event, nonce, begun)
    for name in waiting:
        yield name, FactsFault(name, "internal", "the fleet engine says nothing of it")


def gather_with_cache(
    engine: FleetEngine,
    devices: Sequence[FleetDevice],
    cache: FactsCache,
    emit: Emit,
    *,
    forks: int,
    timeout: float,
    max_age: float = 0,
    interrupt: Interrupt | None = None,
) -> Generator[tuple[str, Answer], None, None]:
    """As `gather`; of which devices there are facts of at most `max_age` seconds, those are not asked.

    What the others tell is kept. A cache that cannot be written is told, and done without.
    """
    unknown: list[FleetDevice] = []
    for device in devices:
        known = cache.get(device.name, max_age) if max_age > 0 else None
        if known is None:
            unknown.append(device)
        else:
            yield device.name, known
    kept = True
    with closing(gather(engine, unknown, forks=forks, timeout=timeout, interrupt=interrupt)) as answers:
        for name, answer in answers:
            if kept and isinstance(answer, DeviceFacts):
                try:
                    cache.put(answer)
                except StorageError as error:
                    kept = False
                    emit(Warned(f"facts of devices are not kept: {error.message}"))
            yield name, answer


def _listener() -> socket.socket:
    try:
        return socket.create_server((_LOOPBACK, 0))
    except OSError as error:
        raise HostError(f"cannot listen on {_LOOPBACK}: {error.strerror or error}") from error


def _answer(result: FleetResult, nonce: str, begun: float) -> Answer:
    """What became of asking a device; `begun` is when the asking of all began."""
    fault = _FAULTS.get(result.status)
    said = printable(_last(result.error.splitlines()), 500)
    if fault is not None:
        code, words, hint = fault
        return FactsFault(result.device, code, f"{words}: {said}" if said else words, hint)
    # An engine that tells no times leaves them 0.
    asked, received = result.began or begun, result.ended or time.time()
    try:
        return parse_answer(result.device, result.output, nonce, asked=asked, received=received)
    except FactsFault as error:
        if result.status == "done":
            return error
        ended = "its shell did not end" if result.code is None else f"its shell ended with {result.code}"
        why = f"{ended}: {said}" if said else f"{ended}; {error.reason}"
        return FactsFault(result.device, error.reason_code, why, error.hint)


def _last(lines: Iterable[str]) -> str:
    return next((line.strip() for line in reversed(list(lines)) if line.strip()), "")
