"""What a command of `support.disk_cases` left of what is below a root, held against what was and shall be there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyarch.container.record import read_record
from support.device_folder import brought_twice, lacking, left_behind, seen_device, succeeded, told_of
from support.disk_cases import CASES, FLEET, RESUME, DiskCase, DiskSite
from support.failing_calls import KILL, Fault
from support.seen_layout import SeenLayout, seen_layout


@dataclass(frozen=True)
class Below:
    """What is below a root: the storage, container -> manifest, and file -> size of every layer made ready.

    `device` is what a fleet's device has, `told` what was written down of rollouts.
    """

    layout: SeenLayout
    containers: dict[str, str]
    layers: dict[str, frozenset[tuple[str, int]]]
    device: SeenLayout
    told: list[dict[str, Any]]


def below(root: Path) -> Below:
    """Reads and checks it as it lies there."""
    place = root / "containers"
    records = [read_record(path) for path in place.iterdir() if path.is_dir()] if place.is_dir() else []
    layers = {}
    for form in ("erofs", "trusted", "user", "fuse"):
        for layer in (root / "snapshots" / form).glob("[0-9a-f]*"):
            files = [path for path in layer.rglob("*") if path.is_file() and not path.is_symlink()]
            layers[f"{form}/{layer.name}"] = frozenset(
                (str(path.relative_to(layer)), path.stat().st_size) for path in files
            )
    containers = {each.name: each.manifest for each in records if each}
    return Below(seen_layout(root / "oci"), containers, layers, seen_device(root), told_of(root))


@dataclass(frozen=True, slots=True)
class Tried:
    """A command that met a fault at the call `met` ("" where there was no such call), and what went wrong."""

    met: str
    wrong: list[str]


def tried(
    site: DiskSite, name: str, call: str = "", number: int = 0, fault: Fault = 0, *, device: bool = False
) -> Tried:
    """How a command takes a fault, or being killed, and how the next try ends; `device`: it is its device that is."""
    case = CASES[name]
    before, end = started(site, name), ended(site, name)
    site.begin(name)
    watched = site.do(case.words, case.stdin, call=call, number=number, fault=fault, device=device)
    wrong = []
    if fault == KILL and not device:
        if watched.code not in (0, -9):
            wrong.append(f"ended with {watched.code}: {site.told}")
    else:
        failed = 6 if fault == KILL else 125 if case.starts else 9
        if watched.code not in (0, failed):
            wrong.append(f"ended with {watched.code}: {site.told}")
        if "Traceback" in site.told or (watched.code and "error: " not in site.told):
            wrong.append(f"said: {site.told}")
    try:
        after = below(site.root)
        wrong += differences(case, site.word(case.name), before, after, end, site.told, done=watched.code == 0)
        missing = lacking(end.layout, after.layout, site.sizes), lacking(end.device, after.device, site.sizes)
    except (AssertionError, ValueError, OSError) as error:
        return Tried(watched.met, [f"{name}: {watched.met}: {fault}: what is left is damaged: {error!r}"])
    wrong += [f"the next try: {each}" for each in _wrong_again(site, name, end, missing, resumes=number % 2 == 1)]
    where = f"{name}: {call or 'call'} {number} {fault} ({watched.met or 'nothing'})"
    return Tried(watched.met, [f"{where}: {each}" for each in wrong])


def _wrong_again(site: DiskSite, name: str, end: Below, missing: tuple[int, int], *, resumes: bool) -> list[str]:
    """What is wrong with the next try, when these bytes are missing here and on the device."""
    case, wrong = CASES[name], []
    begun = len(told_of(site.root))
    code = 2
    if case.fleet and (resumes or case.words == RESUME):
        code = site.again(RESUME)
    if code == 2:  # there is none to go on with
        code = site.again(FLEET if case.fleet else case.words, case.stdin)
    if code not in (0, case.gone):
        wrong.append(f"ended with {code}: {site.told}")
    try:
        now = below(site.root)
        # Who goes on with a rollout asks for what was planned, by its digest.
        names, wanted = (
            {name: found for name, found in each.layout.names.items() if "@" not in name} for each in (now, end)
        )
        if (names, now.containers.keys()) != (wanted, end.containers.keys()):
            wrong.append("it came to another end")
        elif not now.layout.images >= end.layout.images or not now.layers.items() >= end.layers.items():
            wrong.append(f"it left {sorted(now.layers)} for {sorted(end.layers)}")
        if now.device != end.device:
            wrong.append("the device does not have what it should")
        if case.fleet:
            wrong += brought_twice(now.told[begun:], missing) + left_behind(site.root, device=missing[1] > 0)
        wrong += leftovers(site)
        if not below(site.root).layers.items() <= end.layers.items():
            wrong.append("layers are left that nobody needs")
    except (AssertionError, ValueError, OSError) as error:
        wrong.append(f"it left it damaged: {error!r}")
    return wrong


_STARTS: dict[tuple[Path, str], Below] = {}
_ENDS: dict[tuple[Path, str], Below] = {}


def started(site: DiskSite, name: str) -> Below:
    """What is there before a case."""
    key = (site.place, name)
    if key not in _STARTS:
        site.begin(name)
        _STARTS[key] = below(site.root)
    return _STARTS[key]


def ended(site: DiskSite, name: str) -> Below:
    """What is there after a case without faults."""
    key = (site.place, name)
    if key not in _ENDS:
        site.begin(name)
        done = site.do(CASES[name].words, CASES[name].stdin)
        assert done.code == 0, site.told
        _ENDS[key] = below(site.root)
        blobs = site.root.rglob("blobs/sha256/*")
        site.sizes.update((f"sha256:{path.name}", path.stat().st_size) for path in blobs)
    return _ENDS[key]


def differences(
    case: DiskCase, changed: str, before: Below, after: Below, end: Below, told: str, *, done: bool
) -> list[str]:
    """Whether what is there is neither as before nor as it shall be in the end, in any part; `changed` is a name."""
    wrong = []
    for name in before.layout.names.keys() | after.layout.names.keys():
        now = after.layout.names.get(name)
        # Of several platforms one comes after the other, each of them whole.
        whole = now is None or now <= end.layout.names.get(name, frozenset()) | before.layout.names.get(
            name, frozenset()
        )
        if now != before.layout.names.get(name) and not ((name == changed or case.fleet) and whole):
            wrong.append(f"{name} is another one")
    if not case.loses and not before.layout.images <= after.layout.images:
        wrong.append("an image is lost")
    if not before.layout.images & end.layout.images <= after.layout.images:
        wrong.append("an image is lost that nobody gave up")
    for name in before.containers.keys() & end.containers.keys():
        if after.containers.get(name) != before.containers[name]:
            wrong.append(f"the container {name} is lost")
    if done and not end.containers.keys() <= after.containers.keys():
        wrong.append("it said that it was done, and the container is not there")
    wrong += [
        f"the layer {name} is not whole"
        for name, files in after.layers.items()
        if files != end.layers.get(name, before.layers.get(name))
    ]
    wrong += [
        f"the device has another {name}"
        for name, now in after.device.names.items()
        if now not in (before.device.names.get(name), end.device.names.get(name))
    ]
    if not before.device.names.keys() <= after.device.names.keys() or not before.device.blobs <= after.device.blobs:
        wrong.append("the device lost something")
    if succeeded(after.told[len(before.told) :]) and after.device.names != end.device.names:
        wrong.append("the device is told to have what it has not")
    if done and case.fleet and after.device.names != end.device.names:
        wrong.append("it said that it was done, and the device has it not")
    if done and after.layout.names != end.layout.names and "stay: the record" not in told:
        wrong.append("it said that it was done, and is not")
    return wrong


def leftovers(site: DiskSite) -> list[str]:
    """What is left behind that nobody needs, once it was tidied."""
    if code := site.again(("image", "prune", "-f")):
        return [f"prune ended with {code}: {site.told}"]
    if site.again(("ps", "-a")):
        return [f"ps: {site.told}"]
    now = below(site.root)
    wrong = [f"{len(extra)} blobs are left" for extra in [now.layout.blobs - now.layout.needed] if extra]
    private = site.root / "oci" / ".polyarch"
    left = [*private.glob("partial/*"), *private.glob("leases/*"), *(site.root / "snapshots").glob("*/.*")]
    left += [*(site.root / "temporary").glob("*"), *site.root.glob(".*")]
    left += [
        path
        for path in (site.root / "containers").glob("*/")
        if path.is_dir() and not (path / "container.json").exists()
    ]
    return wrong + [f"{path} is left" for path in left]
