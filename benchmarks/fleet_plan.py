"""Planning a fleet of 10,000 devices and 20 images from recorded facts: `python -m benchmarks.fleet_plan`.

Twelve kinds of devices, all engines; a third of them has everything, a third has older versions, a third has nothing.
The facts are read from a file, as between two commands; the plan is written and read back. Prints the seconds and the
peak of the memory of each step.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from polyarch.fleet.facts import DeviceFacts, Engine, EngineImage, EngineKind
from polyarch.fleet.facts_json import FactsReader, facts_to_json
from polyarch.fleet.offers import Content, Layer, Offer
from polyarch.fleet.plan import Asked, make_plan, needed
from polyarch.fleet.plan_json import plan_lines, read_plan
from polyarch.fleet.planned import PlanSettings, Wish
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.media_types import OCI_MANIFEST
from polyarch.reference import parse_reference
from polyarch.selection.types import Candidate
from polyarch_platforms import named
from polyarch_platforms.platform import parse

KINDS = (
    *("pi-zero", "pi-2", "pi-3", "pi-3-32bit", "pi-4", "pi-5", "pi-zero-2", "pi-4-32bit"),
    *("x86-64-v1", "x86-64-v2", "x86-64-v3", "x86-64-v4"),
)
PLATFORMS = ("amd64", "arm64", "arm/v7", "arm/v6", "386", "riscv64", "s390x", "ppc64le")
ENGINES: tuple[EngineKind, ...] = ("docker", "podman", "containerd", "oci")
LAYERS = 6


def digest(*words: object) -> Digest:
    """A digest that stands for these words."""
    return f"sha256:{hashlib.sha256(repr(words).encode()).hexdigest()}"


def content(image: int, platform: str, version: int) -> Content:
    """A variant; half of its layers stay from one version to the next."""
    layers = []
    for i in range(LAYERS):
        words = (image, platform, i, version if i >= LAYERS // 2 else 0)
        layers.append(Layer(digest("layer", *words), 1_000_000 + i, digest("diff", *words), 2_500_000))
    return Content(
        digest("manifest", image, platform, version), digest("config", image, platform, version), 2_000, tuple(layers)
    )


def offers(images: int) -> tuple[dict[str, Offer], dict[Digest, Content]]:
    """The images, and the content of every variant."""
    made, contents = {}, {}
    for image in range(images):
        reference = parse_reference(f"registry.example/team/app-{image}:2")
        candidates, roots = [], {}
        for platform in PLATFORMS:
            variant = content(image, platform, 2)
            contents[variant.manifest] = variant
            roots[variant.manifest] = digest("index", image, 2)
            manifest = Descriptor(OCI_MANIFEST, variant.manifest, 1_500)
            candidates.append(Candidate(parse(platform), manifest, reference, "index"))
        made[str(reference)] = Offer(reference, tuple(candidates), roots)
    return made, contents


def engine(kind: EngineKind, platform: str, state: int, images: int) -> Engine:
    """An engine that has all images (state 0), all in an older version (1) or none (2)."""
    if state == 2:
        return Engine(kind, "1.0", ("/usr/bin/engine",), place="/var/lib/engine", free=64 << 30)
    version = 2 - state
    held, blobs = [], []
    for image in range(images):
        variant = content(image, platform, version)
        name = f"registry.example/team/app-{image}:2"
        by_id = kind in ("docker", "podman")
        diff_ids = tuple(layer.diff_id for layer in variant.layers) if by_id else ()
        held.append(EngineImage((name,), variant.config if by_id else "", (variant.manifest,), diff_ids))
        blobs += [variant.manifest, variant.config, *(layer.digest for layer in variant.layers)]
    stored = () if kind in ("docker", "podman") else tuple(blobs)
    return Engine(kind, "1.0", ("/usr/bin/engine",), free=64 << 30, images=tuple(held), blobs=stored)


def recorded(path: Path, devices: int, images: int) -> None:
    """Writes the facts of so many devices, a line each."""
    kinds = [named.named(name) for name in KINDS]
    lines: dict[tuple[int, int, int], str] = {}
    with path.open("w") as file:
        for number in range(devices):
            key = (number % len(kinds), number % len(ENGINES), number % 3)
            if key not in lines:
                device = replace(kinds[key[0]], name="")
                platform = str(device.platform).removeprefix("linux/")
                facts = DeviceFacts("NAME", device, (engine(ENGINES[key[1]], platform, key[2], images),), 0, 1.0)
                lines[key] = facts_to_json(facts)
            file.write(lines[key].replace("NAME", f"device-{number:05}") + "\n")


def asked(path: Path, wanted: tuple[str, ...]) -> Iterator[Asked]:
    """The devices out of the file, one after the other."""
    reader = FactsReader()
    with path.open() as file:
        for line in file:
            facts = reader.read(line)
            yield Wish(facts.name, wanted), facts


def main(devices: int = 10_000, images: int = 20) -> int:
    """Run it and print what it took; 1 where it took more than 10 s or 300 MB."""
    with tempfile.TemporaryDirectory() as folder:
        facts, plan_file = Path(folder) / "facts.jsonl", Path(folder) / "plan.jsonl"
        recorded(facts, devices, images)
        made, contents = offers(images)
        print(f"{devices} devices of {len(KINDS)} kinds, {images} images, {facts.stat().st_size / 1e6:.0f} MB of facts")
        start = began = _now()
        fleet = list(asked(facts, tuple(made)))
        began = _told("reading the facts", began)
        variants = needed(fleet, made, PlanSettings())
        began = _told(f"which variants are needed ({len(variants)})", began)
        plan = make_plan(fleet, made, contents, PlanSettings())
        began = _told("the plan", began)
        took, memory = [now - then for now, then in zip(began, start, strict=True)], _memory()
        with plan_file.open("w") as file:
            file.writelines(json.dumps(line) + "\n" for line in plan_lines(plan))
        began = _told(f"writing it ({plan_file.stat().st_size / 1e6:.0f} MB)", began)
        with plan_file.open() as file:
            again = read_plan(file)
        _told("reading it back", began)
        assert again == plan
        print(plan.summary)
    print(f"planning: {took[0]:.1f} s ({took[1]:.1f} s of CPU), {memory:.0f} MB")
    return int(took[0] > 10 or memory > 300)


def _now() -> tuple[float, float]:
    """The clock's time and the processor's."""
    return time.perf_counter(), time.process_time()


def _told(what: str, began: tuple[float, float]) -> tuple[float, float]:
    now = _now()
    print(f"{now[0] - began[0]:6.2f} s {now[1] - began[1]:6.2f} s of CPU {_memory():5.0f} MB  {what}")
    return now


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
