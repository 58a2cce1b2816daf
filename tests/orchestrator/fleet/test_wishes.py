"""What the inventory's variables ask for."""

from __future__ import annotations

from typing import Any

import pytest

from polyarch.contract import FleetDevice
from polyarch.errors import UsageError
from polyarch.fleet.wishes import DeviceWishes, wishes_of
from polyarch_platforms.platform import parse


def device(**variables: Any) -> FleetDevice:
    return FleetDevice("pi", ("pis",), variables)


def test_what_is_asked_for() -> None:
    images = ["busybox:1.36", "ghcr.io/owner/app:1"]
    asked = device(polyarch_engine="podman", polyarch_platform="armhf", polyarch_images=images)
    assert wishes_of(asked) == DeviceWishes("podman", tuple(images), parse("arm/v7"))
    asked = device(polyarch_engine="docker", polyarch_images="nginx,redis:7 nginx")
    assert wishes_of(asked) == DeviceWishes("docker", ("nginx", "redis:7"))
    assert wishes_of(device(secret={"__ansible_vault": "x"}, port=22)) == DeviceWishes()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"polyarch_engine": "lxc"}, "host pi: polyarch_engine is 'lxc'"),
        ({"polyarch_engine": ["docker"]}, "a text is wanted"),
        ({"polyarch_engine": "{{ engine }}"}, "polyarch_engine is a template"),
        ({"polyarch_platform": "pdp11"}, "host pi: .*pdp11"),
        ({"polyarch_platform": "linux/pdp11"}, "no architecture is called 'pdp11'"),
        ({"polyarch_platform": 386}, "a text is wanted"),
        ({"polyarch_images": 1.36}, "polyarch_images is 1.36, and a text is wanted"),
        ({"polyarch_images": ["app", {"name": "app"}]}, "a text is wanted"),
        ({"polyarch_images": ["{{ registry }}/app"]}, "polyarch_images is a template"),
        ({"polyarch_images": {"__ansible_vault": "x"}}, "a text is wanted"),
    ],
)
def test_a_variable_of_ours_that_is_wrong(variables: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wishes_of(device(**variables))


def test_other_variables_are_nobodys_concern() -> None:
    wishes = wishes_of(device(ansible_host="{{ x }}", polyarch_images=None, polyarch_engine=""))
    assert wishes == DeviceWishes()
