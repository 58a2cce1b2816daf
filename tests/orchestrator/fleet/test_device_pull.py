"""What the script that brings images to a device is told, as far as no device is needed to see it."""

from __future__ import annotations

import bisect
import shlex
from collections.abc import Mapping

import pytest

from polyarch.fleet.device_pull import PullOrder, fit_in, layout_values, pull_script, pull_values
from polyarch.fleet.facts import EngineKind
from polyarch.fleet.outcomes import Transport
from polyarch.fleet.planned import DevicePlan, ImagePlan
from support.fleet_plans import digest, engine

MAX_ARG_STRLEN = 128 << 10
"""Bytes of one word of a command line (execve(2))."""
_REST = 8 << 10
"""For what fleet engines put around it, and the check's command."""

_ROOT, _MANIFEST = digest("root"), digest("manifest")
ORDER = PullOrder(f"polyarch/{'0' * 32}", "0" * 64, "rollout 20260101-000000 of user@host" * 6, 600, "true")


def _line(number: int, repository: str, present: bool = False) -> ImagePlan:
    name = f"docker.io/{repository}{number}:1.0"
    return ImagePlan(name, _ROOT, _MANIFEST, name[:-4], "linux/arm64", "exact", present=present, missing_bytes=1)


@pytest.mark.parametrize("repository", ["a/b", "registry/with/a/name/that/is/longer/" * 3])
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("docker", "tunnel"),
        ("docker", "direct"),
        ("docker", "stream"),
        ("podman", "tunnel"),
        ("containerd", "direct"),
        ("oci", "stream"),
    ],
)
def test_as_many_images_as_fit_in_do(kind: EngineKind, how: Transport, repository: str) -> None:
    device = engine(kind, by_digest=True)  # so that no document is needed
    every = tuple(_line(number, repository) for number in range(1500))
    most = bisect.bisect_left(range(1, 1500), True, key=lambda count: not fit_in(every[:count], device))
    assert most > 100
    lines = every[:most]
    values: Mapping[str, str]
    if kind == "oci":
        values = layout_values(device, ORDER, dict.fromkeys(range(most), _MANIFEST), "0" * 64, "0" * 64)
    else:
        plan = DevicePlan("pi", "linux/arm64", None, "exact", kind, lines, None, 0, "will-pull", "")
        values = pull_values(plan, device, {}, ORDER, how)
    told = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    size = len(shlex.quote(told + pull_script()).encode())
    assert MAX_ARG_STRLEN - (50 << 10) < size <= MAX_ARG_STRLEN - _REST


def test_of_a_layout_those_count_that_it_lacks() -> None:
    assert fit_in([_line(number, "a/b", present=True) for number in range(3000)], engine("oci"))
