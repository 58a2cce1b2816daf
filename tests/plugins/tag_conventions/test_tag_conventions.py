"""The names that the built-in conventions think of, held against names that people really gave.

The rows of the three tables were seen in READMEs, compose files, build scripts and issues of public repositories.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.contract import Platform, Reference, TagConvention
from polyarch.reference import parse_reference
from polyarch_platforms.architecture import load
from polyarch_platforms.platform import parse
from polyarch_plugins.tag_conventions.namespace.convention import Namespace
from polyarch_plugins.tag_conventions.prefix.convention import Prefix
from polyarch_plugins.tag_conventions.repository_suffix.convention import RepositorySuffix
from polyarch_plugins.tag_conventions.suffix.convention import Suffix

CONVENTIONS: tuple[TagConvention, ...] = (Suffix(), Prefix(), Namespace(), RepositorySuffix())


def names(convention: TagConvention, reference: str, platform: str) -> list[str]:
    """The familiar names that a convention proposes."""
    asked = parse(platform)
    proposals = list(convention.propose(parse_reference(reference), asked))
    assert all(proposal.platform == asked for proposal in proposals)
    return [proposal.reference.familiar for proposal in proposals]


@pytest.mark.parametrize(
    ("reference", "platform", "name"),
    [
        ("haugene/transmission-openvpn", "arm/v7", "haugene/transmission-openvpn:latest-armhf"),
        ("netdata/netdata", "arm/v7", "netdata/netdata:latest-armhf"),
        ("pihole/pihole:v4.0", "arm/v7", "pihole/pihole:v4.0_armhf"),
        ("pihole/pihole:debian", "arm/v7", "pihole/pihole:debian_armhf"),
        ("functions/markdownrender", "arm/v6", "functions/markdownrender:latest-armhf"),
        ("vllm/vllm-openai", "arm64", "vllm/vllm-openai:latest-aarch64"),
        ("vllm/vllm-openai-cpu", "amd64", "vllm/vllm-openai-cpu:latest-x86_64"),
        ("rayproject/ray", "arm64", "rayproject/ray:latest-aarch64"),
        ("mysql/mysql-server", "arm64", "mysql/mysql-server:latest-aarch64"),
        ("bellsoft/liberica-openjdk-alpine", "arm64", "bellsoft/liberica-openjdk-alpine:latest-aarch64"),
        ("duckietown/rh4-exe21a", "arm/v7", "duckietown/rh4-exe21a:latest-arm32v7"),
        ("bluenviron/mediamtx", "arm/v7", "bluenviron/mediamtx:latest-rpi"),
        ("n8nio/n8n", "arm/v6", "n8nio/n8n:latest-rpi"),
        ("aler9/rtsp-simple-server:v0.17.0", "arm/v7", "aler9/rtsp-simple-server:v0.17.0-armv7"),
        ("aler9/rtsp-simple-server:v0.17.0", "arm/v6", "aler9/rtsp-simple-server:v0.17.0-armv6"),
        ("leto1210/duplicacy-web-arm", "arm64", "leto1210/duplicacy-web-arm:latest-arm64"),
        ("rustdesk/rustdesk-server", "arm64", "rustdesk/rustdesk-server:latest-arm64v8"),
        ("rustdesk/rustdesk-server-s6", "386", "rustdesk/rustdesk-server-s6:latest-i386"),
        ("rustdesk/rustdesk-server-s6", "arm/v7", "rustdesk/rustdesk-server-s6:latest-armv7"),
        ("ghcr.io/unpoller/unpoller", "arm64", "ghcr.io/unpoller/unpoller:latest-arm64v8"),
        ("gcr.io/distroless/static", "s390x", "gcr.io/distroless/static:latest-s390x"),
        ("calico/felix", "amd64", "calico/felix:latest-amd64"),
        ("ghcr.io/containerd/alpine", "ppc64le", "ghcr.io/containerd/alpine:latest-ppc64le"),
        ("nginxinc/nginx-unprivileged", "mips64le", "nginxinc/nginx-unprivileged:latest-mips64le"),
        ("johannweging/mosquitto", "arm/v6", "johannweging/mosquitto:latest-arm32v6"),
        ("public.ecr.aws/sam/build-python3.12", "amd64", "public.ecr.aws/sam/build-python3.12:latest-x86_64"),
        ("drone/drone-runner-kube", "arm64", "drone/drone-runner-kube:latest-linux-arm64"),
        ("drone/drone-runner-kube", "arm/v7", "drone/drone-runner-kube:latest-linux-arm"),
        ("thomx/fr24feed-piaware", "arm/v7", "thomx/fr24feed-piaware:latest-arm-v7"),
        ("virtualzone/landroid-bridge", "arm/v7", "virtualzone/landroid-bridge:arm32v7"),
        ("bastilimbach/docker-magicmirror", "arm/v7", "bastilimbach/docker-magicmirror:arm"),
        ("portainer/portainer", "arm64", "portainer/portainer:linux-arm64"),
        ("bastilimbach/docker-magicmirror", "386", "bastilimbach/docker-magicmirror:i386"),
        ("vascoguita/raspios", "arm64", "vascoguita/raspios:arm64"),
        ("vllm/vllm-openai", "arm64", "vllm/vllm-openai:aarch64"),
        ("quay.io/coreos/flannel:v0.11.0", "arm/v7", "quay.io/coreos/flannel:v0.11.0-arm"),
        ("quay.io/coreos/flannel:v0.11.0", "ppc64le", "quay.io/coreos/flannel:v0.11.0-ppc64le"),
        ("philiplehmann/mailhog", "386", "philiplehmann/mailhog:latest-386"),
        ("devdotnetorg/libgpiod:2.1.2-alpine", "riscv64", "devdotnetorg/libgpiod:2.1.2-alpine-riscv64"),
        ("mikenye/fr24feed", "arm64", "mikenye/fr24feed:latest_arm64"),
        ("elijahru/distcc-client-debian-buster", "arm/v5", "elijahru/distcc-client-debian-buster:latest-arm32v5"),
    ],
)
def test_suffixes_of_tags(reference: str, platform: str, name: str) -> None:
    assert name in names(Suffix(), reference, platform)


@pytest.mark.parametrize(
    ("reference", "platform", "name"),
    [
        ("alpine:3.18", "arm/v7", "arm32v7/alpine:3.18"),
        ("traefik:1.7.9", "arm/v6", "arm32v6/traefik:1.7.9"),
        ("golang:1.12.1-alpine", "arm/v6", "arm32v6/golang:1.12.1-alpine"),
        ("debian:10.1", "arm64", "arm64v8/debian:10.1"),
        ("registry", "arm64", "arm64v8/registry:latest"),
        ("ros:humble", "arm64", "arm64v8/ros:humble"),
        ("debian:stretch", "arm/v5", "arm32v5/debian:stretch"),
        ("debian:stretch", "386", "i386/debian:stretch"),
        ("debian:stretch", "amd64", "amd64/debian:stretch"),
        ("busybox", "ppc64le", "ppc64le/busybox:latest"),
        ("busybox", "s390x", "s390x/busybox:latest"),
        ("alpine:edge", "riscv64", "riscv64/alpine:edge"),
        ("debian:buster", "mips64le", "mips64le/debian:buster"),
        # copies of Docker Hub's official images elsewhere
        ("mirror.example/library/alpine:3", "arm64", "mirror.example/arm64v8/alpine:3"),
        ("127.0.0.1:5000/app:1.0", "arm64", "127.0.0.1:5000/arm64v8/app:1.0"),
        ("ghcr.io/owner/app:1", "arm/v7", "ghcr.io/owner/arm32v7/app:1"),
        ("ghcr.io/owner/group/app:1", "arm/v7", "ghcr.io/owner/arm32v7/group/app:1"),
    ],
)
def test_namespaces(reference: str, platform: str, name: str) -> None:
    assert names(Namespace(), reference, platform) == [name]


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        ("arm64", "user/app:arm64v8-1.0"),
        ("arm64", "user/app:aarch64-1.0"),
        ("arm64", "user/app:linux-arm64-1.0"),
        ("arm/v7", "user/app:armhf-1.0"),
        ("arm/v7", "user/app:arm32v7_1.0"),
        ("arm/v6", "user/app:arm32v6-1.0"),
        ("amd64", "user/app:amd64_1.0"),
    ],
)
def test_prefixes_of_tags(platform: str, name: str) -> None:
    assert name in names(Prefix(), "user/app:1.0", platform)


def test_certainties() -> None:
    """Docker's and the kernel's words are sure, those of several platforms likely, boards a guess."""
    sure = {}
    for convention in (Suffix(), Prefix()):
        for proposal in convention.propose(parse_reference("user/app:1.0"), parse("arm/v7")):
            sure[proposal.reference.tag] = proposal.certainty
    assert (sure["1.0-arm32v7"], sure["1.0-armhf"], sure["1.0-arm"], sure["1.0-rpi"]) == (
        "sure",
        "likely",
        "likely",
        "guess",
    )
    assert (sure["armv7-1.0"], sure["armhf_1.0"], sure["rpi-1.0"]) == ("sure", "likely", "guess")
    [namespace] = Namespace().propose(parse_reference("alpine:3"), parse("arm/v7"))
    assert namespace.certainty == "sure"
    found = RepositorySuffix().propose(parse_reference("user/app:1.0"), parse("arm/v7"))
    repositories = {proposal.reference.repository: proposal.certainty for proposal in found}
    assert repositories["user/app-armv7"] == "sure"
    assert repositories["user/app-armhf"] == repositories["user/app-arm"] == "likely"
    assert repositories["user/rpi-app"] == "guess"


@pytest.mark.parametrize("reference", ["user/app:1", "docker.io/owner/app:2", "docker.io/owner/group/app:2"])
def test_docker_hubs_namespaces_are_other_peoples(reference: str) -> None:
    """arm32v7/app is Docker's own image `app`, and has nothing to do with user/app."""
    assert names(Namespace(), reference, "arm/v7") == []


