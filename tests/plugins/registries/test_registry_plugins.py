"""The built-in registries: which hosts they take, and where they say a reference is kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from polyarch.contract import (
    Endpoint,
    ListsTags,
    NotFoundError,
    Registry,
    RegistryPlugin,
    RegistryServices,
    UnauthorizedError,
    UsageError,
)
from polyarch.events import ignore
from polyarch.plugin_host.host import PluginHost
from polyarch.reference import parse_reference
from polyarch.registry.services import registry_services
from polyarch.session import Session
from polyarch.settings import Settings
from polyarch_plugins.registries.distribution.locate import locate as locate_anywhere
from polyarch_plugins.registries.docker_hub.locate import locate as locate_on_docker_hub
from polyarch_plugins.registries.docker_hub.plugin import polyarch_registries as docker_hub
from polyarch_plugins.registries.harbor.plugin import polyarch_registries as harbor
from polyarch_plugins.registries.quay.plugin import polyarch_registries as quay
from polyarch_plugins.registries.well_known.plugin import polyarch_registries as well_known
from support import faults
from support.docker_registry import DockerRegistry
from support.faulty_registry import FaultyRegistry

HUB_KEY = "https://index.docker.io/v1/"


@pytest.mark.parametrize(
    ("reference", "plugin"),
    [
        ("busybox", "docker-hub"),
        ("index.docker.io/library/busybox", "docker-hub"),
        ("ghcr.io/owner/app:1", "ghcr"),
        ("containers.octocorp.ghe.com/owner/app", "ghcr"),
        ("registry.gitlab.com/group/project", "gitlab"),
        ("quay.io/a/b", "quay"),
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/app", "ecr"),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/app", "ecr"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app", "ecr"),
        ("123456789012.dkr-ecr.us-west-2.on.aws/app", "ecr"),
        ("123456789012.dkr-ecr-fips.us-west-2.on.aws/app", "ecr"),
        ("public.ecr.aws/docker/library/busybox", "ecr-public"),
        ("europe-west4-docker.pkg.dev/project/repository/image", "artifact-registry"),
        ("gcr.io/project/image", "gcr"),
        ("eu.gcr.io/project/image", "gcr"),
        ("contoso.azurecr.io/hello", "acr"),
        ("contoso.azurecr.cn/hello", "acr"),
        ("s3.amazonaws.com/a", "distribution"),
        ("ghcr.io.example.com/a", "distribution"),
        ("localhost/app", "distribution"),
        ("10.0.0.7:5000/a/b", "distribution"),
        ("[::1]:5000/a", "distribution"),
        ("docker.io.example.com/a", "distribution"),
    ],
)
def test_who_takes_a_reference(reference: str, plugin: str, tmp_path: Path) -> None:
    host = PluginHost(Settings(root=tmp_path))
    assert host.registry_for(parse_reference(reference)).name == plugin


@pytest.mark.parametrize(
    ("reference", "endpoint"),
    [
        ("busybox", Endpoint("registry-1.docker.io", "library/busybox", HUB_KEY)),
        ("zavy86/clock:1", Endpoint("registry-1.docker.io", "zavy86/clock", HUB_KEY)),
    ],
)
def test_where_docker_hub_keeps_a_reference(reference: str, endpoint: Endpoint) -> None:
    assert locate_on_docker_hub(parse_reference(reference)) == endpoint


@pytest.mark.parametrize(
    ("reference", "endpoint"),
    [
        ("ghcr.io/a/b/c:1", Endpoint("ghcr.io", "a/b/c", "ghcr.io")),
        ("10.0.0.7:5000/a", Endpoint("10.0.0.7:5000", "a", "10.0.0.7:5000")),
    ],
)
def test_where_other_registries_keep_a_reference(reference: str, endpoint: Endpoint) -> None:
    assert locate_anywhere(parse_reference(reference)) == endpoint


@pytest.mark.parametrize(
    ("reference", "form"),
    [
        ("ghcr.io/app", "OWNER/IMAGE"),
        ("registry.gitlab.com/app", "NAMESPACE/PROJECT or NAMESPACE/PROJECT/IMAGE"),
        ("public.ecr.aws/app", "ALIAS/REPOSITORY"),
        ("us-docker.pkg.dev/project/image", "PROJECT/REPOSITORY/IMAGE"),
        ("quay.io/app", "NAMESPACE/REPOSITORY"),
    ],
)
def test_a_name_that_cannot_be_there_is_told_without_asking(
    reference: str, form: str, services: RegistryServices, tmp_path: Path
) -> None:
    parsed = parse_reference(reference)
    registry = PluginHost(Settings(root=tmp_path)).registry_for(parsed).factory(services)
    with pytest.raises(NotFoundError, match=f"{parsed.registry} has no repository {parsed.repository}") as caught:
        registry.get(parsed)
    assert caught.value.hint == f"names there are {form}"


@pytest.mark.parametrize("plugin", [*well_known(), *quay(), *harbor(), *docker_hub()], ids=lambda plugin: plugin.name)
def test_each_says_how_one_gets_credentials(plugin: RegistryPlugin) -> None:
    assert plugin.login
    assert plugin.login.isprintable()
    assert not plugin.login.endswith(".")


def test_those_that_cannot_search_say_where_to_look(services: RegistryServices, tmp_path: Path) -> None:
    plugin = PluginHost(Settings(root=tmp_path)).registry_for(parse_reference("ghcr.io/a/b"))
    assert plugin.search is not None
    with pytest.raises(UsageError, match=r"ghcr\.io cannot search") as caught:
        list(plugin.search(services).search("ghcr.io", "x", 25))
    assert "https://github.com/search" in (caught.value.hint or "")


@pytest.fixture
def services(tmp_path: Path) -> RegistryServices:
    with registry_services(Settings(root=tmp_path, home=tmp_path), ignore) as opened:
        return opened


@pytest.mark.parametrize("reference", ["busybox", "ghcr.io/a/b"])
def test_what_they_make_can_list_tags(reference: str, services: RegistryServices, tmp_path: Path) -> None:
    plugin = PluginHost(Settings(root=tmp_path)).registry_for(parse_reference(reference))
    made: Registry = plugin.factory(services)
    assert isinstance(made, ListsTags)
    made.close()


def test_a_reference_of_a_real_registry_is_found(registry: DockerRegistry, tmp_path: Path) -> None:
    reference = parse_reference(registry.ref("busybox:1.36"))
    plugin = PluginHost(Settings(root=tmp_path)).registry_for(reference)
    with registry_services(Settings(root=tmp_path, home=tmp_path), ignore) as opened:
        assert plugin.factory(opened).head(reference) is not None


@pytest.mark.parametrize("name", ["distribution", "docker_hub", "quay", "harbor", "well_known"])
def test_a_plugin_costs_no_more_than_its_hooks(name: str) -> None:
    code = (
        f"import sys, polyarch.contract, polyarch_plugins.registries.{name}.plugin as plugin\n"
        "list(plugin.polyarch_registries())\n"
        "print(sorted(name for name in sys.modules if name.startswith(('polyarch_plugins', 'polyarch.registry'))))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    package = "polyarch_plugins.registries"
    assert run.stdout.strip() == str(["polyarch_plugins", package, f"{package}.{name}", f"{package}.{name}.plugin"])


def test_the_words_of_the_plugin_reach_who_is_refused(faulty_registry: FaultyRegistry, tmp_path: Path) -> None:
    faulty_registry.script("GET", "/manifests/", faults.status(403), forever=True)
    faulty_registry.script("HEAD", "/manifests/", faults.status(403), forever=True)
    settings = Settings(root=tmp_path, home=tmp_path, retries=0, prefer={faulty_registry.address: "ghcr"})
    with Session(settings) as session, pytest.raises(UnauthorizedError) as caught:
        session.resolve(faulty_registry.ref("owner/app:1"))
    words = "your GitHub name and a personal access token (classic) with the scope read:packages"
    assert (caught.value.hint or "").endswith(f"polyarch login {faulty_registry.address} ({words})")
