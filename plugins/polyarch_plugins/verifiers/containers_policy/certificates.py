"""Certificates that stand for a signer: which authority issued them, when they held, and for whom.

Paths to the authority, signatures, validity, path lengths, name constraints and critical extensions are the library's
affair (cryptography, x509.verification; RFC 5280, section 6). What the certificate of a signer has to say is as in
containers/image (signature: fulcio_cert.go, pki_cert.go): that it is for code signing, if it says what it is for, and
so each authority on the way; the e-mail address, among its names; who issued the login, in Fulcio's extensions
(fulcio, docs/oid-info.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING

from polyarch_plugins.verifiers.containers_policy.keys import library, pem_block, usable

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, DNSName, ExtendedKeyUsage, IPAddress, KeyUsage
    from cryptography.x509.verification import ExtensionPolicy, Policy

    from polyarch_plugins.verifiers.containers_policy.keys import PublicKey

_ISSUER, _ISSUER_V2 = "1.3.6.1.4.1.57264.1.1", "1.3.6.1.4.1.57264.1.8"
_UTF8_STRING = 0x0C
_MOST_SHORT = 0x7F
"""Up to this length DER has it in one byte; of more, 0x80 and in how many bytes it follows (X.690, 8.1.3)."""


def load_authorities(pem: bytes) -> tuple[Certificate, ...]:
    """The certificates in a file of PEM. Raises ValueError if there is none, HostError where the library is missing."""
    with library("the Python library cryptography, 45 or newer,"):
        from cryptography.x509 import load_pem_x509_certificates
        from cryptography.x509.verification import ExtensionPolicy  # noqa: F401
    with _reading():
        return tuple(load_pem_x509_certificates(pem))


def load_signer(pem: str) -> Certificate:
    """The one certificate that is attached to a signature. Raises ValueError."""
    from cryptography.x509 import load_der_x509_certificate

    der = pem_block(pem, "the certificate")
    with _reading():
        return _whole(load_der_x509_certificate(der))


def load_chain(pem: str) -> tuple[Certificate, ...]:
    """The authorities between, as they are attached: the last one is the root, which nobody is told. ValueError."""
    return tuple(map(_whole, load_authorities(pem.encode())[:-1])) if pem else ()


def _whole(certificate: Certificate) -> Certificate:
    """Its signature is a string of bits that are whole bytes (RFC 5280, 4.1.1.3; RFC 3279, 2.2). Raises ValueError.

    `cryptography` passes over how many bits of the last byte it says to be unused, Go does not: without this a
    certificate of which that number was changed would be taken here alone.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    if not certificate.public_bytes(Encoding.DER).endswith(b"\0" + certificate.signature):
        raise ValueError("the signature of a certificate is not of whole bytes")
    return certificate


def key_of(
    signer: Certificate,
    roots: Sequence[Certificate],
    between: Sequence[Certificate],
    time: datetime | None,
    *,
    email: str = "",
    hostname: str = "",
) -> PublicKey:
    """The key of a certificate that one of `roots` issued, by way of some of `between`, that held at `time` (None: now)
    and is for this e-mail address and this host, as far as they are given. Raises ValueError, which says why not.
    """
    from cryptography.x509 import RFC822Name, SubjectAlternativeName
    from cryptography.x509.verification import PolicyBuilder, Store

    authority, holder = _policies()
    builder = PolicyBuilder().store(Store(list(roots))).extension_policies(ca_policy=authority, ee_policy=holder)
    if time is not None:
        builder = builder.time(time)
    with _refusing():
        verifier = builder.build_server_verifier(_host(hostname)) if hostname else builder.build_client_verifier()
        verifier.verify(signer, list(between))
        names = signer.extensions.get_extension_for_class(SubjectAlternativeName).value
        if email and email not in names.get_values_for_type(RFC822Name):
            raise ValueError(f"the certificate is not for {email}")
        return usable(signer.public_key())


def _host(name: str) -> DNSName | IPAddress:
    from cryptography.x509 import DNSName, IPAddress

    try:
        return IPAddress(ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        return DNSName(name)


def check_issuer(signer: Certificate, wanted: str) -> None:
    """Raises ValueError unless the login that Fulcio issued this certificate for was by `wanted`."""
    from cryptography.x509 import UnrecognizedExtension

    with _refusing():
        said = {
            each.oid.dotted_string: each.value.value
            for each in signer.extensions
            if isinstance(each.value, UnrecognizedExtension)
        }
    found = set[str]()
    if _ISSUER in said:
        found.add(said[_ISSUER].decode())
    if _ISSUER_V2 in said:
        found.add(_utf8_string(said[_ISSUER_V2]))
    if not found:
        raise ValueError("the certificate does not say who its holder logged in at")
    if found != {wanted}:
        raise ValueError(f"the certificate's holder logged in at {' and '.join(sorted(found))}")


def _utf8_string(der: bytes) -> str:
    """X.690, 8.1.3 and 10.1: the shortest form of the length. Raises ValueError."""
    length, start = (der[1], 2) if len(der) > 1 else (0, 0)
    if length > _MOST_SHORT:
        start += length - _MOST_SHORT - 1
        length = int.from_bytes(der[2:start])
        if length <= _MOST_SHORT or not der[2]:
            start = 0
    if not start or der[0] != _UTF8_STRING or len(der) != start + length:
        raise ValueError("the certificate's issuer of logins is no UTF8String")
    return der[start:].decode()


def _policies() -> tuple[ExtensionPolicy, ExtensionPolicy]:
    """What is asked of authorities, and of the signer. Extensions that are critical and not named here are refused."""
    from cryptography import x509
    from cryptography.x509.verification import Criticality, ExtensionPolicy

    either = Criticality.AGNOSTIC
    anything = ExtensionPolicy.permit_all().may_be_present(x509.ExtendedKeyUsage, either, _signs_code)
    authority = anything.require_present(x509.BasicConstraints, either, None)  # that it is one, is always asked
    return (
        authority.may_be_present(x509.KeyUsage, either, _signs_certificates),
        anything.require_present(x509.SubjectAlternativeName, either, None),
    )


def _signs_code(policy: Policy, certificate: Certificate, usage: ExtendedKeyUsage | None) -> None:
    from cryptography.x509.oid import ExtendedKeyUsageOID

    if usage is not None and not {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {
        *usage
    }:
        raise ValueError("it is not for code signing")


def _signs_certificates(policy: Policy, certificate: Certificate, usage: KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("it is not for signing certificates")


@contextmanager
def _reading() -> Iterator[None]:
    """What the library says of bytes that are no certificate, as ValueError; what it would warn of is refused later."""
    from cryptography.utils import CryptographyDeprecationWarning
    from cryptography.x509 import InvalidVersion

    try:
        with warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning):
            yield
    except (ValueError, InvalidVersion) as error:
        raise ValueError(f"that is no certificate: {error}") from error


@contextmanager
def _refusing() -> Iterator[None]:
    """What the library says of a certificate, as ValueError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.x509 import DuplicateExtension, UnsupportedGeneralNameType
    from cryptography.x509.verification import VerificationError

    try:
        yield
    except VerificationError as error:
        why = str(error).removeprefix("validation failed: ").partition(" (encountered processing ")[0]
        raise ValueError(f"the certificate does not hold: {why}") from error
    except (UnsupportedAlgorithm, DuplicateExtension, UnsupportedGeneralNameType) as error:
        raise ValueError(f"the certificate cannot be read: {error}") from error
