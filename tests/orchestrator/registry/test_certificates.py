"""Certificates in certs.d: found, paired, and of use to real TLS servers."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyarch.errors import UnreachableError, UsageError
from polyarch.oci.document import Index
from polyarch.reference import parse_reference
from polyarch.registry.certificates import Certificates, TlsContexts, find_certificates
from support.certificates import self_signed, tls_settings
from support.docker_registry import DockerRegistry
from support.registry_client import Connect


def _files(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_the_first_directory_with_the_registrys_name_counts(tmp_path: Path) -> None:
    _files(tmp_path / "a" / "other:5000", "x.crt")
    place = _files(tmp_path / "b" / "host:5000", "z.crt", "a.crt", "client.cert", "client.key", "README", "x.pem")
    _files(tmp_path / "c" / "host:5000", "y.crt")
    directories = (tmp_path / "none", tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert find_certificates(directories, "host", 5000) == Certificates(
        (place / "a.crt", place / "z.crt"), ((place / "client.cert", place / "client.key"),)
    )
    assert find_certificates(directories, "host", 5001) is None
    assert find_certificates(directories, "host", 443) is None


@pytest.mark.parametrize("name", ["host", "host:443"])
def test_the_usual_port_may_be_left_out(tmp_path: Path, name: str) -> None:
    place = _files(tmp_path / name, "ca.crt")
    assert find_certificates((tmp_path,), "host", 443) == Certificates((place / "ca.crt",))


@pytest.mark.parametrize("name", ["client.cert", "client.key"])
def test_half_a_pair_is_told(tmp_path: Path, name: str) -> None:
    _files(tmp_path / "host:1", name)
    with pytest.raises(UsageError, match=f"{name} is there, but not client"):
        find_certificates((tmp_path,), "host", 1)


@pytest.mark.parametrize("content", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_broken_authority_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "ca.crt").write_text(content)
    with pytest.raises(UsageError, match=r"ca\.crt: no usable PEM"):
        TlsContexts().get(Certificates((tmp_path / "ca.crt",)), verify=True, http2=False)


def test_a_key_of_somebody_else_or_with_a_pass_phrase_is_told(tmp_path: Path) -> None:
    _, certificate = self_signed(tmp_path / "a")
    key, _ = self_signed(tmp_path / "b")
    with pytest.raises(UsageError, match="no usable PEM"):
        TlsContexts().get(Certificates((), ((certificate, key),)), verify=True, http2=False)
    locked = tmp_path / "locked.key"
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    with pytest.raises(UsageError, match="no usable PEM"):
        TlsContexts().get(Certificates((), ((certificate, locked),)), verify=True, http2=False)


def test_contexts(tmp_path: Path) -> None:
    contexts = TlsContexts()
    strict = contexts.get(None, verify=True, http2=False)
    assert (strict.verify_mode, strict.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert strict.minimum_version == ssl.TLSVersion.TLSv1_2
    assert strict.get_ca_certs() or ssl.get_default_verify_paths().capath
    loose = contexts.get(None, verify=False, http2=False)
    assert (loose.verify_mode, loose.check_hostname) == (ssl.CERT_NONE, False)
    assert contexts.get(None, verify=True, http2=False) is strict
    assert contexts.get(None, verify=True, http2=True) is not strict


CertsFor = Callable[..., Path]


@pytest.fixture
def certs_for(tmp_path: Path, tls_registry: DockerRegistry) -> CertsFor:
    """Names of files beside the registry's own -> a directory like /etc/docker/certs.d with these for it."""

    def make(*names: str) -> Path:
        place = tmp_path / "certs.d" / tls_registry.address
        place.mkdir(parents=True)
        for name in names:
            shutil.copy(tls_registry.storage.parent / name, place)
        return tmp_path / "certs.d"

    return make


ALL = ("ca.crt", "client.cert", "client.key")


