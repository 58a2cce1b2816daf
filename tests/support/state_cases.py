"""What happens to a storage, and what its client then says and does: the cases of `support.state_peers`.

Each gives the words of its cell in the table: `goes on` is a next try that fetches the rest alone, `anew` one that
fetches all of the layer; None where a client has no such thing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from support.processes import await_true
from support.state_answers import again, tellers, whole
from support.state_bench import LAYER, SETTLED, Bench, brief, told
from support.state_clients import Docker, Polyarch

LATER = 10.0
"""Seconds in which a kernel has written down what the folders hold (5, by itself), and not all that files do (30)."""
_RUBBISH = 2 << 20
_SAYS = re.compile("interrupt|cancel|abort|signal", re.IGNORECASE)


def killed(bench: Bench) -> str:
    with bench.midway() as child:
        child.send_signal(signal.SIGKILL)
        child.wait()
    return _shown(bench) + again(bench)


def daemon_killed(bench: Bench) -> str | None:
    if not isinstance(bench.client, Docker):
        return None
    with bench.midway():
        bench.client.die()
    bench.client.start()
    return _shown(bench) + again(bench)


def interrupted(bench: Bench) -> str:
    with bench.midway() as child:
        child.send_signal(signal.SIGINT)
        done = bench.client.end(child)
    told(bench, done.text)
    code = "killed by the signal" if done.code == -signal.SIGINT else str(done.code)
    said = "" if _SAYS.search(done.text) else ", says nothing of it"
    return f"{code}{said}; {_shown(bench)}{again(bench)}"


def _shown(bench: Bench) -> str:
    return "the name is there; " if bench.client.shows("app") else ""


def disk_full(bench: Bench) -> str:
    """It is when half of the layer has come."""
    return _full(bench, LAYER // 2, bench.client.pull("app"))


def unpacking_full(bench: Bench) -> str | None:
    """It is when the layer has come, and half of it is unpacked."""
    if not bench.client.layer_files:
        return None
    return _full(bench, LAYER * 3 // 2, bench.client.prepare("app"))


def _full(bench: Bench, left: int, pull: Sequence[str | Path]) -> str:
    bench.must(bench.client.pull("other"))
    begun = bench.disk.used
    bench.disk.full(left)
    full = bench.disk.used
    done = bench.client.do(pull)
    told(bench, brief(done))
    kept = bench.disk.used - full
    said = [f"fails ({done.code})" if done.code else "pulls"]
    if bench.client.shows("app"):
        said.append("the name is there")
    if not bench.client.shows("other"):
        said.append("the other image is lost")
    if kept > _RUBBISH:
        said.append(f"keeps {round(kept / 1e6)} MB")
    bench.disk.room()
    told(bench, f"kept {kept}, used {bench.disk.used - begun} more than before")
    bench.clean += begun - bench.disk.empty
    return f"{', '.join(said)}; {again(bench)}"


def power_cut(bench: Bench) -> str:
    return _cut(bench, 0)


def power_cut_later(bench: Bench) -> str:
    return _cut(bench, LATER)


def _cut(bench: Bench, wait: float) -> str:
    client = bench.client
    began = time.monotonic()
    bench.must(client.prepare("app"))
    time.sleep(wait)
    bench.disk.power_cut()
    told(bench, f"cut after {time.monotonic() - began:.1f} s")
    client.die()
    bench.disk.mount_again()
    client.start()
    if not client.shows("app"):
        return f"not there; {again(bench)}"
    if whole(bench):
        return "there, and whole"
    return f"there, damaged: {tellers(bench)}"


def layer_turned(bench: Bench) -> str | None:
    if not bench.client.layer_files:
        return None
    bench.must(bench.client.prepare("app"))
    (file,) = [path for path in bench.client.data.glob(bench.client.layer_files) if path.stat().st_size >= LAYER]
    return _turned(bench, [file], LAYER // 2)


def blob_turned(bench: Bench) -> str | None:
    if not bench.client.blobs:
        return None
    bench.must(bench.client.pull("app"))
    return _turned(bench, _with_digest(bench, bench.client.blobs, bench.images["app"].layer), LAYER // 2)


def document_turned(bench: Bench) -> str:
    """In such a way that it still can be read: a digit of a digest, a letter of a variable."""
    bench.must(bench.client.prepare("app"))
    app, docker = bench.images["app"], isinstance(bench.client, Docker)
    files = _with_digest(bench, bench.client.documents, app.config if docker else app.manifest)
    data = files[0].read_bytes()
    at = data.index(b"/usr/local/sbin") + 5 if docker else data.rindex(b"sha256:") + 20
    return _turned(bench, files, at, b"x" if docker else (b"a" if data[at : at + 1] != b"a" else b"b"))


def _with_digest(bench: Bench, pattern: str, digest: str) -> list[Path]:
    files = [path for path in bench.client.data.glob(pattern) if path.is_file()]
    found = [path for path in files if f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" == digest]
    assert found, f"{bench.client.name} has no file with {digest}"
    return found


def _turned(bench: Bench, files: Sequence[Path], at: int, byte: bytes | None = None) -> str:
    shown = bench.must(bench.client.inspect("app")).text
    known = {file: hashlib.sha256(file.read_bytes()).digest() for file in files}
    bench.client.die()
    for file in files:
        with file.open("r+b") as opened:
            opened.seek(at)
            (old,) = opened.read(1)
            opened.seek(at)
            opened.write(byte or bytes([old ^ 1]))
    bench.client.start()
    gone = "" if bench.client.shows("app") else "not listed; "

    def mended() -> bool:
        return all(file.exists() and hashlib.sha256(file.read_bytes()).digest() == known[file] for file in files)

    return gone + tellers(bench, shown, mended)


def names_cut(bench: Bench) -> str:
    client = bench.client
    for image in ("app", "other"):
        bench.must(client.pull(image))
    client.die()
    names = client.data / client.names
    os.truncate(names, names.stat().st_size // 2)
    try:
        client.start()
    except AssertionError as error:
        told(bench, str(error)[-300:])
        return "the daemon does not start"
    asked = {"list": client.lists, "inspect": client.inspect("other"), "pull": client.pull("app")}
    ended = {name: client.do(words) for name, words in asked.items() if words}
    for name, done in ended.items():
        told(bench, f"{name}: {brief(done)}")
    failed = [f"`{name}`" for name, done in ended.items() if done.code]
    said = [f"{', '.join(failed)} fail" if failed else "told by nothing"]
    if isinstance(client, Polyarch):
        done = client.do(["verify", "--repair"])
        told(bench, f"repair: {brief(done)}")
        before = bench.relay.passed
        for image in ("app", "other"):
            bench.must(client.pull(image))
        came = bench.relay.passed - before
        told(bench, f"{came} bytes to have the names again")
        said.append("`verify --repair` keeps the images" if came < _RUBBISH else "the images are lost")
        said.append("pulls give them their names again, and fetch no layer")
    found = {image: client.shows(image) and whole(bench, image) for image in ("app", "other")}
    told(bench, found)
    if not found["other"]:
        said.append("the other images are lost" if found["app"] else "no command mends it")
    return "; ".join(said)


def umask(bench: Bench) -> str:
    """Of folders and files that the client made for itself, the modes; those below its layers are the image's."""
    bench.with_umask(0)
    bench.must(bench.client.pull("app"))
    bench.must(bench.client.login(), "password")
    data = bench.client.data
    modes = {path: path.lstat().st_mode & 0o7777 for path in (data, *data.rglob("*")) if not path.is_symlink()}
    own = {path: mode for path, mode in modes.items() if "diff" not in path.parts}
    loose = sorted(str(path.relative_to(data)) for path, mode in own.items() if mode & 0o022)
    told(bench, f"root {modes[data]:o}; writable by others: {loose[:20]}")
    told(bench, sorted({(path.is_dir(), f"{mode:04o}") for path, mode in own.items()}))
    auth = bench.client.auth_file().stat().st_mode & 0o7777
    said = f"{modes[data]:04o}, auth file {auth:04o}"
    return said + (f"; others may write {len(loose)} of its files" if loose else "")


