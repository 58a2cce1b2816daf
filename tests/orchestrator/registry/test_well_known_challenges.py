"""How well-known registries ask who is there: who is asked for a token, for what, in whose name.

For what of it is documented see plugins/polyarch_plugins/registries/well_known/plugin.py; the form is that of
distribution's docs/spec/auth/token.md. Scopes are added where only the challenge for `/v2/` is recorded.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from polyarch.auth.credentials import Credentials
from polyarch.auth.files import find_credentials, parse_auth_file
from polyarch.errors import UnauthorizedError
from polyarch.events import Event, Warned
from polyarch.reference import parse_reference
from polyarch.registry.authenticator import Account, Authenticator
from polyarch.registry.origin import Origin, same_site
from polyarch.registry.reply import Answer
from polyarch.registry.tokens import TokenRequest
from support import faults
from support.faulty_registry import FaultyRegistry
from support.registry_client import Connect

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


class Asked:
    """An Authenticator for one account, and the requests for tokens that it makes."""

    def __init__(self, host: str, repository: str, credentials: Credentials | None, answer: str = "token") -> None:
        self.events: list[Event] = []
        self.requests: list[TokenRequest] = []
        self.home = Origin("https", host, 443)
        self.account = Account(host, host, repository)
        self._answer = json.dumps({answer: "t0", "expires_in": 300}).encode()
        self._authenticator = Authenticator(lambda _: credentials, self._ask, self.events.append, lambda _: "")

    def _ask(self, home: Origin, request: TokenRequest) -> Answer:
        self.requests.append(request)
        return Answer(200, {}, self._answer)

    def authorization(self, challenge: str) -> str | None:
        """What is shown to the registry after its challenge."""
        if not self._authenticator.challenged(self.home, self.account, challenge, None):
            return None
        grant = self._authenticator.grant(self.home, self.account)
        return grant and grant.value


BEARERS = [
    (
        "registry-1.docker.io",
        "library/busybox",
        'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
        'scope="repository:library/busybox:pull"',
        "https://auth.docker.io/token",
        {"service": ["registry.docker.io"], "scope": ["repository:library/busybox:pull"]},
    ),
    (
        "ghcr.io",
        "owner/app",
        'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:owner/app:pull"',
        "https://ghcr.io/token",
        {"service": ["ghcr.io"], "scope": ["repository:owner/app:pull"]},
    ),
    (
        "quay.io",
        "ns/app",
        'Bearer realm="https://quay.io/v2/auth",service="quay.io",scope="repository:ns/app:pull"',
        "https://quay.io/v2/auth",
        {"service": ["quay.io"], "scope": ["repository:ns/app:pull"]},
    ),
    (
        "registry.gitlab.com",
        "group/project",
        'Bearer realm="https://gitlab.com/jwt/auth",service="container_registry",'
        'scope="repository:group/project:pull",error="invalid_token"',
        "https://gitlab.com/jwt/auth",
        {"service": ["container_registry"], "scope": ["repository:group/project:pull"]},
    ),
    (
        "public.ecr.aws",
        "docker/library/busybox",
        'Bearer realm="https://public.ecr.aws/token/",service="public.ecr.aws",scope="aws"',
        "https://public.ecr.aws/token/",
        {"service": ["public.ecr.aws"], "scope": ["aws"]},
    ),
    (
        "us-docker.pkg.dev",
        "project/repository/image",
        'Bearer realm="https://us-docker.pkg.dev/v2/token"',
        "https://us-docker.pkg.dev/v2/token",
        {"scope": ["repository:project/repository/image:pull"]},
    ),
    (
        "gcr.io",
        "project/image",
        'Bearer realm="https://gcr.io/v2/token",service=gcr.io',
        "https://gcr.io/v2/token",
        {"service": ["gcr.io"], "scope": ["repository:project/image:pull"]},
    ),
    (
        "contoso.azurecr.io",
        "hello",
        'Bearer realm="https://contoso.azurecr.io/oauth2/token",service="contoso.azurecr.io",'
        'scope="repository:hello:pull"',
        "https://contoso.azurecr.io/oauth2/token",
        {"service": ["contoso.azurecr.io"], "scope": ["repository:hello:pull"]},
    ),
    (
        "harbor.example.com",
        "library/app",
        'Bearer realm="https://harbor.example.com/service/token",service="harbor-registry",'
        'scope="repository:library/app:pull"',
        "https://harbor.example.com/service/token",
        {"service": ["harbor-registry"], "scope": ["repository:library/app:pull"]},
    ),
]


@pytest.mark.parametrize("answer", ["token", "access_token"])  # GHCR and others; ACR
@pytest.mark.parametrize(("host", "repository", "challenge", "realm", "fields"), BEARERS)
def test_a_token_for_nobody(
    host: str, repository: str, challenge: str, realm: str, fields: dict[str, list[str]], answer: str
) -> None:
    asked = Asked(host, repository, None, answer)
    assert asked.authorization(challenge) == "Bearer t0"
    (request,) = asked.requests
    assert (request.method, request.headers) == ("GET", {})
    assert request.url.partition("?")[0] == realm
    assert parse_qs(urlsplit(request.url).query) == fields


@pytest.mark.parametrize(("host", "repository", "challenge", "realm", "fields"), BEARERS)
def test_credentials_are_shown_to_its_own_token_server(
    host: str, repository: str, challenge: str, realm: str, fields: dict[str, list[str]]
) -> None:
    asked = Asked(host, repository, Credentials("me", "secret"))
    assert asked.authorization(challenge) == "Bearer t0"
    (request,) = asked.requests
    assert request.headers == {"Authorization": Credentials("me", "secret").basic()}
    assert parse_qs(urlsplit(request.url).query) == {**fields, "account": ["me"]}
    assert asked.events == []


@pytest.mark.parametrize(("host", "repository", "challenge", "realm", "fields"), BEARERS)
def test_credentials_are_not_shown_to_a_stranger(
    host: str, repository: str, challenge: str, realm: str, fields: dict[str, list[str]]
) -> None:
    asked = Asked(host, repository, Credentials("me", "secret"))
    stranger = challenge.replace(urlsplit(realm).netloc, "tokens.example.net", 1)
    asked.authorization(stranger)
    assert asked.requests[0].headers == {}
    assert "are not shown to https://tokens.example.net" in str(asked.events[0])
    assert isinstance(asked.events[0], Warned)


@pytest.mark.parametrize(
    ("host", "neighbour"),
    [
        ("contoso.azurecr.io", "fabrikam.azurecr.io"),
        ("contoso.azurecr.cn", "fabrikam.azurecr.cn"),
        ("contoso.azurecr.us", "fabrikam.azurecr.us"),
        (ECR, "999999999999.dkr.ecr.eu-central-1.amazonaws.com"),
        ("1.dkr.ecr.cn-north-1.amazonaws.com.cn", "9.dkr.ecr.cn-north-1.amazonaws.com.cn"),
        ("1.dkr-ecr.us-west-2.on.aws", "9.dkr-ecr.us-west-2.on.aws"),
        ("1.dkr-ecr-fips.us-west-2.on.aws", "9.dkr-ecr-fips.us-west-2.on.aws"),
        ("us-docker.pkg.dev", "eu-docker.pkg.dev"),
    ],
)
def test_customers_of_one_cloud_are_strangers(host: str, neighbour: str) -> None:
    assert not same_site(host, neighbour)
    asked = Asked(host, "app", Credentials("me", "secret"))
    asked.authorization(f'Bearer realm="https://{neighbour}/oauth2/token",service="{host}"')
    assert asked.requests[0].headers == {}


def test_ecr_asks_for_the_password_itself() -> None:
    challenge = f'Basic realm="https://{ECR}/",service="ecr.amazonaws.com"'
    asked = Asked(ECR, "app", Credentials("AWS", "eyJwYXlsb2FkIjoi"))
    assert asked.authorization(challenge) == Credentials("AWS", "eyJwYXlsb2FkIjoi").basic()
    assert asked.requests == []
    assert Asked(ECR, "app", None).authorization(challenge) is None


def test_what_az_acr_login_writes_is_posted() -> None:
    """`az acr login` keeps a refresh token under a user of zeros (Azure/acr, docs/AAD-OAuth.md)."""
    zeros = "00000000-0000-0000-0000-000000000000"
    auth = base64.b64encode(f"{zeros}:".encode()).decode()
    document = {"auths": {"contoso.azurecr.io": {"auth": auth, "identitytoken": "refresh"}}}
    credentials = find_credentials([parse_auth_file(Path("config.json"), document)], "contoso.azurecr.io")
    asked = Asked("contoso.azurecr.io", "hello", credentials, "access_token")
    host, _, challenge, realm, _ = next(each for each in BEARERS if each[0] == "contoso.azurecr.io")
    assert asked.authorization(challenge) == "Bearer t0"
    (request,) = asked.requests
    assert (request.method, request.url) == ("POST", realm)
    assert parse_qs((request.content or b"").decode()) == {
        "grant_type": ["refresh_token"],
        "service": [host],
        "scope": ["repository:hello:pull"],
        "client_id": ["polyarch"],
        "refresh_token": ["refresh"],
    }


def test_ghcr_pages_of_tags(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    """GHCR gives the number that it was asked for on in its Link, and 0 where it was asked for none."""
    link = '</v2/busybox/tags/list?last=b&n=0>; rel="next"'
    pages = (faults.status(200, b'{"tags":["a","b"]}', Link=link), faults.status(200, b'{"tags":["c"]}'))
    faulty_registry.script("GET", "/tags/list", *pages)
    assert list(connect().registry.tags(parse_reference(faulty_registry.ref("busybox")))) == ["a", "b", "c"]


def test_quay_pages_of_tags(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    """Quay's next page is a word of its own, which must come back as it was."""
    link = '</v2/busybox/tags/list?n=100&next_page=gAAAAABk-_1%3D%3D>; rel="next"'
    pages = (faults.status(200, b'{"tags":["a"]}', Link=link), faults.status(200, b'{"tags":["b"]}'))
    faulty_registry.script("GET", "/tags/list", *pages)
    assert list(connect().registry.tags(parse_reference(faulty_registry.ref("busybox")))) == ["a", "b"]
    assert faulty_registry.requests[-1].target.endswith("?n=100&next_page=gAAAAABk-_1%3D%3D")


def test_who_is_refused_hears_how_one_logs_in_there(connect: Connect, faulty_registry: FaultyRegistry) -> None:
    connected = connect(login_words=lambda registry: f"as {registry} has it")
    challenge = f'Bearer realm="http://{faulty_registry.address}/token"'
    wanted = f"polyarch login {faulty_registry.address} (as {faulty_registry.address} has it)"
    faulty_registry.script("GET", "/manifests/", faults.status(403), faults.unauthorized(challenge))
    faulty_registry.script("GET", "^/token", faults.status(401))
    for _ in range(2):
        with pytest.raises(UnauthorizedError) as caught:
            connected.registry.get(parse_reference(faulty_registry.ref("busybox:1.36")))
        assert (caught.value.hint or "").endswith(wanted)