@pytest.mark.parametrize(
    ("reference", "platform", "name"),
    [
        ("alexellis2/redis", "arm/v7", "alexellis2/redis-armhf:latest"),
        ("praseodym/unifi:unifi5", "arm/v7", "praseodym/unifi-armhf:unifi5"),
        ("nawa/transmission-telegram", "arm/v6", "nawa/transmission-telegram-armhf:latest"),
        ("crossbario/crossbar-fabric", "arm/v7", "crossbario/crossbar-fabric-armhf:latest"),
        ("ghcr.io/alexbelgium/birdnet-pi", "arm64", "ghcr.io/alexbelgium/birdnet-pi-aarch64:latest"),
        ("ghcr.io/alexbelgium/birdnet-pi", "amd64", "ghcr.io/alexbelgium/birdnet-pi-amd64:latest"),
        ("k8s.gcr.io/kube-apiserver:v1.21.2", "arm64", "k8s.gcr.io/kube-apiserver-arm64:v1.21.2"),
        ("k8s.gcr.io/kubernetes-dashboard:v1.8.1", "ppc64le", "k8s.gcr.io/kubernetes-dashboard-ppc64le:v1.8.1"),
        ("k8s.gcr.io/kubernetes-dashboard:v1.8.1", "s390x", "k8s.gcr.io/kubernetes-dashboard-s390x:v1.8.1"),
        ("gcr.io/cadvisor/cadvisor:v0.47.2", "arm64", "gcr.io/cadvisor/cadvisor-arm64:v0.47.2"),
        ("budry/cadvisor", "arm/v7", "budry/cadvisor-arm:latest"),
        ("qjake/hacc-hassio", "arm/v7", "qjake/hacc-hassio-armv7:latest"),
        ("mvance/unbound", "arm/v7", "mvance/unbound-rpi:latest"),
        ("ryansch/unifi", "arm/v7", "ryansch/unifi-rpi:latest"),
        ("phreakazoid/asterisk", "arm/v6", "phreakazoid/asterisk-rpi:latest"),
        ("ibmcom/elasticsearch:v7.8.0", "ppc64le", "ibmcom/elasticsearch-ppc64le:v7.8.0"),
        ("catesin/xray-mikrotik", "arm64", "catesin/xray-mikrotik-arm64:latest"),
        ("127.0.0.1:5000/clock:1.0", "arm/v7", "127.0.0.1:5000/clock-armhf:1.0"),
    ],
)
def test_suffixes_of_repositories(reference: str, platform: str, name: str) -> None:
    assert name in names(RepositorySuffix(), reference, platform)