def at_once(bench: Bench) -> str:
    client = bench.client
    before = len(bench.registry.access_log())
    with bench.midway() as first:
        connections = bench.relay.connections
        second = client.begin(client.pull("app"))
        with contextlib.suppress(AssertionError):
            await_true(lambda: bench.relay.connections > connections, "the second asks", 10)
        time.sleep(SETTLED)
        bench.relay.let_go()
        ended = [client.end(each) for each in (first, second)]
    asked = [each for each in bench.registry.access_log()[before:] if each.blob == bench.images["app"].layer]
    for done in ended:
        told(bench, brief(done))
    said = {1: "once", 2: "twice"}.get(len(asked), f"{len(asked)} times")
    failed = sum(done.code != 0 for done in ended)
    return said + (f", {failed} of both fail" if failed else "") + ("" if whole(bench) else ", damaged")


CASES: Mapping[str, tuple[str, Callable[[Bench], str | None]]] = {
    "killed": ("the client is killed when half of a layer has come", killed),
    "daemon-killed": ("its daemon is", daemon_killed),
    "layer-turned": ("a byte changes in a layer's file that `run` reads", layer_turned),
    "blob-turned": ("… in a layer's blob", blob_turned),
    "document-turned": ("… in the manifest (docker: the config), which can still be read", document_turned),
    "names-cut": ("the file that names the images is cut short", names_cut),
    "disk-full": ("the disk gets full in mid-layer", disk_full),
    "unpacking-full": ("… when half of the layer is unpacked", unpacking_full),
    "power-cut": ("power is cut when a pull has said that it is done", power_cut),
    "power-cut-later": ("… ten seconds later", power_cut_later),
    "umask": ("the umask is 0: the storage's folder; the auth file", umask),
    "at-once": ("two pulls of one image at once: its layer is fetched", at_once),
    "interrupted": ("Ctrl-C when half of a layer has come", interrupted),
}
