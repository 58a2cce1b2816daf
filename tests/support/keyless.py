"""Authorities, certificates and logs of the tests' own, and signatures by keys that certificates stand for.

Nothing of polyarch's code is in it.

Sources: cosign, specs/SIGNATURE_SPEC.md; fulcio, docs/certificate-specification.md and docs/oid-info.md.
"""

from __future__ import annotations

import base64
import http.server
import ipaddress
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support import cosign_keys
from support.cosign_keys import CosignKey

Json = dict[str, Any]
Extensions = tuple[tuple[x509.ExtensionType, bool], ...]

SIGNATURE = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"
CHAIN = "dev.sigstore.cosign/chain"
BUNDLE = "dev.sigstore.cosign/bundle"

LOGGED = 1_700_000_000
"""When a log took the signatures in: seconds of 1970, in November 2023."""

ISSUER = "https://login.example.com"
EMAIL = "dev@example.com"
CODE, SERVER, ANY = (
    ExtendedKeyUsageOID.CODE_SIGNING,
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
)
_AUTHORITY: Extensions = ((x509.BasicConstraints(True, None), True),)
_LONG = (-20 * 365 * 86400, 40 * 365 * 86400)


@dataclass(frozen=True, slots=True)
class Authority:
    """Who issues certificates; `path` are the certificates above it, the root last."""

    key: Any
    certificate: x509.Certificate
    path: tuple[x509.Certificate, ...] = ()


def secret(kind: str = "P-256") -> Any:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP384R1() if kind == "P-384" else ec.SECP256R1())


def authority(
    name: str,
    above: Authority | None = None,
    *,
    kind: str = "P-256",
    extensions: Extensions = _AUTHORITY,
    valid: tuple[int, int] = _LONG,
) -> Authority:
    """One that `above` issued, or a root; `valid` in seconds around LOGGED."""
    key = secret(kind)
    made = _issued(name, key, above, extensions, valid)
    return Authority(key, made, () if above is None else (above.certificate, *above.path))


def usage(*purposes: x509.ObjectIdentifier) -> Extensions:
    return ((x509.ExtendedKeyUsage(purposes), False),) if purposes else ()


