"""The images of a fleet against a real registry: resolved once, each blob once, proven before any device is touched."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.errors import IntegrityError, UsageError
from polyarch.events import Event, PullStarted
from polyarch.fleet.plan_json import plan_lines, read_plan
from polyarch.fleet.planned import DevicePlan, Plan
from polyarch.fleet.reasons import FactsFault
from polyarch.lock.lock_file import read_lock
from polyarch.reference import parse_reference
from polyarch.session import Session
from polyarch.settings import load_settings
from polyarch.testing.layout_writer import LayoutWriter, folder, link, regular
from support.docker_registry import DockerRegistry, skopeo_copy
from support.elf_files import PT_LOAD, elf_file
from support.fleet_images import Witness, by_name, controller
from support.fleet_plans import engine, facts, held
from support.layout_files import Layout
from support.processes import free_port

pytestmark = pytest.mark.system

FLEET = {"server": "x86-64-v3", "server2": "x86-64-v2", "four": "pi-4", "old": "pi-2", "old2": "pi-2"}


def verdicts(devices: dict[str, DevicePlan]) -> dict[str, str]:
    """Each device's verdict, or the reason code of one that cannot."""
    return {name: device.reason_code or device.verdict for name, device in devices.items()}


def test_each_blob_comes_once_and_stays(registry: DockerRegistry, tmp_path: Path) -> None:
    """For five devices of three platforms, under two names and by a convention; a second time nothing comes."""
    names = [registry.ref(name) for name in ("busybox:1.36", "busybox:latest", "clock:1.0")]
    witness = Witness(registry)
    with controller(tmp_path) as fleet:
        fleet.want(FLEET, *names)
        planned = fleet.plan().plan
        assert {device.verdict for device in planned.devices} == {"will-pull"}
        devices = fleet.bring()
        assert {one.platform for one in devices["four"].images} == {"linux/arm64"}
        assert {one.platform for one in devices["old"].images} == {"linux/arm/v7"}
        assert devices["server"].images == devices["server2"].images
        blobs = Counter(witness.blobs())
        assert blobs
        assert set(blobs.values()) == {1}
        assert fleet.images.origin_bytes == witness.bytes() == planned.summary.origin_bytes
        lines = [line for device in devices.values() for line in device.images]
        assert set(fleet.images.images) == {line.manifest for line in lines}
        for image in fleet.images.images.values():
            for blob in image.manifest.blobs:
                assert fleet.images.blobs.blob_path(blob.digest).stat().st_size == blob.size
        assert fleet.storage.prune() == (), "all of it has a name"
    # What is found by convention is kept under the name that it has: one name does not hold several roots.
    with controller(tmp_path) as fleet:
        kept = {name: [str(one.platform) for one in fleet.storage.find(parse_reference(name))] for name in names}
        assert {tuple(sorted(kept[name])) for name in names[:2]} == {("linux/amd64", "linux/arm/v7", "linux/arm64")}
        assert kept[names[2]] == []
        assert fleet.storage.find(parse_reference(registry.ref("clock-arm64:1.0")))
        assert fleet.storage.prune() == ()
        witness = Witness(registry)
        fleet.want(FLEET, *names)
        assert fleet.plan().plan.summary.origin_bytes == 0
        assert fleet.bring() == devices
        assert (witness.blobs(), fleet.images.origin_bytes) == ([], 0)


def test_a_name_is_looked_up_once(registry: DockerRegistry, tmp_path: Path) -> None:
    """Whatever the number of kinds of devices, and of plans: also names by convention, and those that are not there."""
    witness = Witness(registry)
    with controller(tmp_path) as fleet:
        fleet.want(FLEET, registry.ref("busybox:1.36"), registry.ref("clock:1.0"))
        fleet.plan()
        fleet.plan()
        fleet.bring()
        asked = Counter(witness.names())
        assert {"GET busybox:1.36", "GET clock:1.0"} <= set(asked)
        assert set(asked.values()) == {1}, asked
        lists = Counter(one.path for one in witness.all() if "/tags/list" in one.path)
        assert set(lists.values()) == {1}, lists
        # Another kind of device, later: what is known by now is not asked for again.
        fleet.want({"late": "pi-3-32bit"}, registry.ref("busybox:1.36"), registry.ref("clock:1.0"))
        assert verdicts(fleet.bring())["late"] == "will-pull"
        assert set(Counter(witness.names()).values()) == {1}


