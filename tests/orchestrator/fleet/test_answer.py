"""Reading a device's answer: a genuine one, and all that a device may print instead."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.fleet.answer import MAX_ANSWER
from polyarch.fleet.facts import DeviceFacts, Engine, EngineImage
from polyarch.fleet.reasons import FactsFault
from support.device_answers import NONCE, PI_4, device_answer, facts_of
from support.probe_answers import answer

# Written by docker 20.10, podman 4.3, containerd 1.6 and skopeo 1.9: each has one image by digest under a new name.
GENUINE = (Path(__file__).parent / "answers" / "debian-12-every-engine.txt").read_text().splitlines()
INDEX = "sha256:292b0650bb570534308e42bd489ae27f048fed2b98a2a0d306af7a5b416bbe3b"
MANIFEST = "sha256:50f358188035581bf15632edbdd526a3a2624d7134fe03e90f90c29a9fa8d46c"
CONFIG = "sha256:62352612959e6c95640117f64678f23c1aedfec7571e908b47575e27abb90c0a"
DIFF_IDS = (
    "sha256:972f92b71705a05f8ee6d337129bbaab82c3560844b3fab2e98c6e65e3ec15af",
    "sha256:6fcf12ca5cbcb3fbbdac02106beb99b542277120df4e72f1e11d431710e7f7f5",
)
BLOBS = (
    MANIFEST,
    CONFIG,
    "sha256:6ccfe3d9749af225fde1e6357eb4cc53c378173dc30b2f434e26d612c8c7c1f7",
    "sha256:8b84aa39a84f0f66bd4c41e2bf479d2730443555bbe093f2b744b3df1c7b6cff",
)
HERE = "127.0.0.1:5055"
DOCKER = Engine(
    "docker",
    "20.10.24+dfsg1",
    ("/usr/bin/docker",),
    place="/var/lib/docker",
    free=73385256 * 1024,
    images=(
        EngineImage(
            (f"{HERE}/busybox:1.36", f"{HERE}/clock-amd64:1.0", "registry.example/busybox:1.36"),
            CONFIG,
            (INDEX, MANIFEST),
            DIFF_IDS,
        ),
    ),
)
PODMAN = Engine(
    "podman",
    "4.3.1",
    ("/usr/bin/podman",),
    place="/var/lib/containers/storage",
    free=73378304 * 1024,
    images=(EngineImage((f"{HERE}/clock-amd64:1.0", "registry.example/busybox:1.36"), CONFIG, (MANIFEST,), DIFF_IDS),),
)
CONTAINERD = Engine(
    "containerd",
    "1.6.20~ds1",
    ("/usr/bin/ctr",),
    address="/run/containerd/containerd.sock",
    namespace="default",
    place="/var/lib/containerd/io.containerd.content.v1.content",
    free=73376544 * 1024,
    images=(EngineImage((f"{HERE}/clock-amd64:1.0", "registry.example/busybox:1.36"), digests=(MANIFEST,)),),
    blobs=BLOBS,
)
OCI = Engine(
    "oci",
    place="/root/.local/share/polyarch/oci",
    free=73376344 * 1024,
    images=(EngineImage(("registry.example/clock:1",), digests=(MANIFEST,)),),
    blobs=BLOBS,
)


def test_every_fact_of_genuine_engines() -> None:
    facts = facts_of(device_answer(*GENUINE))
    assert facts.engines == (DOCKER, PODMAN, CONTAINERD, OCI)
    assert str(facts.device.platform) == "linux/arm64"
    assert facts.device.board
    assert facts.device.board.model == "Raspberry Pi 4 Model B Rev 1.4"
    assert facts.name == "device"


def test_what_greets_and_what_follows_is_passed_over() -> None:
    text = device_answer(*GENUINE).replace("\n", "\r\n")
    greeted = f"Welcome to pi\x1b[0m\n\npolyarch-device-end {NONCE}\n{text}Connection to pi closed.\n"
    assert facts_of(greeted).engines == (DOCKER, PODMAN, CONTAINERD, OCI)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            ("engine docker", "program /usr/bin/docker", "refused permission denied \x1b[31m"),
            Engine("docker", program=("/usr/bin/docker",), refused="permission denied ?[31m"),
        ),
        (("engine docker", "refused "), Engine("docker", refused="it cannot be used")),
        (("engine podman", "images unknown"), Engine("podman", complete=False)),
        (("engine podman", 'image {"id":images unknown'), Engine("podman", complete=False)),
        (("engine podman", 'image {"id": "sha256:1", "layers": []}'), Engine("podman", complete=False)),
        (("engine docker", f'image {{"id": "{CONFIG}", "layers": ["x"]}}'), Engine("docker", complete=False)),
        (("engine docker", f'image {{"id": "{CONFIG}", "names": 3}}'), Engine("docker", complete=False)),
        (
            ("engine docker", f'image {{"id":"{CONFIG}","names":["<none>:<none>"],"digests":["<none>@<none>"]}}'),
            Engine("docker", images=(EngineImage(id=CONFIG),)),
        ),
        (
            ("engine docker", f'image {{"id":"{CONFIG}","names":null,"digests":null,"layers":null}}'),
            Engine("docker", images=(EngineImage(id=CONFIG),)),
        ),
        # docker 25 and later with containerd's image store: the ID is the digest of the index.
        (
            (
                "engine docker",
                "store containerd",
                f'image {{"id":"{INDEX}","names":["app:1"],"digests":["app@{INDEX}"]}}',
            ),
            Engine("docker", images=(EngineImage(("docker.io/library/app:1",), "", (INDEX,)),), by_digest=True),
        ),
        # Kubernetes names an image by tag, by digest and by its ID.
        (
            (
                "engine containerd",
                "program /usr/local/bin/k3s ctr",
                "sudo yes",
                "address /run/k3s/containerd/containerd.sock",
                "namespace k8s.io",
                f"name docker.io/library/app:1 {INDEX}",
                f"name docker.io/library/app@{INDEX} {INDEX}",
                f"name {CONFIG} {INDEX}",
                "name docker.io/library/broken:1 nothing",
            ),
            Engine(
                "containerd",
                program=("/usr/local/bin/k3s", "ctr"),
                sudo=True,
                address="/run/k3s/containerd/containerd.sock",
                namespace="k8s.io",
                images=(EngineImage(("docker.io/library/app:1", f"docker.io/library/app@{INDEX}"), "", (INDEX,)),),
            ),
        ),
        (("engine oci", "free 12x"), Engine("oci", in_use=False)),
        (("engine oci", "free 99999999999999999999"), Engine("oci", in_use=False)),
        (("engine oci", "layout yes", "index nothing"), Engine("oci", complete=False)),
        (("engine oci", "layout yes", 'index {"manifests":[{"digest":"x"}]}'), Engine("oci", complete=False)),
        (("engine oci", "layout yes", "index {}", "blob sha256:12"), Engine("oci")),
    ],
)
def test_an_engine(lines: tuple[str, ...], expected: Engine) -> None:
    assert facts_of(device_answer(*lines)).engines == (expected,)


def test_engines_that_are_not_known_are_passed_over() -> None:
    facts = facts_of(device_answer("engine nerdctl", "version 1", "engine podman", "colour blue", "version 2"))
    assert facts.engines == (Engine("podman", "2"),)


def test_which_engine_is_taken() -> None:
    refused, podman, layout = Engine("docker", refused="no"), Engine("podman"), Engine("oci", in_use=False)
    facts = DeviceFacts("device", facts_of(device_answer()).device, (refused, podman, layout))
    assert facts.engine() == podman
    assert facts.engine("docker") == refused
    assert facts.engine("oci") == layout
    assert facts.engine("containerd") is None
    assert DeviceFacts("device", facts.device, (refused, layout)).engine() == refused
    assert DeviceFacts("device", facts.device, (layout,)).engine() is None


def test_the_words_that_start_an_engine() -> None:
    assert DOCKER.command == ("/usr/bin/docker",)
    k3s = Engine("containerd", program=("k3s", "ctr"), sudo=True, address="/run/k.sock", namespace="k8s.io")
    assert " ".join(k3s.command) == "sudo -n k3s ctr --address /run/k.sock --namespace k8s.io"


@pytest.mark.parametrize(
    ("clock", "skew"),
    [
        ("1000", 0),
        ("999", 0),
        ("1010", 0),
        ("1011", 1),
        ("1070", 60),
        ("998", -1),
        ("0", -999),
        ("soon", None),
        ("", None),
    ],
)
def test_the_clock_is_held_against_the_time_that_asking_took(clock: str, skew: int | None) -> None:
    facts = facts_of(device_answer(f"clock {clock}"), asked=1000, received=1010)
    assert facts.clock_skew == skew
    assert facts.taken == 1010


WHOLE = device_answer(*GENUINE)
NOISE = random.Random(6).randbytes(10_000_000)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", "integrity", "nothing"),
        ("sh: not found\n\n", "integrity", "sh: not found"),
        ("This account is \x1b[2Jnot available\x07", "integrity", r"\\x1b\[2Jnot available\\x07"),
        (WHOLE.replace(NONCE, "f" * 16), "integrity", "no answer to what it was asked"),
        (WHOLE.replace("polyarch-device 1", "polyarch-device 2"), "integrity", "no answer"),
        (WHOLE[: len(WHOLE) // 2], "unreachable", "cut short"),
        (WHOLE[:-2], "unreachable", "cut short"),
        (device_answer().replace("\nend\n", "\n"), "integrity", "no end"),
        (device_answer(probe="end"), "integrity", "probe"),
        (device_answer(probe="polyarch-probe 2\nuname Linux 6 x86_64\nend"), "integrity", "version"),
        (device_answer(probe=answer(uname="FreeBSD 14 amd64")), "no-variant", "FreeBSD"),
        (device_answer(probe=answer(uname="Linux 6 pdp11")), "no-variant", "pdp11"),
        (NOISE.decode("latin-1"), "integrity", "10000000 characters"),
        (NOISE[: MAX_ANSWER // 2].decode("utf-8", "surrogateescape"), "integrity", "no answer"),
        (f"{'x' * MAX_ANSWER}{WHOLE}", "integrity", "characters"),
        (WHOLE + "y" * MAX_ANSWER, "integrity", "characters"),
    ],
    ids=range(16),
)
def test_what_is_no_answer(text: str, code: str, words: str) -> None:
    with pytest.raises(FactsFault, match=words) as caught:
        facts_of(text)
    assert caught.value.reason_code == code
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


@given(st.text())
def test_any_text_gives_facts_or_a_fault(text: str) -> None:
    with pytest.raises(FactsFault):
        facts_of(text)


@given(st.lists(st.one_of(st.text(), st.sampled_from(GENUINE)), max_size=30))
def test_any_lines_of_engines_give_facts(lines: list[str]) -> None:
    with contextlib.suppress(FactsFault):  # a line may be the last one of an answer, or long
        facts = facts_of(device_answer(*lines))
        assert len({engine.kind for engine in facts.engines}) == len(facts.engines)


@given(st.integers(0, len(WHOLE)), st.integers(0, 40), st.text(max_size=5))
def test_a_damaged_answer_gives_facts_or_a_fault(at: int, cut: int, put: str) -> None:
    with contextlib.suppress(FactsFault):
        assert facts_of(WHOLE[:at] + put + WHOLE[at + cut :]).device


def test_the_probe_alone_is_enough() -> None:
    assert facts_of(device_answer(probe=PI_4)).engines == ()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("forwarding yes",), True),
        (("forwarding no", "engine docker", "forwarding yes"), False),
        (("forwarding perhaps",), None),
        ((), None),
    ],
)
def test_what_it_says_of_forwarding(lines: tuple[str, ...], expected: bool | None) -> None:
    assert facts_of(device_answer(*lines)).forwarding is expected