def issuer(text: str, *, newer: bool = False) -> Extensions:
    """Who the holder logged in at: Fulcio's older extension has the bare text, the newer one a UTF8String."""
    raw = text.encode()
    if not newer:
        return ((_extension("1.3.6.1.4.1.57264.1.1", raw), False),)
    size = len(raw).to_bytes((len(raw).bit_length() + 7) // 8)
    length = size if len(raw) < 128 else bytes([0x80 | len(size)]) + size
    return newer_issuer(b"\x0c" + length + raw)


def newer_issuer(der: bytes) -> Extensions:
    return ((_extension("1.3.6.1.4.1.57264.1.8", der), False),)


def unknown(*, critical: bool) -> Extensions:
    """An extension that nobody knows."""
    return ((_extension("1.3.6.1.4.1.57264.99.1", b"\x05\x00"), critical),)


def policies(*, critical: bool) -> Extensions:
    named = x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.57264.99.2"), None)
    return ((x509.CertificatePolicies([named]), critical),)


def names(
    *emails: str, hosts: Sequence[str] = (), addresses: Sequence[str] = (), uris: Sequence[str] = ()
) -> Extensions:
    """The names of a holder, critical as Fulcio has them (the subject is empty)."""
    found: list[x509.GeneralName] = [x509.RFC822Name(each) for each in emails]
    found += [x509.DNSName(each) for each in hosts]
    found += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
    found += [x509.UniformResourceIdentifier(each) for each in uris]
    return ((x509.SubjectAlternativeName(found), True),)


@dataclass(frozen=True, slots=True)
class Keyless:
    """What goes into one signature; where nothing else is said, it is right.

    `valid` is in seconds around LOGGED: long over, but not when the log took the signature in. `attached` are the
    certificates above the signer's that go along, None: all. `annotations` replaces some, None takes one away.
    """

    by: str = "root"
    key: str = "P-256"
    names: Extensions = field(default_factory=lambda: names(EMAIL))
    issuer: Extensions = field(default_factory=lambda: issuer(ISSUER))
    usage: Extensions = field(default_factory=lambda: usage(CODE))
    more: Extensions = ()
    valid: tuple[int, int] = (0, 600)
    attached: tuple[str, ...] | None = None
    log: str = "log"
    logged: int = LOGGED
    logged_signer: str = "certificate"
    record: Json = field(default_factory=dict)
    other_key: bool = False
    annotations: dict[str, str | None] = field(default_factory=dict)


class Signers:
    """The authorities, by name, and the files in which a policy names them and the logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        root, server = authority("root"), authority("root", extensions=(*_AUTHORITY, *usage(SERVER)))
        short = authority("short", extensions=((x509.BasicConstraints(True, 0), True),))
        allowing = x509.NameConstraints([x509.RFC822Name("example.com")], None)
        elsewhere = x509.NameConstraints([x509.RFC822Name("example.org")], None)
        signing = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        self.authorities = {
            "root": root,
            "namesake": authority("root"),
            "other": authority("other"),
            "server": server,
            "short": short,
            "rsa": authority("rsa", kind="rsa"),
            "P-384": authority("P-384", kind="P-384"),
            "ed25519": authority("ed25519", kind="ed25519"),
            "gone": authority("gone", valid=(-1000, -10)),
            "allowing": authority("allowing", extensions=(*_AUTHORITY, (allowing, True))),
            "elsewhere": authority("elsewhere", extensions=(*_AUTHORITY, (elsewhere, True))),
            "between": authority("between", root),
            "further": authority("further", authority("between", root)),
            "below short": authority("below short", short),
            "no authority": authority("no authority", root, extensions=()),
            "said to be none": authority(
                "said to be none", root, extensions=((x509.BasicConstraints(False, None), True),)
            ),
            "not to sign": authority("not to sign", root, extensions=(*_AUTHORITY, (signing, True))),
            "between for servers": authority("between", root, extensions=(*_AUTHORITY, *usage(SERVER))),
            "between for code": authority("between", root, extensions=(*_AUTHORITY, *usage(SERVER, CODE))),
            "between gone": authority("between", root, valid=(-1000, -10)),
        }
        self.logs = {name: cosign_keys.ecdsa_key(folder, f"keyless-{name}") for name in ("log", "other-log")}
        self.logs["rsa-log"] = cosign_keys.rsa_key(folder, "keyless-rsa-log")

    def file(self, *who: str) -> str:
        """The path of a file with the certificates of these authorities."""
        path = self.folder / f"{'-'.join(who).replace(' ', '-')}.pem"
        path.write_bytes(b"".join(pem(self.authorities[each].certificate) for each in who))
        return str(path)

    def sign(self, content: bytes, said: Keyless) -> Json:
        """The annotations of a signature over `content`."""
        above = self.authorities[said.by]
        extensions = (*said.names, *said.issuer, *said.usage, *said.more)
        key = secret(said.key)
        signer = _issued("", key, above, extensions, said.valid)
        stranger = _issued("", key, above, extensions, said.valid)
        if said.by == "no authority" or said.attached is None:
            chain = (above.certificate, *above.path)
        else:
            chain = tuple(self.authorities[each].certificate for each in said.attached)
        signature = cosign_keys.sign(CosignKey(secret() if said.other_key else key, self.folder), content)
        shown = {
            "certificate": pem(signer),
            "another": pem(stranger),
            "key": key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "two": pem(signer) * 2,
        }[said.logged_signer]
        bundle = cosign_keys.log_bundle(self.logs[said.log], shown, content, signature, said.record, said.logged)
        annotations: dict[str, str | None] = {
            SIGNATURE: signature,
            CERTIFICATE: pem(signer).decode(),
            CHAIN: b"".join(map(pem, chain)).decode(),
            BUNDLE: bundle,
            **said.annotations,
        }
        return {key: value for key, value in annotations.items() if value is not None}


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _extension(number: str, raw: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(number), raw)


def _issued(
    name: str, key: Any, above: Authority | None, extensions: Extensions, valid: tuple[int, int]
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    first, last = (datetime.fromtimestamp(LOGGED, UTC) + timedelta(seconds=each) for each in valid)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if above is None else above.certificate.subject)
        .public_key(key.public_key() if hasattr(key, "public_key") else key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    signing = key if above is None else above.key
    return builder.sign(signing, None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256())


class Services(http.server.BaseHTTPRequestHandler):
    """Fulcio and Rekor in one, as far as skopeo asks them: a certificate for a key, an entry for a signature.

    Sources: fulcio, pkg/api (POST /api/v1/signingCert); rekor, openapi.yaml (POST /api/v1/log/entries).
    """

    signers: Signers

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind, answer = self._certified(asked) if self.path.endswith("/signingCert") else self._logged(asked)
        self.send_response(201)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _certified(self, asked: Json) -> tuple[str, bytes]:
        key = load_der_public_key(base64.b64decode(asked["publicKey"]["content"]))
        above, now = self.signers.authorities["between"], int(datetime.now(UTC).timestamp()) - LOGGED
        extensions = (*names(EMAIL), *issuer(ISSUER), *usage(CODE))
        made = _issued("", key, above, extensions, (now - 60, now + 600))
        return "application/pem-certificate-chain", b"".join(map(pem, (made, above.certificate, *above.path)))

    def _logged(self, asked: Json) -> tuple[str, bytes]:
        entry = {
            "body": base64.b64encode(json.dumps(asked).encode()).decode(),
            "integratedTime": int(datetime.now(UTC).timestamp()),
            "logIndex": 7,
            "logID": "00" * 32,
        }
        stamp = cosign_keys.sign(
            self.signers.logs["log"], json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
        )
        answer = {"11" * 40: {**entry, "verification": {"signedEntryTimestamp": stamp}}}
        return "application/json", json.dumps(answer).encode()

    def log_message(self, *words: object) -> None:
        """Nothing is told."""


@contextmanager
def services(signers: Signers) -> Iterator[str]:
    """The URL of both."""
    handler = type("TheseServices", (Services,), {"signers": signers})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def identity_token() -> str:
    """Who logged in where: a JSON Web Token of no signature, which skopeo reads and passes on."""
    now = int(datetime.now(UTC).timestamp())
    claims = {"iss": ISSUER, "sub": "dev", "aud": "sigstore", "email": EMAIL, "email_verified": True}
    parts: list[Json] = [{"alg": "RS256", "typ": "JWT"}, {**claims, "iat": now, "exp": now + 600}]
    texts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in parts]
    return ".".join([*texts, "c2lnbmF0dXJl"])