def test_a_plan_needs_no_layer(registry: DockerRegistry, tmp_path: Path) -> None:
    """And when it is pulled after that, its configs do not come again."""
    witness = Witness(registry)
    with controller(tmp_path) as fleet:
        fleet.want(FLEET, registry.ref("busybox:1.36"))
        planned = fleet.plan().plan
        assert planned.summary.origin_bytes > witness.bytes() > 0
        configs = set(witness.blobs())
        assert len(configs) == 3
    with controller(tmp_path) as fleet:
        fleet.want(FLEET, registry.ref("busybox:1.36"))
        fleet.bring()
    assert set(Counter(witness.blobs()).values()) == {1}


def test_one_image_that_fails_is_a_matter_of_its_devices(
    registry: DockerRegistry, authed_registry: DockerRegistry, tmp_path: Path
) -> None:
    wishes = {
        "missing": registry.ref("busybox:no-such-tag"),
        "unknown": registry.ref("no/such/repository:1"),
        "secret": authed_registry.ref("busybox:1.36"),
        "silent": f"127.0.0.1:{free_port()}/busybox:1.36",
        "liar": registry.ref("liar:1.0"),
        "good": registry.ref("busybox:1.36"),
    }
    with controller(tmp_path) as fleet:
        for name, image in wishes.items():
            fleet.want({name: "pi-4"}, image)
        fleet.want({"away": "pi-4"}, registry.ref("busybox:1.36"))
        fleet.known["away"] = FactsFault("away", "offline", "no route")
        devices = fleet.bring()
    assert verdicts(devices) == {
        "missing": "not-found",
        "unknown": "not-found",
        "secret": "unauthorized",
        "silent": "unreachable",
        "liar": "integrity",
        "good": "will-pull",
        "away": "offline",
    }
    assert "the program is 64-bit code for linux/amd64" in devices["liar"].reason
    assert all(device.reason.isprintable() for device in devices.values())


def test_a_variant_that_is_mislabelled_spares_the_others(registry: DockerRegistry, tmp_path: Path) -> None:
    """Its index has a sound variant, too: who is to get that one gets it."""
    directory = tmp_path / "layout"
    layout = LayoutWriter(directory)
    entries = []
    for machine, architecture in ((62, "amd64"), (62, "arm64")):
        labels = {"os": "linux", "architecture": architecture}
        files = [folder("bin"), regular("bin/busybox", elf_file(machine, (PT_LOAD, b"code")), 0o755)]
        files.append(link("bin/sh", "busybox"))
        entries.append({**layout.image(labels, [layout.layer(files, "COPY . /")]), "platform": labels})
    layout.name("half-a-liar:1.0", layout.index(entries))
    layout.finish()
    Layout(directory).push("half-a-liar:1.0", registry.address)
    with controller(tmp_path / "root") as fleet:
        fleet.want({"four": "pi-4", "server": "x86-64-v3"}, registry.ref("half-a-liar:1.0"))
        assert verdicts(fleet.bring()) == {"four": "integrity", "server": "will-pull"}
        assert [str(image.platform) for image in fleet.images.images.values()] == ["linux/amd64"]


@pytest.mark.parametrize(
    ("name", "zero", "platform"), [("arm-only:1.0", "no-variant", "v7"), ("unlabelled-v5:1.0", "will-pull", "v5")]
)
def test_what_states_no_variant_is_proven_here(
    name: str, zero: str, platform: str, registry: DockerRegistry, tmp_path: Path
) -> None:
    """By its programs, for all kinds of devices at once."""
    with controller(tmp_path) as fleet:
        fleet.want({"zero": "pi-zero", "two": "pi-2"}, registry.ref(name))
        planned = by_name(fleet.plan().plan)
        assert (planned["zero"].images[0].unproven, planned["two"].images[0].unproven) == (True, False)
        devices = fleet.bring()
        assert verdicts(devices) == {"zero": zero, "two": "will-pull"}
        for device in devices.values():
            (line,) = device.images
            assert not line.unproven
            assert device.verdict == "cannot" or line.platform == f"linux/arm/{platform}"
        if zero == "no-variant":
            assert "linux/arm/v7" in devices["zero"].reason