def test_official_images_have_namespaces_and_no_such_repositories() -> None:
    assert names(RepositorySuffix(), "alpine:3", "arm64") == []


@pytest.mark.parametrize(
    ("convention", "reference", "platform", "first"),
    [
        (Suffix(), "app:1.0", "arm64", "app:1.0-arm64v8"),
        (Suffix(), "app:1.0", "arm/v7", "app:1.0-arm32v7"),
        (RepositorySuffix(), "user/app:1.0", "arm64", "user/app-arm64:1.0"),
        (RepositorySuffix(), "user/app:1.0", "arm/v7", "user/app-armhf:1.0"),
    ],
)
def test_the_likeliest_comes_first(convention: TagConvention, reference: str, platform: str, first: str) -> None:
    assert names(convention, reference, platform)[0] == first


def test_bare_words_only_for_latest() -> None:
    assert "user/app:armhf" in names(Suffix(), "user/app", "arm/v7")
    assert "user/app:armhf" not in names(Suffix(), "user/app:1.0", "arm/v7")


def test_names_that_would_be_too_long_are_left_out() -> None:
    tag = "1" * 122
    assert names(Suffix(), f"user/app:{tag}", "arm64") == [
        f"user/app:{tag}{word}" for word in ("-arm64", "-rpi", "_arm64")
    ]
    assert names(Prefix(), f"user/app:{tag}", "arm64") == [
        f"user/app:{word}{tag}" for word in ("arm64-", "rpi-", "arm64_")
    ]
    base = "a" * (255 - len("docker.io/user/") - len("-arm64"))
    assert names(RepositorySuffix(), f"user/{base}:1", "arm64") == [
        f"user/{name}:1" for name in (f"{base}-arm64", f"arm64-{base}", f"{base}-rpi", f"rpi-{base}")
    ]
    base = "a" * (255 - len("ghcr.io/user/"))
    assert names(Namespace(), f"ghcr.io/user/{base}:1", "arm64") == []


