"""Names as the user's settings describe them."""

from __future__ import annotations

import pytest

from polyarch.contract import Platform, UsageError
from polyarch.reference import parse_reference
from polyarch_platforms.platform import parse
from polyarch_plugins.tag_conventions.template.convention import Template


def names(template: str, reference: str, platform: str) -> list[str]:
    """What one template makes."""
    found = Template({"templates": [template]}).propose(parse_reference(reference), parse(platform))
    return [proposal.reference.familiar for proposal in found]


@pytest.mark.parametrize(
    ("template", "platform", "expected"),
    [
        ("{name}:{tag}-{debian_arch}", "arm/v7", ["ghcr.io/a/b:1.0-armhf"]),
        ("{name}:{tag}-{debian_arch}", "arm/v6", ["ghcr.io/a/b:1.0-armhf", "ghcr.io/a/b:1.0-armel"]),
        ("{name}:{tag}-{debian_arch}", "386", ["ghcr.io/a/b:1.0-i386"]),
        ("{name}:{tag}-{debian_arch}", "ppc64le", ["ghcr.io/a/b:1.0-ppc64el"]),
        ("{name}:{tag}-{docker_arch}", "arm64", ["ghcr.io/a/b:1.0-arm64v8"]),
        ("{name}:{tag}-{kernel_arch}", "arm64", ["ghcr.io/a/b:1.0-aarch64"]),
        ("{name}:{tag}-{kernel_arch}", "amd64", ["ghcr.io/a/b:1.0-x86_64"]),
        ("{name}:{tag}-{kernel_arch}", "arm/v7", ["ghcr.io/a/b:1.0-armv7l"]),
        ("{name}:{tag}-{kernel_arch}", "arm/v6", ["ghcr.io/a/b:1.0-armv6l"]),
        ("{name}:{tag}-{gnu_arch}", "ppc64le", ["ghcr.io/a/b:1.0-powerpc64le"]),
        ("{name}:{os}-{arch}-{variant}-{tag}", "arm/v7", ["ghcr.io/a/b:linux-arm-v7-1.0"]),
        ("{name}:{os}-{arch}-{variant}-{tag}", "arm64", ["ghcr.io/a/b:linux-arm64-1.0"]),
        ("{name}:{tag}-{arch}{variant}", "arm/v7", ["ghcr.io/a/b:1.0-armv7"]),
        ("{name}:{tag}-{arch}{variant}", "arm", ["ghcr.io/a/b:1.0-armv7"]),
        ("{name}-{arch}:{tag}", "arm64", ["ghcr.io/a/b-arm64:1.0"]),
        ("{owner}/{arch}/{base}:{tag}", "arm64", ["ghcr.io/a/arm64/b:1.0"]),
        ("{registry}/mirror/{base}:{tag}.{arch}", "arm64", ["ghcr.io/mirror/b:1.0.arm64"]),
        ("{name}:{tag}-{docker_arch}", "arm/v8", []),
    ],
)
def test_fields(template: str, platform: str, expected: list[str]) -> None:
    assert names(template, "ghcr.io/a/b:1.0", platform) == expected


def test_a_name_without_an_owner() -> None:
    assert names("{owner}/{arch}-{base}:{tag}", "127.0.0.1:5000/app:1", "arm64") == ["127.0.0.1:5000/arm64-app:1"]


def test_what_the_user_wrote_is_sure() -> None:
    [proposal] = Template({"templates": ["{name}:{tag}-{debian_arch}"]}).propose(
        parse_reference("a/b:1"), parse("arm/v7")
    )
    assert proposal.certainty == "sure"


def test_another_system_has_to_be_named() -> None:
    plain = Template({"templates": ["{name}:{tag}-{arch}"]})
    assert list(plain.propose(parse_reference("a/b:1"), Platform("windows", "amd64"))) == []
    assert [
        each.reference.tag
        for each in Template({"templates": ["{name}:{tag}-{os}-{arch}"]}).propose(
            parse_reference("a/b:1"), Platform("windows", "amd64")
        )
    ] == ["1-windows-amd64"]


@pytest.mark.parametrize(
    ("template", "tag", "version", "meant"),
    [
        ("{name}:{tag}-{debian_arch}", "1.0-armhf", "1.0", ["linux/arm/v7", "linux/arm/v6"]),
        ("{name}:{tag}-{debian_arch}", "1.0-amd64", "1.0", ["linux/amd64"]),
        ("{name}:{debian_arch}.on.{tag}", "armel.on.2-x", "2-x", ["linux/arm/v6", "linux/arm/v5"]),
        ("{name}:{tag}-{arch}{variant}", "1.0-amd64v3", "1.0", ["linux/amd64/v3"]),
        ("{registry}/{name}:build-{tag}-for-{docker_arch}", "build-7-for-arm64v8", "7", ["linux/arm64"]),
    ],
)
def test_readings(template: str, tag: str, version: str, meant: list[str]) -> None:
    reading = Template({"templates": [template]}).read(tag)
    assert reading
    assert (reading.version, [str(each) for each in reading.platforms]) == (version, meant)


def test_what_is_of_no_template_is_not_read() -> None:
    template = Template({"templates": ["{name}:{tag}-{debian_arch}", "{name}-{arch}:{tag}"]})
    for tag in ("1.0", "1.0-sparc", "-armhf", "arm64-1.0", "1.0-armhf-slim", ""):
        assert template.read(tag) is None, tag


def test_without_templates_nothing_is_thought_of() -> None:
    assert list(Template({}).propose(parse_reference("a/b:1"), parse("arm64"))) == []
    assert Template({}).read("1-arm64") is None


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{name}:{tag}-{deb_arch}", "there is no field {deb_arch}"),
        ("{name}:{tag}-{board}", "there is no field {board}"),
        ("{name}:{tag}-{arch", "a brace is left over"),
        ("{name}:{tag}-{Arch}", "a brace is left over"),
        ("{name}:{arch}", "{tag} has to stand behind the colon"),
        ("{tag}/{name}-{arch}", "{tag} has to stand behind the colon"),
        ("{name}:{tag}-{tag}-{arch}", "{tag} has to stand behind the colon"),
        ("{name}-{arch}", "{tag} has to stand behind the colon"),
        ("{name}:{tag}-arm64", "no word for the architecture"),
        ("{name}:{tag}-{os}{variant}", "no word for the architecture"),
        ("{name} {arch}:{tag}", "no image reference"),
        ("", "{tag} has to stand behind the colon"),
    ],
)
def test_broken_templates_are_named(template: str, why: str) -> None:
    with pytest.raises(UsageError, match=r"\[options.template\]") as caught:
        Template({"templates": ["{name}:{tag}-{arch}", template]})
    assert repr(template) in str(caught.value)
    assert why in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"template": []}, "'template'"),
        ({"templates": "{name}"}, "a list"),
        ({"templates": [7]}, "7"),
        ({"templates": [{"name": 1}]}, "name"),
    ],
)
def test_broken_options_are_named(options: dict[str, object], what: str) -> None:
    with pytest.raises(UsageError, match=r"\[options.template\]") as caught:
        Template(options)
    assert what in str(caught.value)