def test_what_nothing_proves_is_taken_for_what_everybody_takes_it_for(registry: DockerRegistry, tmp_path: Path) -> None:
    """An arm without a variant and without a program: v7, which a v6 device does not run."""
    directory, labels = tmp_path / "layout", {"os": "linux", "architecture": "arm"}
    layout = LayoutWriter(directory)
    image = layout.image(labels, [layout.layer([regular("data", b"1", 0o644)], "COPY data /")])
    layout.name("data:1.0", layout.index([{**image, "platform": labels}]))
    layout.finish()
    Layout(directory).push("data:1.0", registry.address)
    with controller(tmp_path / "root") as fleet:
        fleet.want({"two": "pi-2", "zero": "pi-zero"}, registry.ref("data:1.0"))
        assert verdicts(by_name(fleet.plan().plan)) == {"two": "will-pull", "zero": "will-pull"}
        assert verdicts(fleet.bring()) == {"two": "will-pull", "zero": "no-variant"}


def test_programs_that_large_pages_cannot_load(registry: DockerRegistry, tmp_path: Path) -> None:
    """Found out only where a device has such pages, and told only to it."""
    directory = tmp_path / "layout"
    layout = LayoutWriter(directory)
    labels = {"os": "linux", "architecture": "arm64"}
    for name, align in (("narrow:1.0", 0x1000), ("wide:1.0", 0x10000)):
        files = [folder("bin"), regular("bin/busybox", elf_file(183, (PT_LOAD, b"code"), align=align), 0o755)]
        files.append(link("bin/sh", "busybox"))
        image = layout.image(labels, [layout.layer(files, f"COPY {align} /")])
        layout.name(name, layout.index([{**image, "platform": labels}]))
    for name in layout.finish():
        Layout(directory).push(name, registry.address)
    with controller(tmp_path / "root") as fleet:
        fleet.want({"four": "pi-4", "five": "pi-5"}, registry.ref("narrow:1.0"))
        fleet.want({"wide": "pi-5"}, registry.ref("wide:1.0"))
        devices = fleet.bring()
        assert verdicts(devices) == {"four": "will-pull", "five": "no-variant", "wide": "will-pull"}
        assert "aligned to 4K, and the device's pages are 16K" in devices["five"].reason


def moved_to(registry: DockerRegistry, name: str, source: str) -> str:
    """Lets a name stand for what another stands for; the whole name."""
    skopeo_copy(f"docker://{registry.ref(source)}", f"docker://{registry.ref(name)}")
    return registry.ref(name)


def test_a_lock_is_kept_to(registry: DockerRegistry, tmp_path: Path) -> None:
    file, name = tmp_path / "polyarch.lock", moved_to(registry, "fleet/locked:1", "busybox:1.36")
    with Session(load_settings(tmp_path / "root", None, {"HOME": str(tmp_path)})) as session:
        session.locks.lock(file, name, ["linux/arm64", "linux/arm/v7"])
    (entry,) = read_lock(file).images
    locked = {str(entry.reference): entry}
    with controller(tmp_path / "root", locked) as fleet:
        fleet.want({"four": "pi-4", "server": "x86-64-v3"}, name)
        assert verdicts(fleet.bring()) == {"four": "will-pull", "server": "no-variant"}
        assert set(fleet.images.images) == {each.manifest for each in entry.variants if each.platform != "linux/arm/v7"}
    moved_to(registry, "fleet/locked:1", "zstd:1.0")
    other = registry.ref("busybox:1.36")
    with controller(tmp_path / "root", locked) as fleet:
        fleet.want({"four": "pi-4"}, name, other)
        with pytest.raises(IntegrityError) as caught:
            fleet.bring()
    assert name in caught.value.message
    assert entry.digest in caught.value.message
    assert caught.value.hint
    assert "polyarch lock --update" in caught.value.hint


