"""What a file says of how a host is spoken with: headers, paths, certificates; by registries that are real."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from polyarch.contract import Index, Reference, UnreachableError
from polyarch.reference import parse_reference
from polyarch.resolution.documents import Documents
from support import faults
from support.docker_registry import DockerRegistry
from support.faulty_registry import FaultyRegistry
from support.registry_auth import PASSWORD, USERNAME
from support.registry_client import Connect, Connected

NAME = "busybox:1.36"


def hosts_file(folder: Path, registry: str, text: str) -> str:
    """Writes a hosts.toml; what `containerd_hosts` is set to."""
    (folder / "hosts" / registry).mkdir(parents=True)
    (folder / "hosts" / registry / "hosts.toml").write_text(text)
    return str(folder / "hosts")


def read_config(connected: Connected, reference: Reference) -> None:
    """Reads the index, a manifest and its config."""
    documents = Documents(connected.registry)
    index = documents.root(reference)
    assert isinstance(index, Index)
    assert documents.config(reference, documents.manifest(reference, index.manifests[0]))


def test_a_host_is_told_whom_it_stands_for(registry: DockerRegistry, connect: Connect, tmp_path: Path) -> None:
    text = f'[host."http://{registry.address}".header]\nx-site = "attic"'
    connected = connect(containerd_hosts=hosts_file(tmp_path, "a.example", text))
    before = len(registry.access_log())
    read_config(connected, parse_reference(f"a.example/{NAME}"))
    paths = [access.path for access in registry.access_log()[before:]]
    assert len(paths) == 3
    assert all(path.endswith("?ns=a.example") for path in paths)


def test_a_hosts_headers_are_for_it_alone(faulty_registry: FaultyRegistry, connect: Connect, tmp_path: Path) -> None:
    text = f'server = "http://{faulty_registry.address}"\n[header]\nx-key = "secret of the site"'
    connected = connect(containerd_hosts=hosts_file(tmp_path, faulty_registry.address, text))
    faulty_registry.script("GET", "/blobs/", faults.redirect_to_host(faulty_registry.elsewhere))
    read_config(connected, parse_reference(faulty_registry.ref(NAME)))
    keys = [
        (request.host == faulty_registry.address, request.headers.get("x-key")) for request in faulty_registry.requests
    ]
    assert keys == [(True, "secret of the site")] * 3 + [(False, None)]


def test_a_path_before_the_api(registry: DockerRegistry, connect: Connect, tmp_path: Path) -> None:
    server = DockerRegistry(tmp_path / "prefixed", {"http": {"prefix": "/us/"}}, storage=registry.storage)
    try:
        hosts = hosts_file(tmp_path, "a.example", f'server = "http://{server.address}/us"')
        client = connect(containerd_hosts=hosts).registry
        assert client.get(parse_reference(f"a.example/{NAME}"))
        assert "1.36" in list(client.tags(parse_reference("a.example/busybox")))
        paths = [access.path for access in server.access_log()]
        assert [path.partition("?")[0] for path in paths[-2:]] == [
            "/us/v2/busybox/manifests/1.36",
            "/us/v2/busybox/tags/list",
        ]
    finally:
        server.stop()


# what hosts.toml says of a registry with TLS and client certificates; what comes of it ("" for success)
CERTIFICATES = {
    "all": ("ca = 'ca.crt'\nclient = [['client.cert', 'client.key']]", ""),
    "no client": ("ca = 'ca.crt'", "wants a client certificate"),
    "another authority": ("ca = 'client.cert'\nclient = [['client.cert', 'client.key']]", "not trusted"),
    "any": ("ca = 'client.cert'\nclient = [['client.cert', 'client.key']]\nskip_verify = true", ""),
}


@pytest.mark.parametrize(("text", "refused"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_certificates_of_a_host(
    tls_registry: DockerRegistry, connect: Connect, tmp_path: Path, text: str, refused: str
) -> None:
    hosts = hosts_file(tmp_path, "a.example", f'server = "https://{tls_registry.address}"\n{text}')
    for name in ("ca.crt", "client.cert", "client.key"):
        shutil.copy(tls_registry.storage.parent / name, tmp_path / "hosts" / "a.example")
    client = connect(containerd_hosts=hosts, retries=0).registry
    reference = parse_reference(f"a.example/{NAME}")
    if refused:
        with pytest.raises(UnreachableError, match=refused):
            client.get(reference)
    else:
        assert client.get(reference)


def test_an_insecure_registry_of_podmans_file(tls_registry: DockerRegistry, connect: Connect, tmp_path: Path) -> None:
    certificates = tmp_path / "certs.d"
    place = certificates / tls_registry.address
    place.mkdir(parents=True)
    for name in ("client.cert", "client.key"):
        shutil.copy(tls_registry.storage.parent / name, place)
    conf = tmp_path / "registries.conf"
    reference = parse_reference(tls_registry.ref(NAME))
    for insecure in ("false", "true"):
        conf.write_text(f'[[registry]]\nlocation = "{tls_registry.address}/busybox"\ninsecure = {insecure}')
        client = connect((certificates,), registries_conf=str(conf), retries=0).registry
        if insecure == "true":
            assert client.get(reference)
            reference = parse_reference(tls_registry.ref("library/busybox:1.36"))  # another namespace: not insecure
        with pytest.raises(UnreachableError, match="not trusted"):
            client.get(reference)


def test_credential_helpers_of_podmans_file(
    authed_registry: DockerRegistry, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "docker-credential-mine"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncat > {tmp_path}/asked\necho \'{{"Username":"{USERNAME}","Secret":"{PASSWORD}"}}\'\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    conf = tmp_path / "registries.conf"
    conf.write_text('credential-helpers = ["containers-auth.json", "mine"]')
    assert connect(registries_conf=str(conf)).registry.get(parse_reference(authed_registry.ref(NAME)))
    assert (tmp_path / "asked").read_text() == authed_registry.address
