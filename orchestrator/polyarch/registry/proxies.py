"""Which proxy a request takes, by the variables that everybody uses: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY."""

from __future__ import annotations

from ipaddress import ip_network
from urllib.request import getproxies

from polyarch.registry.origin import Origin, address_of, is_loopback


def proxies_of_environment() -> dict[str, str]:
    """The proxies as Python reads them from the environment: URLs by scheme, exceptions under `no`."""
    return getproxies()


def proxy_for(origin: Origin, proxies: dict[str, str]) -> str | None:
    """The URL of the proxy for an origin; None for none. Loopback never takes one, as in Go and so in docker."""
    if is_loopback(origin.host) or _is_exception(origin, proxies.get("no", "")):
        return None
    proxy = proxies.get(origin.scheme) or proxies.get("all")
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return proxy or None


def _is_exception(origin: Origin, exceptions: str) -> bool:
    """Go's rules (golang.org/x/net/http/httpproxy): `*`, a domain with all below it, an address, a network, a port."""
    address = address_of(origin.host)
    for entry in exceptions.lower().split(","):
        name = entry.strip()
        if name == "*":
            return True
        host, colon, port = name.rpartition(":")
        if colon and port.isdecimal() and (host.count(":") == 0 or host.endswith("]")):
            if int(port) != origin.port:
                continue
            name = host
        if address is not None:
            try:
                network = ip_network(name.strip("[]"), strict=False)
            except ValueError:
                continue
            if network.version == address.version and address in network:
                return True
        elif name and (origin.host == name.lstrip(".") or origin.host.endswith(f".{name.lstrip('.*')}")):
            return True
    return False