def saved(plan: Plan) -> Plan:
    """A plan, written and read again."""
    return read_plan([json.dumps(line) for line in plan_lines(plan)])


def test_a_saved_plan_is_done_though_the_name_moved(registry: DockerRegistry, tmp_path: Path) -> None:
    name = moved_to(registry, "fleet/planned:1", "busybox:1.36")
    with controller(tmp_path / "first") as fleet:
        fleet.want(FLEET, name)
        plan = saved(fleet.plan().plan)
    moved_to(registry, "fleet/planned:1", "zstd:1.0")
    with controller(tmp_path / "second") as fleet:
        fleet.want(FLEET, name)
        devices = fleet.bring_planned(plan)
        assert devices == by_name(plan)
        assert set(fleet.images.images) == {line.manifest for one in plan.devices for line in one.images}
        assert fleet.storage.find(parse_reference(name)) == (), "the name is not said to stand for the older image"
        assert fleet.storage.prune() == ()


def test_a_saved_plan_that_no_longer_fits(registry: DockerRegistry, tmp_path: Path) -> None:
    """What the registry has no more, a device that is another now, one that has it by now; the others go on."""
    name, other = moved_to(registry, "fleet/gone:1", "busybox:1.36"), registry.ref("busybox:1.36")
    with controller(tmp_path / "first") as fleet:
        fleet.want({"gone": "pi-4"}, name)
        fleet.want({"swapped": "pi-4", "same": "pi-4", "away": "pi-4", "has": "pi-4"}, other)
        made = fleet.plan()
        plan = saved(made.plan)
    (line,) = by_name(plan)["gone"].images
    lacking = replace(line, manifest="sha256:" + "0" * 64)
    plan = replace(
        plan, devices=tuple(replace(one, images=(lacking,)) if one.device == "gone" else one for one in plan.devices)
    )
    with controller(tmp_path / "second") as fleet:
        fleet.want({"gone": "pi-4"}, name)
        fleet.want({"swapped": "pi-zero", "same": "pi-4", "away": "pi-4"}, other)
        fleet.known["away"] = FactsFault("away", "timeout", "it did not answer in time")
        content = made.contents[by_name(plan)["has"].images[0].manifest or ""]
        fleet.known["has"] = facts("pi-4", engine("docker", held(content, other)), name="has")
        devices = fleet.bring_planned(plan)
        assert content.manifest in fleet.images.images, "what a device has is compared, if it gets its turn"
    assert verdicts(devices) == {
        "gone": "not-found",
        "swapped": "no-variant",
        "same": "will-pull",
        "away": "timeout",
        "has": "ready",
    }
    assert "no longer fits" in devices["gone"].reason


def test_direct_pulls_bring_what_has_to_be_proven(registry: DockerRegistry, tmp_path: Path) -> None:
    witness = Witness(registry)
    with controller(tmp_path) as fleet:
        fleet.want({"four": "pi-4"}, registry.ref("busybox:1.36"))
        fleet.want({"zero": "pi-zero"}, registry.ref("unlabelled-v5:1.0"))
        made = fleet.images.bring(fleet.plan, fleet.known, direct=True)
        assert verdicts(by_name(made.plan)) == {"four": "will-pull", "zero": "will-pull"}
        assert len(fleet.images.images) == 2
        brought = {image.manifest.config.digest for image in fleet.images.images.values()}
        assert brought <= set(witness.blobs())
        assert len(witness.blobs()) == 2 + 2, "two configs, and the layers of one image"


def test_progress_is_told_of_each_image(registry: DockerRegistry, tmp_path: Path) -> None:
    events: list[Event] = []
    with controller(tmp_path, emit=events.append) as fleet:
        fleet.want(FLEET, registry.ref("busybox:1.36"))
        fleet.bring()
    assert [one.reference for one in events if isinstance(one, PullStarted)] == [registry.ref("busybox:1.36")] * 3


def test_what_is_in_no_registry_is_refused(sample_layout: Path, tmp_path: Path) -> None:
    with controller(tmp_path) as fleet:
        fleet.want({"four": "pi-4"}, f"oci:{sample_layout}:busybox:1.36")
        with pytest.raises(UsageError):
            fleet.plan()