def test_an_arm_without_variant_is_asked_as_v7() -> None:
    for convention in CONVENTIONS:
        reference = parse_reference("example.com/user/app:1")
        bare = [each.reference for each in convention.propose(reference, Platform("linux", "arm"))]
        assert bare == [each.reference for each in convention.propose(reference, parse("arm/v7"))] != []


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(
    ("reference", "platform"),
    [
        (parse_reference("example.com/user/app@sha256:" + "0" * 64), parse("arm64")),
        (parse_reference("example.com/user/app:1"), Platform("windows", "arm64")),
        (parse_reference("example.com/user/app:1"), Platform("linux", "vax")),
        (parse_reference("example.com/user/app:1"), Platform("linux", "arm", "v8")),
    ],
)
def test_nothing_to_propose(convention: TagConvention, reference: Reference, platform: Platform) -> None:
    assert list(convention.propose(reference, platform)) == []


def test_every_architecture_has_words() -> None:
    for name in load():
        assert names(Suffix(), "user/app:1", name)
        assert names(Prefix(), "user/app:1", name)
        assert names(RepositorySuffix(), "user/app:1", name)


@given(
    repository=st.from_regex(r"[a-z0-9]{1,20}(?:/[a-z0-9]{1,20}){0,3}", fullmatch=True),
    host=st.sampled_from(["", "docker.io/", "ghcr.io/", "127.0.0.1:5000/", "mirror.example/library/"]),
    tag=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True) | st.just("latest"),
    platform=st.sampled_from([f"linux/{name}" for name in load()] + ["linux/arm/v6", "linux/arm/v5"]),
)
def test_proposals_are_few_valid_and_by_the_same_publisher(repository: str, host: str, tag: str, platform: str) -> None:
    reference = parse_reference(f"{host}{repository}:{tag}")
    official = reference.repository.startswith("library/")
    for convention, most in zip(CONVENTIONS, (15, 11, 1, 16), strict=True):
        proposals = [each.reference for each in convention.propose(reference, parse(platform))]
        assert len(proposals) <= most
        assert len(set(proposals)) == len(proposals)
        for proposed in proposals:
            assert parse_reference(str(proposed)) == proposed
            assert proposed != reference
            assert proposed.registry == reference.registry
            owner, slash, _ = reference.repository.partition("/")
            if slash and not official:
                assert proposed.repository.startswith(f"{owner}/")
