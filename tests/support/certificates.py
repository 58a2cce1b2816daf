"""Keys and certificates for registries in tests, made by the `openssl` program."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest


def self_signed(folder: Path, name: str = "127.0.0.1") -> tuple[Path, Path]:
    """Makes an RSA key and a certificate for an IP address, signed with itself: (key, certificate), PEM files."""
    if shutil.which("openssl") is None:
        pytest.skip("the program openssl is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}"]
    argv += ["-addext", f"subjectAltName=IP:{name}", "-keyout", str(key), "-out", str(certificate)]
    made = subprocess.run(argv, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return key, certificate


def tls_settings(folder: Path) -> tuple[dict[str, Any], ssl.SSLContext]:
    """Settings for a `DockerRegistry` that speaks HTTPS to bearers of a client certificate, and a context that may.

    In `folder`, as in /etc/docker/certs.d/HOST:PORT: `ca.crt` (the server's), `client.cert` and `client.key`.
    """
    server_key, server_certificate = self_signed(folder / "server")
    client_key, client_certificate = self_signed(folder / "client")
    shutil.copy(server_certificate, folder / "ca.crt")
    shutil.copy(client_certificate, folder / "client.cert")
    shutil.copy(client_key, folder / "client.key")
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "client.cert", folder / "client.key")
    files = {"certificate": str(server_certificate), "key": str(server_key), "clientcas": [str(client_certificate)]}
    return {"http": {"tls": files}}, context