def test_own_authority_and_client_certificate(
    connect: Connect, tls_registry: DockerRegistry, certs_for: CertsFor
) -> None:
    client = connect((certs_for(*ALL),)).registry
    reference = parse_reference(tls_registry.ref("busybox:1.36"))
    index = client.get(reference)
    assert isinstance(index, Index)
    assert client.head(reference) == index.descriptor


def test_documents_come_over_http2_where_it_is_offered(
    connect: Connect, tls_registry: DockerRegistry, certs_for: CertsFor
) -> None:
    pytest.importorskip("h2", reason="the extra http2 is not installed")
    connected = connect((certs_for(*ALL),))
    versions = []
    from polyarch.registry.http_client import Call

    for bulk in (False, False, True):
        with connected.http.open(Call("GET", tls_registry.address, "/v2/", bulk=bulk)) as reply:
            assert reply.status == 200
            versions.append(reply.http_version)
    assert versions == ["HTTP/2", "HTTP/2", "HTTP/1.1"]


def test_documents_over_http2_in_many_threads(
    connect: Connect, tls_registry: DockerRegistry, certs_for: CertsFor
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    client = connect((certs_for(*ALL),)).registry
    reference = parse_reference(tls_registry.ref("busybox:1.36"))
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: client.get(reference).digest, range(64)))
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("names", "says", "hint"),
    [
        (("client.cert", "client.key"), "its certificate is not trusted", "ca.crt"),
        (("ca.crt",), "it wants a client certificate", "client.cert"),
    ],
)
def test_what_is_missing_is_told(
    connect: Connect,
    tls_registry: DockerRegistry,
    certs_for: CertsFor,
    names: tuple[str, ...],
    says: str,
    hint: str,
) -> None:
    with pytest.raises(UnreachableError, match=says) as caught:
        connect((certs_for(*names),), retries=3).registry.get(parse_reference(tls_registry.ref("busybox:1.36")))
    assert hint in (caught.value.hint or "")


@pytest.fixture
def plain_tls_registry(registry: DockerRegistry, tmp_path: Path) -> Iterator[DockerRegistry]:
    """A registry with a certificate that nobody has signed, which asks for none itself."""
    folder = tmp_path / "plain-tls"
    settings, context = tls_settings(folder)
    del settings["http"]["tls"]["clientcas"]
    server = DockerRegistry(folder, settings, storage=registry.storage, context=context)
    yield server
    server.stop()


def test_loopback_may_show_any_certificate(connect: Connect, plain_tls_registry: DockerRegistry) -> None:
    client = connect().registry
    reference = parse_reference(plain_tls_registry.ref("busybox:1.36"))
    assert client.get(reference)
    assert client.head(reference)


def test_elsewhere_a_certificate_counts(
    connect: Connect, plain_tls_registry: DockerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.1 as if it were not loopback: the rules for all other hosts."""
    from polyarch.registry import http_client

    monkeypatch.setattr(http_client, "is_loopback", lambda host: False)
    reference = parse_reference(plain_tls_registry.ref("busybox:1.36"))
    with pytest.raises(UnreachableError, match="its certificate is not trusted") as caught:
        connect(retries=3).registry.get(reference)
    assert f"/etc/docker/certs.d/{plain_tls_registry.address}/ca.crt" in (caught.value.hint or "")
    assert "--no-tls-verify" in (caught.value.hint or "")
    assert connect(tls_verify=False).registry.get(reference)
    assert connect(insecure_registries=(plain_tls_registry.address,)).registry.get(reference)


def test_elsewhere_plain_http_must_be_allowed(
    connect: Connect, registry: DockerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polyarch.registry import http_client

    monkeypatch.setattr(http_client, "is_loopback", lambda host: False)
    reference = parse_reference(registry.ref("busybox:1.36"))
    with pytest.raises(UnreachableError, match="does not speak TLS here") as caught:
        connect(retries=3).registry.get(reference)
    assert "--no-tls-verify" in (caught.value.hint or "")
    assert connect(tls_verify=False).registry.get(reference)
    assert connect(insecure_registries=("127.0.0.0/8",)).registry.get(reference)
