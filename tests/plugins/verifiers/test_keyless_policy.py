"""Signatures by keys that certificates stand for, `fulcio` and `pki`: polyarch's answer is skopeo's, case by case."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import load_der_x509_certificate
from hypothesis import given, settings
from hypothesis import strategies as st

from polyarch.errors import HostError, UsageError
from polyarch_plugins.verifiers.containers_policy import certificates, keys, sigstore
from support import cosign_keys
from support.keyless import (
    ANY,
    BUNDLE,
    CERTIFICATE,
    CHAIN,
    CODE,
    EMAIL,
    ISSUER,
    LOGGED,
    SERVER,
    SIGNATURE,
    Keyless,
    Signers,
    identity_token,
    issuer,
    names,
    newer_issuer,
    policies,
    services,
    unknown,
    usage,
)
from support.signed_images import SignedSite
from support.signed_policies import REJECT, only, pulled

Json = dict[str, Any]
pytestmark = pytest.mark.system

LONG_ISSUER = f"{ISSUER}/{'a' * 200}"
NOW = int(datetime.now(UTC).timestamp()) - LOGGED
"""From when signatures were logged to now: certificates without a log have to hold today."""
HOLDS = (0, NOW + 86400)


@pytest.fixture(scope="session")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Signers:
    return Signers(tmp_path_factory.mktemp("signers"))


def fulcio(signers: Signers, *roots: str, logs: tuple[str, ...] = ("log",), data: bool = False, **more: str) -> Json:
    """The requirement; `more` replaces what is asked of the certificate."""
    path, keys = signers.file(*roots or ("root",)), [str(signers.logs[log].public) for log in logs]
    where = {"caData": base64.b64encode(Path(path).read_bytes()).decode()} if data else {"caPath": path}
    return {
        "type": "sigstoreSigned",
        "fulcio": {**where, "oidcIssuer": ISSUER, "subjectEmail": EMAIL, **more},
        **({"rekorPublicKeyPath": keys[0]} if len(keys) == 1 else {"rekorPublicKeyPaths": keys}),
    }


def fulcio_of(signers: Signers, content: bytes) -> Json:
    """The requirement with a file that holds this."""
    path = signers.folder / "authorities"
    path.write_bytes(content)
    asks = fulcio(signers)
    return {**asks, "fulcio": {**asks["fulcio"], "caPath": str(path)}}


def pki(signers: Signers, *roots: str, known: tuple[str, ...] = (), **asked: str) -> Json:
    between = {"caIntermediatesPath": signers.file(*known)} if known else {}
    asked = asked or {"subjectEmail": EMAIL}
    return {"type": "sigstoreSigned", "pki": {"caRootsPath": signers.file(*roots or ("root",)), **between, **asked}}


@dataclass(frozen=True, slots=True)
class Case:
    """`asks` makes the requirement. `theirs`: what skopeo says where it is another answer."""

    name: str
    accepted: bool
    said: Keyless = field(default_factory=Keyless)
    asks: Callable[[Signers], Json] = fulcio
    theirs: bool | None = None
    signed: str = ""


def case(name: str, accepted: bool, asks: Callable[[Signers], Json] = fulcio, **said: Any) -> Case:
    return Case(name, accepted, Keyless(**said), asks)


def by(*roots: str, **more: Any) -> Callable[[Signers], Json]:
    return lambda signers: fulcio(signers, *roots, **more)


def held(name: str, accepted: bool, asks: Callable[[Signers], Json] = pki, **said: Any) -> Case:
    """A case of `pki`: the certificate holds, no log was asked, nobody had to log in."""
    return case(name, accepted, asks, **{"valid": HOLDS, "issuer": (), "annotations": {BUNDLE: None}, **said})


def asked(*roots: str, known: tuple[str, ...] = (), **more: str) -> Callable[[Signers], Json]:
    return lambda signers: pki(signers, *roots, known=known, **more)


FULCIO = [
    case("right", True),
    case("authority in the policy", True, by(data=True)),
    # who issued it
    case("another authority", False, by="other"),
    case("another authority of that name", False, by="namesake"),
    case("one of two authorities", True, by("other", "root")),
    case("both of that name", True, by("namesake", "root")),
    case("an authority between", True, by="between"),
    case("two between", True, by="further"),
    case("the one between is not attached", False, by="between", attached=()),
    case("without the root attached", False, by="between", attached=("between",)),
    case("in another order", False, by="between", attached=("root", "between")),
    case("the one between is the policy's", True, by("between"), by="between", attached=()),
    case("the policy has all", True, by("root", "between"), by="between", attached=()),
    case("another root attached", True, by="between", attached=("between", "other")),
    case("strangers attached", True, attached=("other", "namesake", "between", "root")),
    case("between is no authority", False, by="no authority"),
    case("between is said to be no authority", False, by="said to be none"),
    case("between may not sign certificates", False, by="not to sign"),
    case("between is for servers", False, by="between for servers"),
    case("between is for servers and code", True, by="between for code"),
    case("between is over", False, by="between gone"),
    case("the root is over", False, by("gone"), by="gone"),
    case("the root is for servers", False, by("server"), by="server"),
    case("the root allows none between", False, by("short"), by="below short"),
    case("the root allows the one below", True, by("short"), by="short"),
    case("the root allows that domain", True, by("allowing"), by="allowing"),
    case("the root allows another domain", False, by("elsewhere"), by="elsewhere"),
    case("RSA authority", True, by("rsa"), by="rsa"),
    case("P-384 authority", True, by("P-384"), by="P-384"),
    replace(case("Ed25519 authority", False, by("ed25519"), by="ed25519"), theirs=True),
    # when
    case("over when it was logged", False, valid=(-600, -1)),
    case("logged in its last second", True, valid=(-600, 0)),
    case("not yet when it was logged", False, valid=(1, 600)),
    case("still holding", True, valid=HOLDS),
    case("logged in the year 33658", False, logged=10**12),
    case("logged beyond all years", False, logged=10**15),
    case("logged before 1970", False, logged=-1),
    # what for
    case("no purpose", True, usage=()),
    case("any purpose", True, usage=usage(ANY)),
    case("for servers", False, usage=usage(SERVER)),
    case("for servers and code", True, usage=usage(SERVER, CODE)),
    case("an unknown extension", True, more=unknown(critical=False)),
    case("an unknown critical extension", False, more=unknown(critical=True)),
    case("policies", True, more=policies(critical=False)),
    replace(case("critical policies", False, more=policies(critical=True)), theirs=True),
    # for whom
    case("another address", False, names=names("other@example.com")),
    case("two addresses", True, names=names("other@example.com", EMAIL)),
    case("in other letters", False, names=names(EMAIL.upper())),
    case("no address but a URI", False, names=names(uris=["https://example.com/dev@example.com"])),
    case("no name at all", False, names=()),
    case("another login", False, issuer=issuer("https://login.example.org")),
    case("no login", False, issuer=()),
    case("the newer extension", True, issuer=issuer(ISSUER, newer=True)),
    case("another login in the newer extension", False, issuer=issuer("https://login.example.org", newer=True)),
    case("both extensions", True, issuer=(*issuer(ISSUER), *issuer(ISSUER, newer=True))),
    case("the newer differs", False, issuer=(*issuer(ISSUER), *issuer("https://login.example.org", newer=True))),
    case("the older differs", False, issuer=(*issuer("https://login.example.org"), *issuer(ISSUER, newer=True))),
    case("the newer is bare text", False, issuer=newer_issuer(ISSUER.encode())),
    case("the newer is cut", False, issuer=newer_issuer(b"\x0c\x30" + ISSUER.encode())),
    case("the newer has more behind", False, issuer=newer_issuer(b"\x0c\x19" + ISSUER.encode() + b"\x05\x00")),
    case("the newer is empty", False, issuer=newer_issuer(b"")),
    case("the newer with a long length", False, issuer=newer_issuer(b"\x0c\x81\x19" + ISSUER.encode())),
    case("the newer in bytes", False, issuer=newer_issuer(b"\x04\x19" + ISSUER.encode())),
    case("the newer with a longer length", False, issuer=newer_issuer(b"\x0c\x82\x00\x19" + ISSUER.encode())),
    case(
        "a long login with a longer length",
        False,
        by(oidcIssuer=LONG_ISSUER),
        issuer=newer_issuer(b"\x0c\x82\x00" + bytes([len(LONG_ISSUER)]) + LONG_ISSUER.encode()),
    ),
    case("a very long login", True, by(oidcIssuer=LONG_ISSUER * 9), issuer=issuer(LONG_ISSUER * 9, newer=True)),
    case("a long login", True, by(oidcIssuer=LONG_ISSUER), issuer=issuer(LONG_ISSUER, newer=True)),
    # the log
    case("not logged", False, annotations={BUNDLE: None}),
    case("logged elsewhere", False, log="other-log"),
    case("logged at one of two", True, by(logs=("log", "other-log")), log="other-log"),
    case("a log with an RSA key", False, by(logs=("rsa-log",)), log="rsa-log"),
    case("another certificate was logged", False, logged_signer="another"),
    case("the key was logged", False, logged_signer="key"),
    case("the certificate was logged twice", False, logged_signer="two"),
    case("another payload was logged", False, record={"data": {"hash": {"algorithm": "sha256", "value": "00" * 32}}}),
    case("no JSON was logged", False, annotations={BUNDLE: "{"}),
    # the signature
    case("by another key", False, other_key=True),
    case("no certificate", False, annotations={CERTIFICATE: None}),
    case("an empty certificate", False, annotations={CERTIFICATE: ""}),
    case("no signature", False, annotations={SIGNATURE: None}),
    case("a broken chain", False, annotations={CHAIN: "certificates"}),
    case("no chain", True, annotations={CHAIN: None}),
    case("an empty chain", True, annotations={CHAIN: ""}),
    case("RSA", True, key="rsa"),
    case("P-384", True, key="P-384"),
    case("Ed25519", True, key="ed25519"),
    replace(case("replayed on another image", False), signed="image"),
    replace(case("another name", False), signed="name"),
    replace(
        case("any tag", True, lambda signers: {**fulcio(signers), "signedIdentity": {"type": "matchRepository"}}),
        signed="name",
    ),
    case("no authority in the policy's file", False, lambda signers: fulcio_of(signers, b"")),
    case("no certificate in the policy's file", False, lambda signers: fulcio_of(signers, b"certificates\n")),
    case(
        "asked for by key",
        False,
        lambda signers: {"type": "sigstoreSigned", "keyPath": str(signers.logs["log"].public)},
    ),
]
PKI = [
    held("right", True),
    held("over", False, valid=(0, 600)),
    held("not yet", False, valid=(NOW + 3600, NOW + 86400)),
    held("another address", False, names=names("other@example.com")),
    held("another authority", False, by="other"),
    held("an authority between", True, by="between"),
    held("the one between is not attached", False, by="between", attached=()),
    held("the one between is the policy's", True, asked(known=("other", "between")), by="between", attached=()),
    held("the policy has another between", False, asked(known=("other",)), by="between", attached=()),
    held("the root is for servers", False, asked("server"), by="server"),
    held("for servers", False, usage=usage(SERVER)),
    held("an unknown critical extension", False, more=unknown(critical=True)),
    held("no certificate", False, annotations={BUNDLE: None, CERTIFICATE: None}),
    held("by another key", False, other_key=True),
    held("a log's word that nobody asked for", True, annotations={BUNDLE: "{"}),
    held("a host", True, asked(subjectHostname="ci.example.com"), names=names(hosts=["a.example", "ci.example.com"])),
    held("a host in capitals", True, asked(subjectHostname="CI.example.com"), names=names(hosts=["ci.Example.com"])),
    held("another host", False, asked(subjectHostname="ci.example.com"), names=names(hosts=["example.com"])),
    held("all hosts of a domain", True, asked(subjectHostname="ci.example.com"), names=names(hosts=["*.example.com"])),
    held("hosts below", False, asked(subjectHostname="a.ci.example.com"), names=names(hosts=["*.example.com"])),
    held("no host but an address", False, asked(subjectHostname="ci.example.com")),
    held("a machine's address", True, asked(subjectHostname="192.0.2.7"), names=names(addresses=["192.0.2.7"])),
    held("in brackets", True, asked(subjectHostname="[2001:db8::7]"), names=names(addresses=["2001:db8::7"])),
    held("another machine's address", False, asked(subjectHostname="192.0.2.8"), names=names(addresses=["192.0.2.7"])),
    held("no host's name", False, asked(subjectHostname="ci example"), names=names(hosts=["ci.example.com"])),
    held(
        "a host and an address",
        True,
        asked(subjectHostname="ci.example.com", subjectEmail=EMAIL),
        names=names(EMAIL, hosts=["ci.example.com"]),
    ),
    held(
        "a host and another address",
        False,
        asked(subjectHostname="ci.example.com", subjectEmail="other@example.com"),
        names=names(EMAIL, hosts=["ci.example.com"]),
    ),
    replace(held("replayed on another image", False), signed="image"),
]
CASES = [*((f"fulcio: {each.name}", each) for each in FULCIO), *((f"pki: {each.name}", each) for each in PKI)]


def test_each_case_has_a_name_of_its_own() -> None:
    assert len({name for name, _ in CASES}) == len(CASES)


@pytest.mark.parametrize(("name", "case"), CASES, ids=[name for name, _ in CASES])
def test_the_answer_is_that_of_skopeo(name: str, case: Case, site: SignedSite, signers: Signers, soak: bool) -> None:
    image = f"keyless:{name.replace(': ', '-').replace(' ', '_').replace(chr(39), '')}"
    digest = site.image(image)
    of = site.image("keyless:another") if case.signed == "image" else digest
    content = cosign_keys.payload(of, site.ref("keyless:another" if case.signed == "name" else image))
    site.attach(image, digest, (content, signers.sign(content, case.said)))
    policy = site.policy({"default": [REJECT], "transports": {"docker": {site.address: [case.asks(signers)]}}})
    ours, why = (site.polyarch_accepts if soak else site.verifier_accepts)(image, policy)
    assert ours == case.accepted, f"polyarch: {why}"
    if soak:
        theirs, reason = site.skopeo_accepts(image, policy)
        assert theirs in (case.accepted if case.theirs is None else case.theirs, None), f"skopeo: {reason}"


@pytest.mark.costly
def test_what_skopeo_signs_keyless_is_accepted(site: SignedSite, signers: Signers, tmp_path: Path) -> None:
    skopeo = os.environ.get("POLYARCH_TEST_SKOPEO")
    if not skopeo:
        pytest.skip("POLYARCH_TEST_SKOPEO names no skopeo that signs so")
    with services(signers) as url:
        said = {"fulcioURL": url, "oidcMode": "staticToken", "oidcIDToken": identity_token()}
        (tmp_path / "signing.yaml").write_text(json.dumps({"fulcio": said, "rekorURL": url}))
        words = ("--sign-by-sigstore", str(tmp_path / "signing.yaml"))
        site.skopeo_signs("source:1", "keyless-made:signed", *words, program=skopeo)
    site.skopeo_signs("source:1", "keyless-made:retagged")
    asks = [fulcio(signers), fulcio(signers, subjectEmail="other@example.com"), fulcio(signers, "other")]
    rules = [site.policy({"default": [REJECT], "transports": {"docker": {site.address: [ask]}}}) for ask in asks]
    pulls = [("keyless-made:signed", policy) for policy in rules] + [("keyless-made:retagged", rules[0])]
    answers = [site.polyarch_accepts(*pull) for pull in pulls]
    assert [accepted for accepted, _ in answers] == [True, False, False, False], answers
    assert [site.skopeo_accepts(*pull)[0] for pull in pulls] == [True, False, False, False]


# What is missing, and what nobody can read


def test_an_authority_that_is_not_there_is_told(site: SignedSite, signers: Signers, tmp_path: Path) -> None:
    asks = fulcio(signers)
    asks["fulcio"]["caPath"] = str(tmp_path / "nowhere.pem")
    with pytest.raises(UsageError, match=r"nowhere\.pem, which the signature policy names: No such file"):
        pulled(site, only(site, asks), tmp_path, "cos:signed")


def test_an_older_library_is_told(
    site: SignedSite, signers: Signers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("cryptography.x509.verification.ExtensionPolicy")
    with pytest.raises(HostError, match="cryptography, 45 or newer, is not here") as caught:
        pulled(site, only(site, fulcio(signers)), tmp_path, "cos:signed")
    assert caught.value.hint == "pip install 'polyarch[verify]'"


def test_a_signature_of_a_certificate_is_of_whole_bytes(signers: Signers) -> None:
    """Where the last bit is zero it may be said to be unused, which changes no byte of the signature."""
    der = b"\xff"
    while der[-1] & 1:
        said = signers.sign(b"{}", Keyless(by="between"))
        der = base64.b64decode("".join(said[CERTIFICATE].splitlines()[1:-1]))
    unused = len(der) - len(load_der_x509_certificate(der).signature) - 1
    changed = base64.encodebytes(der[:unused] + b"\1" + der[unused + 1 :]).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{changed}-----END CERTIFICATE-----\n"
    for read in (certificates.load_signer, lambda text: certificates.load_chain(text + said[CHAIN])):
        with pytest.raises(ValueError, match="not of whole bytes"):
            read(pem)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 255), st.sampled_from(["certificate", "chain", "both"]))
def test_a_damaged_certificate_is_refused_and_nothing_else(signers: Signers, place: int, bits: int, what: str) -> None:
    """Also where the log took in the damaged one."""

    def damaged(text: str) -> str:
        first, end, last = text.partition("-----END CERTIFICATE-----\n")
        raw = bytearray(base64.b64decode("".join(first.splitlines()[1:])))
        raw[place % len(raw)] ^= bits
        return f"{first.splitlines()[0]}\n{base64.b64encode(raw).decode()}\n{end}{last}"

    content = b"{}"
    said = signers.sign(content, Keyless(by="between"))
    signer = said[CERTIFICATE] if what == "chain" else damaged(said[CERTIFICATE])
    chain = said[CHAIN] if what == "certificate" else damaged(said[CHAIN])
    bundle = cosign_keys.log_bundle(signers.logs["log"], signer.encode(), content, said[SIGNATURE], {})
    roots = certificates.load_authorities(Path(signers.file("root")).read_bytes())
    logs = keys.load_log_keys([signers.logs["log"].public.read_bytes()])
    annotations = {**said, CERTIFICATE: signer, CHAIN: chain, BUNDLE: bundle}
    attached = sigstore.Attachment(sigstore.MEDIA_TYPE, content, annotations)
    with pytest.raises(ValueError):
        sigstore.signed(attached, sigstore.by_fulcio(roots, ISSUER, EMAIL, logs))
