"""What a client says of an image that may be damaged: which commands tell it, and what mends it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from pathlib import Path

from support.docker_registry import skopeo
from support.state_bench import LAYER, Bench, brief, told
from support.state_clients import Done, Polyarch, archived

_RUBBISH = 2 << 20


class Answer(enum.Enum):
    """Of a command to an image that may be damaged."""

    RIGHT = "as if nothing had been"
    TELLS = "fails"
    WRONG = "goes on with what is wrong, without a word"


def _judged(bench: Bench, name: str, done: Done, *, right: bool) -> Answer:
    answer = Answer.TELLS if done.code else Answer.RIGHT if right else Answer.WRONG
    told(bench, f"{name}: {answer.name}: {brief(done)}")
    return answer


def inspected(bench: Bench, shown: str) -> Answer:
    done = bench.client.do(bench.client.inspect("app"))
    return _judged(bench, "inspect", done, right=not shown or done.text == shown)


def runs(bench: Bench, image: str = "app") -> Answer | None:
    """None where a client runs nothing."""
    words = bench.client.run(image)
    if words is None:
        return None
    done = bench.client.do(words)
    return _judged(bench, "run", done, right=bench.images[image].file in done.text)


def saves(bench: Bench, image: str = "app") -> Answer:
    file = bench.client.aside / "saved.tar"
    file.unlink(missing_ok=True)
    done = bench.client.do(bench.client.save(image, file))
    return _judged(bench, "save", done, right=not done.code and _right(bench, image, file))


def _right(bench: Bench, image: str, file: Path) -> bool:
    wanted = bench.images[image]
    return archived(file) == (wanted.config, list(wanted.diff_ids))


def pushes(bench: Bench) -> Answer:
    client, file, right = bench.client, bench.client.aside / "pushed.tar", False
    done = client.do(client.push("app", bench.empty.address))
    if not done.code:
        file.unlink(missing_ok=True)
        name = f"docker://{bench.empty.address}/pushed:1"
        skopeo("copy", "--src-tls-verify=false", name, f"docker-archive:{file}:pushed:1")
        right = _right(bench, "app", file)
    return _judged(bench, "push", done, right=right)


def whole(bench: Bench, image: str = "app") -> bool:
    """It comes out as it was, and runs."""
    return saves(bench, image) is Answer.RIGHT and runs(bench, image) in (None, Answer.RIGHT)


def again(bench: Bench) -> str:
    """How the next try ends, and what stays on the disk after it."""
    before = bench.relay.passed
    done = bench.client.do(bench.client.pull("app"))
    came = bench.relay.passed - before
    told(bench, f"again: {came} bytes, {bench.disk.used - bench.clean} more than after a clean pull: {brief(done)}")
    if done.code:
        return "next fails"
    said = "anew" if came > LAYER * 0.9 else "goes on" if came > LAYER * 0.1 else "next fetches nothing"
    more = bench.disk.used - bench.clean
    if not whole(bench):
        return f"{said}, but then {_named(ask_all(bench), Answer.TELLS)} fail"
    return said + (f", {round(more / 1e6)} MB stay" if more > _RUBBISH else "")


def tellers(bench: Bench, shown: str = "", mended: Callable[[], bool] = lambda: True) -> str:
    """Which commands tell that `app` is damaged, which do wrong without a word, and what mends it.

    `shown` is what `inspect` said of it before; `mended` looks at the files.
    """
    client, found = bench.client, ask_all(bench, shown)

    def sound() -> bool:
        return mended() and set(ask_all(bench, shown).values()) == {Answer.RIGHT}

    said = f"told by {_named(found, Answer.TELLS)}" if Answer.TELLS in found.values() else "told by nothing"
    if Answer.WRONG in found.values():
        said += f", not by {_named(found, Answer.WRONG)}"
    elif Answer.TELLS not in found.values():
        said += ", and nothing goes wrong"
    done = client.do(client.prepare("app"))
    told(bench, f"pull: {brief(done)}")
    if sound():
        return said + "; a pull mends it"
    said += "; a pull does not mend it"
    if isinstance(client, Polyarch):
        done = client.do(["verify", "--repair", client.ref("app")])
        told(bench, f"repair: {brief(done)}")
        said += ", `verify --repair` does" if sound() else ", nor does `verify --repair`"
    return said


def _named(found: Mapping[str, Answer], wanted: Answer) -> str:
    return ", ".join(f"`{name}`" for name, answer in found.items() if answer is wanted)


def ask_all(bench: Bench, shown: str = "") -> dict[str, Answer]:
    """What each command makes of `app`."""
    client = bench.client
    archive, registry = ("copy", "copy to registry") if client.name == "skopeo" else ("save", "push")
    found = {"inspect": inspected(bench, shown), "run": runs(bench)}
    found |= {archive: saves(bench), registry: pushes(bench)}
    if isinstance(client, Polyarch):
        found["verify"] = _judged(bench, "verify", client.do(["verify", client.ref("app")]), right=True)
    return {name: answer for name, answer in found.items() if answer is not None}
