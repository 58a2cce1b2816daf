"""Certificates of single registries, as docker and podman keep them, and TLS with them.

Source: containers-certs.d(5) and docker's "Verify repository client with certificates": a directory named `HOST:PORT`
with `*.crt` (certificate authorities), `*.cert` with `*.key` of the same stem (client certificates).
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from pathlib import Path

from polyarch.errors import UsageError
from polyarch.registry.origin import DEFAULT_PORTS
from polyarch_platforms.lazy_dataclass import dataclass

DIRECTORIES = (Path("/etc/containers/certs.d"), Path("/etc/docker/certs.d"))


@dataclass(frozen=True, slots=True)
class Certificates:
    """The PEM files of one registry: certificate authorities, and pairs of client certificate and key."""

    authorities: tuple[Path, ...] = ()
    pairs: tuple[tuple[Path, Path], ...] = ()


def find_certificates(directories: Sequence[Path], host: str, port: int) -> Certificates | None:
    """The certificates kept for a registry; None where no directory has its name.

    Raises UsageError for a client certificate without key, a key without certificate, an unreadable directory.
    """
    names = (f"{host}:{port}", host) if port == DEFAULT_PORTS["https"] else (f"{host}:{port}",)
    for directory in directories:
        for name in names:
            found = certificates_in(directory / name)
            if found is not None:
                return found
    return None


def certificates_in(folder: Path) -> Certificates | None:
    """The certificates in a folder; None where there is no such folder. Raises UsageError as above."""
    try:
        files = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"certificates in {folder}: {error.strerror}") from error
    by_name = set(files)
    for path in files:
        missing = path.with_suffix({".cert": ".key", ".key": ".cert"}.get(path.suffix, path.suffix))
        if missing not in by_name:
            raise UsageError(f"certificates: {path} is there, but not {missing.name}", "a client has both, or none")
    return Certificates(
        tuple(path for path in files if path.suffix == ".crt"),
        tuple((path, path.with_suffix(".key")) for path in files if path.suffix == ".cert"),
    )


class TlsContexts:
    """The TLS contexts in use; each is made once. Loading the system's authorities takes 17 ms, so: when needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[Certificates | None, bool, bool], ssl.SSLContext] = {}

    def get(self, certificates: Certificates | None, *, verify: bool, http2: bool) -> ssl.SSLContext:
        """A context; one for HTTP/2 is never shared with others, because its protocols are set when it connects."""
        key = (certificates, verify, http2)
        with self._lock:
            if key not in self._made:
                self._made[key] = _context(certificates or Certificates(), verify)
            return self._made[key]


def _context(certificates: Certificates, verify: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if verify:
        paths = ssl.get_default_verify_paths()
        if paths.cafile or paths.capath:
            context.load_default_certs()
        else:  # a system without certificates, such as a slim container
            import certifi

            context.load_verify_locations(certifi.where())
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for path in certificates.authorities:
        try:
            context.load_verify_locations(path)
        except (OSError, ValueError) as error:
            raise _unusable(path, error) from error
    for certificate, key in certificates.pairs:
        try:
            context.load_cert_chain(certificate, key, password="")  # never ask on the terminal
        except (OSError, ValueError) as error:
            raise _unusable(certificate, error) from error
    return context


def _unusable(path: Path, error: Exception) -> UsageError:
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return UsageError(f"certificate {path}: no usable PEM", "a key has no pass phrase and fits the certificate")
    return UsageError(f"certificate {path}: {error.strerror}")
