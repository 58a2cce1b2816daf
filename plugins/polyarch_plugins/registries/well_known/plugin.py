"""Registers well-known registries. How each asks who is there needs no code: all of them ask as the specification says.

| registry | challenge | user for a token |
|---|---|---|
| GHCR | Bearer, `realm="https://ghcr.io/token"`; tokens for nobody | any |
| GitLab | Bearer, `realm="https://gitlab.com/jwt/auth"`: a parent domain | any |
| ECR | Basic, `realm="https://ACCOUNT.dkr.ecr.REGION.amazonaws.com/"` | AWS |
| ECR Public | Bearer, `realm="https://public.ecr.aws/token/"`, `scope="aws"`; tokens for nobody | AWS |
| Artifact Registry | Bearer, `realm="https://HOST/v2/token"`, no service; tokens for nobody | oauth2accesstoken |
| ACR | Bearer, `realm="https://NAME.azurecr.io/oauth2/token"`; identity tokens | 00000000-… |

Hosts, names and users are documented: the pages stand in the rows. Of the challenges, GitLab's is documented
(gitlab-org/container-registry, docs/auth-request-flow.md), and ACR's (Azure/acr, docs/Token-BasicAuth.md); the others
are as public clients and their tests have recorded them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from polyarch.contract import Registry, RegistryPlugin, RegistryServices, Search, hookimpl


@dataclass(frozen=True, slots=True)
class WellKnown:
    """A registry: `form` is what its repositories are called, in at least `parts` parts.

    `login` tells how to get credentials, `instead` where one looks in place of a search, where it has none.
    """

    name: str
    summary: str
    hosts: tuple[str, ...]
    login: str
    form: str = "REPOSITORY"
    parts: int = 1
    instead: str = ""


WELL_KNOWN = (
    WellKnown(
        "ghcr",
        "GitHub Container Registry",
        ("ghcr.io", "containers.*.ghe.com"),
        # docs.github.com, "Working with the Container registry", "Authenticating to the Container registry"; the second
        # host: "Feature overview for GitHub Enterprise Cloud with data residency"
        login="your GitHub name and a personal access token (classic) with the scope read:packages",
        form="OWNER/IMAGE",
        parts=2,
        instead="look on https://github.com/search?type=registrypackages",
    ),
    WellKnown(
        "gitlab",
        "GitLab Container Registry",
        ("registry.gitlab.com",),
        # docs.gitlab.com, "Authenticate with the container registry", "Container registry", "Naming convention"
        login="your name and a personal access token with the scope read_registry, or a deploy token",
        form="NAMESPACE/PROJECT or NAMESPACE/PROJECT/IMAGE",
        parts=2,
        instead="look on https://gitlab.com/explore, or at the project's page Deploy > Container registry",
    ),
    WellKnown(
        "ecr",
        "Amazon ECR, private",
        # docs.aws.amazon.com, "Amazon ECR endpoints and quotas", "Making requests to Amazon ECR registries"
        (
            "*.dkr.ecr.*.amazonaws.com",
            "*.dkr.ecr.*.amazonaws.com.cn",
            "*.dkr.ecr-fips.*.amazonaws.com",
            "*.dkr-ecr.*.on.aws",
            "*.dkr-ecr-fips.*.on.aws",
        ),
        # docs.aws.amazon.com, "Private registry authentication in Amazon ECR"
        login="the user AWS with what `aws ecr get-login-password` prints, for 12 hours; "
        "or the helper docker-credential-ecr-login",
    ),
    WellKnown(
        "ecr-public",
        "Amazon ECR Public",
        ("public.ecr.aws", "ecr-public.aws.com"),
        # docs.aws.amazon.com, "Registry authentication in Amazon ECR public", "Public repositories",
        # "Making requests to Amazon ECR Public registries"
        login="none is needed; with one, the limits are higher: the user AWS with what "
        "`aws ecr-public get-login-password --region us-east-1` prints",
        form="ALIAS/REPOSITORY",
        parts=2,
        instead="look on https://gallery.ecr.aws",
    ),
    WellKnown(
        "artifact-registry",
        "Google Artifact Registry",
        ("*-docker.pkg.dev",),
        # cloud.google.com/artifact-registry/docs: "Configure authentication for Docker", "Repository and image names"
        login="the user oauth2accesstoken with what `gcloud auth print-access-token` prints, for an hour; the user "
        "_json_key with a service account's key file; or the helper docker-credential-gcloud",
        form="PROJECT/REPOSITORY/IMAGE",
        parts=3,
    ),
    WellKnown(
        "gcr",
        "Google Container Registry's old names",
        ("gcr.io", "*.gcr.io"),
        # cloud.google.com/artifact-registry/docs/transition: "gcr.io domain support"
        login="the user oauth2accesstoken with what `gcloud auth print-access-token` prints, for an hour; the user "
        "_json_key with a service account's key file; or the helper docker-credential-gcloud",
    ),
    WellKnown(
        "acr",
        "Azure Container Registry",
        ("*.azurecr.io", "*.azurecr.cn", "*.azurecr.us"),
        # learn.microsoft.com, "Authenticate with an Azure container registry"
        login="`az acr login --name NAME` writes them into docker's file; by hand the user "
        "00000000-0000-0000-0000-000000000000 with what `az acr login --name NAME --expose-token` prints",
    ),
)


def _registry(known: WellKnown, services: RegistryServices) -> Registry:
    from polyarch_plugins.registries.naming import locate

    return services.distribution(partial(locate, known.parts, known.form))


def _search(known: WellKnown, services: RegistryServices) -> Search:
    from polyarch_plugins.registries.well_known.no_search import NoSearch

    return NoSearch(known.instead)


@hookimpl
def polyarch_registries() -> Iterable[RegistryPlugin]:
    """One registry a row."""
    for known in WELL_KNOWN:
        yield RegistryPlugin(
            known.name,
            known.summary,
            partial(_registry, known),
            hosts=known.hosts,
            search=partial(_search, known) if known.instead else None,
            login=known.login,
        )
