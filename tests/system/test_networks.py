"""Slow, lossy, cut and dead networks, of namespaces, tbf and iptables: what gets on arrives, the rest ends well."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyarch.testing.layout_writer import LayoutWriter, regular
from support.command import Polyarch, Result
from support.docker_registry import DockerRegistry
from support.joined_networks import SERVER, JoinedNetworks, Relay, Resolver, random_cuts
from support.layout_files import Layout
from support.processes import await_true

pytestmark = pytest.mark.system

SIZE = 700_000
SMALL = 5000
_SETTINGS = "retries = 1\nconnect_timeout = 1.0\nread_timeout = 1.0\ntls_verify = false\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """`networks/large:1` with a layer of `SIZE` bytes that do not compress, `networks/small:1` with one of `SMALL`."""
    writer, source = LayoutWriter(tmp_path_factory.mktemp("networks") / "layout"), random.Random(9)
    for name, size in (("large", SIZE), ("small", SMALL)):
        layers = [writer.layer([regular("bulk", source.randbytes(size))], "bulk")]
        writer.name(f"networks/{name}:1", writer.image({"os": "linux", "architecture": "amd64"}, layers))
    writer.finish()
    server = DockerRegistry(tmp_path_factory.mktemp("networks-registry"))
    server.fill(Layout(writer.directory))
    yield server
    server.stop()


@pytest.fixture
def networks() -> Iterator[JoinedNetworks]:
    made = JoinedNetworks()
    yield made
    made.stop()


@pytest.fixture
def relay(networks: JoinedNetworks, site: DockerRegistry) -> Iterator[Relay]:
    made = Relay(networks.listen(), site.address)
    yield made
    made.stop()


class Client:
    """polyarch in the client's network."""

    def __init__(self, polyarch: Polyarch, networks: JoinedNetworks, folder: Path) -> None:
        self._polyarch, self._networks = polyarch, networks
        self._config = folder / "settings.toml"
        self._config.write_text(_SETTINGS)

    def during(self, name: str, then: Callable[[], None], settings: str = _SETTINGS) -> Result:
        """A pull, `then` while it runs, and how it ended: within a minute, whatever happens."""
        self._config.write_text(settings)
        words = ("pull", "--platform", "linux/amd64", "--progress", "none", "--format", "json", name)
        process = self._polyarch.start(*words, env={"POLYARCH_CONFIG": str(self._config)}, prefix=self._networks.enter)
        then()
        return self._polyarch.finish(process, seconds=60)

    def pull(self, name: str, settings: str = _SETTINGS) -> Result:
        return self.during(name, lambda: None, settings)


@pytest.fixture
def client(polyarch: Polyarch, networks: JoinedNetworks, tmp_path: Path) -> Client:
    return Client(polyarch, networks, tmp_path)


def _refused(result: Result, says: str) -> None:
    """Unreachable, told in one line."""
    assert result.code == 6, result.stderr
    [line] = result.json_lines
    assert says in line["error"]["message"], line
    assert "\n" not in line["error"]["message"]
    assert len([text for text in result.stderr.splitlines() if text.startswith("error: ")]) == 1


