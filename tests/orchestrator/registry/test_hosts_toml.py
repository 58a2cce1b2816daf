"""containerd's hosts.toml by tables; the examples of its documentation are among them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import UsageError
from polyarch.registry.certificates import Certificates
from polyarch.registry.hosts_toml import Host, Hosts, find_hosts, parse_hosts
from polyarch.registry.trust import USUAL, Trust

FOLDER = Path("/etc/containerd/certs.d/docker.io")
FILE = FOLDER / "hosts.toml"


def test_a_local_mirror_as_documented() -> None:
    hosts = parse_hosts(
        b"""
        server = "https://registry-1.docker.io"    # Exclude this to not use upstream

        [host."https://public-mirror.example.com"]
          capabilities = ["pull"]                  # Requires less trust, won't resolve tag to digest from this host
        [host."https://docker-mirror.internal"]
          capabilities = ["pull", "resolve"]
          ca = "docker-mirror.crt"                 # Or absolute path
        """,
        FILE,
    )
    trust = Trust(certificates=Certificates((FOLDER / "docker-mirror.crt",)))
    assert hosts.hosts == (
        Host("https", "public-mirror.example.com", resolves=False),
        Host("https", "docker-mirror.internal", trust=trust),
    )
    assert hosts.server == Host("https", "registry-1.docker.io")
    assert hosts.trust == USUAL


def test_every_key_of_a_host() -> None:
    [host] = parse_hosts(
        b"""
        [host."http://mirror.local:5000/us/"]
          capabilities = ["PULL", "push"]
          skip_verify = false
          ca = ["/a/ca.pem", "b.pem"]
          client = [["c.cert", "c.key"], ["d.pem", ""], "e.pem"]
          dial_timeout = "1m1.5s"
          [host."http://mirror.local:5000/us/".header]
            x-one = "1"
            x-two = ["2", "3"]
        """,
        FILE,
    ).hosts
    pairs = tuple(
        (FOLDER / one, FOLDER / other) for one, other in [("c.cert", "c.key"), ("d.pem", "d.pem"), ("e.pem", "e.pem")]
    )
    certificates = Certificates((Path("/a/ca.pem"), FOLDER / "b.pem"), pairs)
    trust = Trust(True, certificates, (("x-one", "1"), ("x-two", "2, 3")), 61.5)  # plain HTTP was asked for
    assert host == Host("http", "mirror.local:5000", "/us/v2", pulls=True, resolves=False, trust=trust)


# the address of a host, override_path; scheme, name and API
ADDRESSES = [
    ("https://m.local", False, ("https", "m.local", "/v2")),
    ("https://m.local/", False, ("https", "m.local", "/v2")),
    ("https://m.local:443/v2/", False, ("https", "m.local", "/v2")),
    ("http://m.local:80", False, ("http", "m.local", "/v2")),
    ("m.local:5000", False, ("https", "m.local:5000", "/v2")),
    ("https://m.local/a/../b", False, ("https", "m.local", "/b/v2")),
    ("https://m.local/v2/upstream", True, ("https", "m.local", "/v2/upstream")),
    ("https://m.local", True, ("https", "m.local", "")),
    ("https://[::1]:5000", False, ("https", "[::1]:5000", "/v2")),
]


@pytest.mark.parametrize(("address", "override", "made"), ADDRESSES)
def test_addresses(address: str, override: bool, made: tuple[str, str, str]) -> None:
    text = f'[host."{address}"]\noverride_path = {str(override).lower()}'
    [host] = parse_hosts(text.encode(), FILE).hosts
    assert (host.scheme, host.name, host.api) == made


def test_the_order_is_the_files() -> None:
    names = ["z.local", "a.local", "m.local"]
    text = '[host."https://z.local".header]\nx = "1"\n' + "\n".join(f'[host."https://{name}"]' for name in names[1:])
    assert [host.name for host in parse_hosts(text.encode(), FILE).hosts] == names


def test_without_a_server_the_rest_is_said_of_the_registry_itself() -> None:
    hosts = parse_hosts(b"skip_verify = true\n[header]\nx-a = 'b'\n", FILE)
    assert (hosts.server, hosts.trust) == (None, Trust(insecure=True, headers=(("x-a", "b"),)))


BROKEN = {
    "no TOML": ("server = \n", "line 1"),
    "no address": ('[host."https://"]', "not the address of a host"),
    "another scheme": ('[host."ftp://a.b"]', "not the address of a host"),
    "a password in it": ('[host."https://a:b@c.d"]', "not the address of a host"),
    "unknown capability": ("capabilities = ['fetch']", "none of pull, resolve, push"),
    "capabilities in a text": ("capabilities = 'pull'", "array of strings"),
    "a table for a path": ("ca = {}", "array of strings"),
    "half a pair": ("client = [['a']]", "a pair is"),
    "a number": ("client = 1", "array of pairs"),
    "a header with lines": ('[header]\nx = "a\\r\\nb: c"', "cannot be sent"),
    "a header with a space": ('[header]\n"x y" = "a"', "cannot be sent"),
    "no duration": ("dial_timeout = '1 fortnight'", "no duration"),
    "a host that is a text": ("[host]\n'https://a.b' = 'x'", "has to be a table"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_with_its_name_and_what(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_hosts(text.encode(), FILE)
    assert caught.value.message.startswith(f"hosts.toml {FILE}: ")
    assert said in caught.value.message


def test_the_folder_of_a_registry(tmp_path: Path) -> None:
    def write(name: str, host: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "hosts.toml").write_text(f'[host."https://{host}"]')

    def first(registry: str) -> str | None:
        hosts = find_hosts(tmp_path, registry)
        return hosts.hosts[0].name if hosts else None

    assert first("a.b:5000") is None
    write("_default", "default.local")
    write("a.b", "plain.local")
    assert (first("a.b:5000"), first("a.b"), first("c.d")) == ("default.local", "plain.local", "default.local")
    write("a.b:5000", "colon.local")
    assert first("a.b:5000") == "colon.local"
    write("a.b_5000_", "lines.local")
    assert first("a.b:5000") == "lines.local"


def test_a_folder_without_the_file_may_hold_certificates(tmp_path: Path) -> None:
    folder = tmp_path / "a.b:5000"
    folder.mkdir()
    assert find_hosts(tmp_path, "a.b:5000") is None
    (folder / "ca.crt").touch()
    hosts = find_hosts(tmp_path, "a.b:5000")
    assert hosts is not None
    assert hosts.trust.certificates == Certificates((folder / "ca.crt",))
    (folder / "hosts.toml").touch()  # now the certificates are for whom it names
    hosts = find_hosts(tmp_path, "a.b:5000")
    assert hosts is not None
    assert hosts.trust == USUAL


def read(raw: bytes) -> Hosts | None:
    """What a file says; None if it is broken, which names the file."""
    said = ""
    try:
        return parse_hosts(raw, FILE)
    except UsageError as error:
        said = error.message
    assert said.startswith(f"hosts.toml {FILE}: ")
    return None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_told(raw: bytes) -> None:
    read(raw)


LEAVES = st.sampled_from(["'a'", "''", "1", "true", "[]", "['pull']", "[['a', 'b']]", "{}", "{ x = 'y' }", "'1s'"])
KEYS = st.sampled_from(
    ["server", "host", "ca", "client", "header", "skip_verify", "capabilities", "override_path", "dial_timeout"]
)


@given(st.dictionaries(KEYS, LEAVES, max_size=5), st.dictionaries(KEYS, LEAVES, max_size=5))
def test_whatever_stands_in_a_file_is_read_or_told(root: dict[str, str], host: dict[str, str]) -> None:
    lines = [f"{key} = {value}" for key, value in root.items()]
    lines += ["[host.'https://m.local']"] * ("host" not in root) + [f"{key} = {value}" for key, value in host.items()]
    hosts = read("\n".join(lines).encode())
    assert hosts is None or all(host.name for host in hosts.hosts)
