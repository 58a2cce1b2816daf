"""Origins (RFC 6454: scheme, host and port), and which of them may be asked, or shown credentials, by which."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import quote, urljoin, urlsplit

from polyarch_platforms.lazy_dataclass import dataclass

DEFAULT_PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", re.ASCII)
# What may stand in a path or query as it is: a signed address must not be written differently.
_SAFE = "%/:?#[]@!$&'()*+,;=~-._"

# Where clouds answer with the machine's own secrets, beside the link-local addresses: documentation of AWS (EC2,
# instance metadata over IPv6), Alibaba Cloud (ECS, instance metadata), Azure (168.63.129.16), Google Cloud (metadata
# server).
_METADATA_ADDRESSES = frozenset(map(ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16")))
_NAT64 = ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data"})

# Second labels under which countries register domains: co.uk, com.au …
_REGISTRY_LABELS = frozenset({"ac", "co", "com", "edu", "gov", "go", "net", "ne", "or", "org"})
# Domains below which every customer has a name: neighbours there are strangers.
_SHARED_DOMAINS = (
    "amazonaws.com",
    "amazonaws.com.cn",
    "appspot.com",
    "azurecr.cn",
    "azurecr.io",
    "azurecr.us",
    "azurewebsites.net",
    "cloudfront.net",
    "github.io",
    "gitlab.io",
    "googleapis.com",
    "herokuapp.com",
    "jfrog.io",
    "on.aws",
    "pkg.dev",
    "run.app",
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request goes. `host` is lower-case, an IPv6 address in brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """`host`, and `:port` unless it is the scheme's own."""
        return self.host if DEFAULT_PORTS[self.scheme] == self.port else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def split_url(url: str) -> tuple[Origin, str]:
    """Origin, and path with query, of an absolute http or https URL. Raises ValueError for any other text.

    A request is put together from these parts again, so that nobody reads the URL differently.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise ValueError("not an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL with a user name in it")
    authority = parts.netloc
    host = authority[: authority.rindex(":")] if re.search(r":[0-9]*$", authority) else authority
    if not _HOST.fullmatch(host):
        raise ValueError("a URL without a proper host")
    path = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    return Origin(scheme, host.lower(), DEFAULT_PORTS[scheme] if parts.port is None else parts.port), path


def origin_of(scheme: str, host: str) -> Origin:
    """The origin of `host` or `host:port`. Raises ValueError."""
    return split_url(f"{scheme}://{host}/")[0]


def join_url(base: str, target: str) -> str:
    """What a Location or Link of the answer to `base` points at. Raises ValueError."""
    return urljoin(base, target.strip(), allow_fragments=False)


def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """The address that `host` is, without looking it up; None for a name. IPv4 within IPv6 counts as IPv4."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if isinstance(address, IPv6Address) and address in _NAT64:
        return IPv4Address(address.packed[12:])
    return address


def is_loopback(host: str) -> bool:
    """True for `localhost` and the loopback addresses, as docker counts them."""
    address = address_of(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def is_private_to_machine(host: str) -> bool:
    """True for link-local and metadata addresses, where nobody may be sent by a registry that is not there itself."""
    address = address_of(host)
    if address is None:
        return host.lower().rstrip(".") in _METADATA_NAMES
    return address.is_link_local or address in _METADATA_ADDRESSES


def is_listed(host: str, port: int, listed: tuple[str, ...]) -> bool:
    """True if a list of registries has this one: as `host`, `host:port`, or by a network such as `10.0.0.0/8`."""
    names = {host.lower(), f"{host.lower()}:{port}"}
    address = address_of(host)
    for entry in listed:
        if entry.lower() in names:
            return True
        if "/" in entry and address is not None:
            try:
                network = ip_network(entry, strict=False)
            except ValueError:
                continue
            if address.version == network.version and address in network:
                return True
    return False


def same_site(registry: str, other: str) -> bool:
    """True if host `other` belongs to the people of host `registry`, as far as names tell.

    It is the registry's own name, or lies in its parent domain: `registry-1.docker.io` and `auth.docker.io`,
    `registry.gitlab.com` and `gitlab.com`. Names under a public suffix or a shared domain are strangers.
    """
    registry, other = registry.lower().rstrip("."), other.lower().rstrip(".")
    if registry == other:
        return True
    if address_of(registry) is not None or address_of(other) is not None:
        return False
    parent = registry.partition(".")[2] if registry.count(".") > 1 else registry
    labels = parent.split(".")
    if len(labels) < 2 or (len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _REGISTRY_LABELS):
        return False
    if any(parent == shared or parent.endswith(f".{shared}") for shared in _SHARED_DOMAINS):
        return False
    return other == parent or other.endswith(f".{parent}")