def test_slow_but_moving(client: Client, networks: JoinedNetworks, relay: Relay) -> None:
    """The whole takes several times as long as anything may stand still."""
    networks.slow(SIZE // 3)
    result = client.pull(relay.ref("networks/large:1"), _SETTINGS.replace("read_timeout = 1.0", "read_timeout = 0.5"))
    assert result.ok().json_lines[0]["status"] == "downloaded"
    assert "trying again" not in result.stderr


_ENDS = {
    "address": (JoinedNetworks.gone, JoinedNetworks.back),
    "wire": (JoinedNetworks.unplug, JoinedNetworks.plug),
    "packets": (JoinedNetworks.drop, JoinedNetworks.pass_again),
}


@pytest.mark.parametrize(
    "what", ["address", *(pytest.param(each, marks=pytest.mark.costly) for each in ("wire", "packets"))]
)
def test_gone_in_mid_pull(
    client: Client, networks: JoinedNetworks, relay: Relay, site: DockerRegistry, what: str
) -> None:
    """What came is kept, and only the rest is asked for when the registry is there again."""
    goes, comes = _ENDS[what]
    networks.slow(SIZE // 2)

    def then() -> None:
        await_true(lambda: relay.passed > SIZE // 3, "a third has come")
        goes(networks)

    name = relay.ref("networks/large:1")
    result = client.during(name, then)
    _refused(result, "cannot be reached")
    comes(networks)
    before = len(site.access_log())
    [line] = client.pull(name).ok().json_lines
    [layer] = line["layers"]
    assert layer["status"] == "resumed"
    [again] = [each for each in site.access_log()[before:] if each.blob == layer["digest"]]
    assert again.status == 206
    assert 0 < again.size < layer["size"] - SIZE // 10


def test_cut_again_and_again(
    client: Client, networks: JoinedNetworks, site: DockerRegistry, count: Callable[[int, int], int]
) -> None:
    """Each connection is reset after some thousand bytes: more often than anything is tried again."""
    relay = Relay(
        networks.listen(),
        site.address,
        random_cuts(7, *((30_000, 90_000) if count(0, 1) == 0 else (4_000, 40_000))),
    )
    try:
        result = client.pull(relay.ref("networks/large:1")).ok()
    finally:
        relay.stop()
    assert result.json_lines[0]["status"] == "downloaded"
    assert relay.cuts > 7


@pytest.mark.costly
@pytest.mark.parametrize(("probability", "name"), [(0.1, "small"), (0.05, "large")])
def test_lossy(client: Client, networks: JoinedNetworks, relay: Relay, probability: float, name: str) -> None:
    """Packets get lost in both directions."""
    networks.lossy(probability)
    settings = _SETTINGS.replace("1.0", "20.0").replace("retries = 1", "retries = 5")
    client.pull(relay.ref(f"networks/{name}:1"), settings).ok()


def test_a_black_hole(client: Client, networks: JoinedNetworks, relay: Relay) -> None:
    """Nobody answers to a connection."""
    networks.drop("-p tcp --syn")
    _refused(client.pull(relay.ref("networks/small:1")), "no connection within the time limit")
    assert relay.connections == 0


@pytest.mark.costly
def test_no_route(client: Client, networks: JoinedNetworks, relay: Relay) -> None:
    networks.client("ip route flush dev wire")
    _refused(client.pull(relay.ref("networks/small:1")), "network is unreachable")


@pytest.mark.parametrize(
    ("route", "says"),
    [("unreachable", "no route to host"), ("prohibit", "permission denied"), ("blackhole", "invalid argument")],
)
@pytest.mark.costly
def test_a_route_to_nowhere(client: Client, networks: JoinedNetworks, relay: Relay, route: str, says: str) -> None:
    networks.client(f"ip route add {route} {SERVER}/32")
    _refused(client.pull(relay.ref("networks/small:1")), says)


@pytest.mark.costly
def test_large_packets_vanish(client: Client, networks: JoinedNetworks, relay: Relay) -> None:
    """As where nobody may say that packets are too long: heads come, bodies do not."""
    networks.client("iptables -A INPUT -i wire -m length --length 1200: -j DROP")
    _refused(client.pull(relay.ref("networks/large:1")), "within the time limit")


_NAMES = {
    "silence": (None, "cannot be looked up now"),
    "failure": (2, "cannot be looked up now"),
    "no-such-name": (3, "no host of that name"),
    "no-address": ((), "no host of that name"),
}


@pytest.mark.parametrize(
    "answer", ["failure", *(pytest.param(each, marks=pytest.mark.costly) for each in _NAMES if each != "failure")]
)
def test_names(client: Client, networks: JoinedNetworks, relay: Relay, answer: str, tmp_path: Path) -> None:
    """A name server that does not know, or does not answer."""
    say, says = _NAMES[answer]
    networks.resolve_by(f"nameserver {SERVER}\noptions timeout:1 attempts:1\n", tmp_path)
    resolver = Resolver(networks, say)
    try:
        result = client.pull(f"registry.example:{relay.address.rpartition(':')[2]}/networks/small:1")
    finally:
        resolver.stop()
    _refused(result, says)
    assert result.json_lines[0]["error"]["hint"]
    assert resolver.asked


@pytest.mark.costly
def test_of_two_addresses_one_answers(client: Client, networks: JoinedNetworks, relay: Relay, tmp_path: Path) -> None:
    """The first one is a black hole, which is waited for once, not by each connection."""
    networks.resolve_by(f"nameserver {SERVER}\n", tmp_path)
    networks.client("ip route add 198.51.100.0/24 dev wire")
    resolver = Resolver(networks, ("198.51.100.1", SERVER))
    try:
        client.pull(f"registry.example:{relay.address.rpartition(':')[2]}/networks/small:1").ok()
    finally:
        resolver.stop()
    assert relay.connections > 1
    assert resolver.asked == 2, "for both kinds of addresses, once"


@pytest.mark.costly
def test_a_name_leads_there(client: Client, networks: JoinedNetworks, relay: Relay, tmp_path: Path) -> None:
    networks.resolve_by(f"nameserver {SERVER}\n", tmp_path)
    resolver = Resolver(networks, (SERVER,))
    try:
        client.pull(f"registry.example:{relay.address.rpartition(':')[2]}/networks/small:1").ok()
    finally:
        resolver.stop()
