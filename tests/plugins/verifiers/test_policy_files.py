"""What a policy.json may say, and which of its scopes holds for a name: skopeo is the second opinion."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import IntegrityError
from polyarch.reference import parse_reference
from polyarch_plugins.verifiers.containers_policy import strict
from polyarch_plugins.verifiers.containers_policy.lookaside import _signature
from polyarch_plugins.verifiers.containers_policy.payload import COSIGN as COSIGN_TYPE
from polyarch_plugins.verifiers.containers_policy.payload import parse_payload
from polyarch_plugins.verifiers.containers_policy.policy import Accept, Policy, Reject, Unsupported, policy_of
from polyarch_plugins.verifiers.containers_policy.scopes import rule_for, scopes_of
from support.signed_images import SignedSite

Json = dict[str, Any]
pytestmark = pytest.mark.system

ACCEPT: Json = {"type": "insecureAcceptAnything"}
REJECT: Json = {"type": "reject"}
GPG: Json = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/key"}
COSIGN: Json = {"type": "sigstoreSigned", "keyPath": "/key"}
FULCIO: Json = {"caPath": "/ca", "oidcIssuer": "https://issuer.example", "subjectEmail": "a@example.com"}
PKI: Json = {"caRootsPath": "/ca", "subjectEmail": "a@example.com"}


def without(value: Json, *keys: str) -> Json:
    return {key: each for key, each in value.items() if key not in keys}


def identity(**said: str) -> Json:
    return {**GPG, "signedIdentity": said}


# name -> the policy as a text, or the one requirement of its default
GOOD: dict[str, Json | str] = {
    "accept": ACCEPT,
    "reject": REJECT,
    "signedBy": GPG,
    "keyData": {**without(GPG, "keyPath"), "keyData": "c29tZXRoaW5n"},
    "other keyType": {**GPG, "keyType": "X509Certificates"},
    "matchExact": identity(type="matchExact"),
    "exactReference": identity(type="exactReference", dockerReference="busybox:1"),
    "exactRepository": identity(type="exactRepository", dockerRepository="busybox"),
    "remapIdentity": identity(type="remapIdentity", prefix="example.com:5000/a", signedPrefix="example.com"),
    "base layer": {"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}},
    "sigstore": COSIGN,
    "sigstore keyData": {"type": "sigstoreSigned", "keyData": "c29tZXRoaW5n"},
    "unknown transport": json.dumps({"default": [ACCEPT], "transports": {"pigeon": {"": [REJECT]}}}),
}
BAD: dict[str, Json | str] = {
    "no JSON": "{",
    "a list": "[]",
    "nothing": "{}",
    "null": '{"default": null}',
    "empty default": '{"default": []}',
    "default is an object": '{"default": {}}',
    "unknown key": json.dumps({"default": [ACCEPT], "more": 1}),
    "twice": '{"default": [{"type": "reject"}], "default": [{"type": "insecureAcceptAnything"}]}',
    "twice inside": '{"default": [{"type": "reject", "type": "insecureAcceptAnything"}]}',
    "two documents": '{"default": [{"type": "reject"}]} {}',
    "empty scope": json.dumps({"default": [ACCEPT], "transports": {"docker": {"example.com": []}}}),
    "scopes are a list": json.dumps({"default": [ACCEPT], "transports": {"docker": []}}),
    "no type": {},
    "unknown type": {"type": "acceptAnything"},
    "type in capitals": {"type": "Reject"},
    "key in capitals": {"Type": "reject"},
    "accept with more": {**ACCEPT, "more": 1},
    "reject with more": {**REJECT, "keyPath": "/key"},
    "no keyType": without(GPG, "keyType"),
    "unknown keyType": {**GPG, "keyType": "gpg"},
    "no key": without(GPG, "keyPath"),
    "two keys": {**GPG, "keyData": "c29tZXRoaW5n"},
    "empty path": {**GPG, "keyPath": ""},
    "path is a number": {**GPG, "keyPath": 7},
    "no base64": {**without(GPG, "keyPath"), "keyData": "!"},
    "signedBy with more": {**GPG, "more": 1},
    "unknown identity": identity(type="matchAll"),
    "identity without type": identity(),
    "identity with more": identity(type="matchExact", more="1"),
    "identity is null": {**GPG, "signedIdentity": None},
    "no reference": identity(type="exactReference"),
    "reference without tag": identity(type="exactReference", dockerReference="busybox"),
    "broken reference": identity(type="exactReference", dockerReference="Busy:Box:1"),
    "broken repository": identity(type="exactRepository", dockerRepository="/busybox"),
    "one prefix": identity(type="remapIdentity", prefix="example.com"),
    "broken prefix": identity(type="remapIdentity", prefix="example.com/", signedPrefix="example.com"),
    "base layer without identity": {"type": "signedBaseLayer"},
    "sigstore without key": {"type": "sigstoreSigned"},
    "sigstore with two keys": {**COSIGN, "keyData": "c29tZXRoaW5n"},
    "sigstore with more": {**COSIGN, "more": 1},
}
# Of these skopeo is asked in `make test`, too; in `make soak` of all.
ASKED = {"signedBy", "remapIdentity", "twice", "unknown key", "unknown type", "signedBy with more", "two keys"}

# What skopeo 1.9 does not know yet: name -> requirement, and whether it is well written.
NEWER: dict[str, tuple[Json, bool]] = {
    "keyPaths": ({**without(GPG, "keyPath"), "keyPaths": ["/a", "/b"]}, True),
    "keyPaths is a text": ({**without(GPG, "keyPath"), "keyPaths": "/a"}, False),
    "keyDatas": ({"type": "sigstoreSigned", "keyDatas": ["c29tZXRoaW5n"]}, True),
    "no keyDatas": ({"type": "sigstoreSigned", "keyDatas": []}, False),
    "rekor": ({**COSIGN, "rekorPublicKeyData": "c29tZXRoaW5n"}, True),
    "two rekors": ({**COSIGN, "rekorPublicKeyData": "c29tZXRoaW5n", "rekorPublicKeyPath": "/key"}, False),
    "fulcio": ({"type": "sigstoreSigned", "fulcio": FULCIO, "rekorPublicKeyPath": "/key"}, True),
    "fulcio without log": ({"type": "sigstoreSigned", "fulcio": FULCIO}, False),
    "fulcio and key": ({**COSIGN, "fulcio": FULCIO, "rekorPublicKeyPath": "/key"}, False),
    "fulcio without issuer": (
        {"type": "sigstoreSigned", "fulcio": without(FULCIO, "oidcIssuer"), "rekorPublicKeyPath": "/key"},
        False,
    ),
    "pki": ({"type": "sigstoreSigned", "pki": PKI}, True),
    "fulcio with two authorities": (
        {"type": "sigstoreSigned", "fulcio": {**FULCIO, "caData": "c29tZXRoaW5n"}, "rekorPublicKeyPath": "/key"},
        False,
    ),
    "fulcio without authority": (
        {"type": "sigstoreSigned", "fulcio": without(FULCIO, "caPath"), "rekorPublicKeyPath": "/key"},
        False,
    ),
    "fulcio with more": (
        {"type": "sigstoreSigned", "fulcio": {**FULCIO, "more": 1}, "rekorPublicKeyPath": "/key"},
        False,
    ),
    "fulcio with a number": (
        {"type": "sigstoreSigned", "fulcio": {**FULCIO, "subjectEmail": 7}, "rekorPublicKeyPath": "/key"},
        False,
    ),
    "pki and key": ({**COSIGN, "pki": PKI}, False),
    "pki and log": ({"type": "sigstoreSigned", "pki": PKI, "rekorPublicKeyPath": "/key"}, False),
    "pki with all": (
        {"type": "sigstoreSigned", "pki": {**PKI, "caIntermediatesPath": "/ca", "subjectHostname": "a.example"}},
        True,
    ),
    "pki without roots": ({"type": "sigstoreSigned", "pki": without(PKI, "caRootsPath")}, False),
    "pki with two roots": ({"type": "sigstoreSigned", "pki": {**PKI, "caRootsData": "c29tZXRoaW5n"}}, False),
    "pki with two between": (
        {"type": "sigstoreSigned", "pki": {**PKI, "caIntermediatesPath": "/ca", "caIntermediatesData": "c29t"}},
        False,
    ),
    "pki with a number": ({"type": "sigstoreSigned", "pki": {**PKI, "subjectHostname": 7}}, False),
    "pki without subject": ({"type": "sigstoreSigned", "pki": {"caRootsPath": "/ca"}}, False),
}


def policy_from(raw: bytes) -> Policy:
    return policy_of(strict.parse(raw))


def text_of(said: Json | str) -> str:
    return said if isinstance(said, str) else json.dumps({"default": [said]})


@pytest.mark.parametrize("name", [*GOOD, *BAD])
def test_skopeo_takes_the_same_files(name: str, site: SignedSite, tmp_path: Path, soak: bool) -> None:
    text = text_of({**GOOD, **BAD}[name])
    if soak or name in ASKED:
        path = tmp_path / "policy.json"
        path.write_text(text)
        said = site.skopeo("--policy", str(path), "copy", "dir:/nowhere", f"dir:{tmp_path / 'copied'}").stderr
        assert ("Error loading trust policy" in said) == (name in BAD), said
    if name in BAD:
        with pytest.raises(ValueError):
            policy_from(text.encode())
    else:
        assert policy_from(text.encode()).default


@pytest.mark.parametrize("name", NEWER)
def test_what_newer_files_may_say(name: str) -> None:
    requirement, good = NEWER[name]
    text = text_of(requirement)
    if good:
        assert policy_from(text.encode()).default
    else:
        with pytest.raises(ValueError):
            policy_from(text.encode())


@pytest.mark.parametrize("name", ["other keyType", "base layer"])
def test_what_cannot_be_checked_is_known_as_that(name: str) -> None:
    [found] = policy_from(text_of(GOOD[name]).encode()).default
    assert isinstance(found, Unsupported)


def test_the_scopes_of_a_name_are_the_most_specific_first() -> None:
    assert list(scopes_of(parse_reference("a.b.example.com:5000/team/app:1"))) == [
        "a.b.example.com:5000/team/app:1",
        "a.b.example.com:5000/team/app",
        "a.b.example.com:5000/team",
        "a.b.example.com:5000",
        "*.b.example.com",
        "*.example.com",
        "*.com",
    ]
    digest = f"sha256:{'0' * 64}"
    assert list(scopes_of(parse_reference(f"busybox:1@{digest}"))) == [
        f"docker.io/library/busybox@{digest}",
        "docker.io/library/busybox",
        "docker.io/library",
        "docker.io",
        "*.io",
    ]


def test_the_scopes_of_a_layout_are_its_folders(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "layout")
    scopes = list(scopes_of(parse_reference(f"oci:{tmp_path}/link:1", ["oci"])))
    assert scopes[:2] == [str(tmp_path / "layout"), str(tmp_path)]
    assert "/" not in scopes
    assert list(scopes_of(parse_reference("docker-archive:/a.tar:1", ["docker-archive"]))) == []


SAID = {
    "critical": {
        "type": COSIGN_TYPE,
        "image": {"docker-manifest-digest": f"sha256:{'0' * 64}"},
        "identity": {"docker-reference": "busybox:1"},
    },
    "optional": {"creator": "somebody", "timestamp": 7},
}
STAMPS = [("7", True), ("7.0", True), ("7.5", False), ("1e999", False), ('"7"', False), ("true", False)]


@pytest.mark.parametrize(("stamp", "good"), STAMPS, ids=[row[0] for row in STAMPS])
def test_a_time_is_a_whole_number(stamp: str, good: bool) -> None:
    raw = json.dumps(SAID).replace('"timestamp": 7', f'"timestamp": {stamp}').encode()
    if good:
        assert parse_payload(raw, COSIGN_TYPE).reference == "busybox:1"
    else:
        with pytest.raises(ValueError):
            parse_payload(raw, COSIGN_TYPE)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=6,
)
WHOLE: list[Any] = [{"default": [value]} for value in [*GOOD.values()] if not isinstance(value, str)] + [SAID]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sound document in which one value is another, or some bytes are."""
    document = json.loads(json.dumps(draw(st.sampled_from(WHOLE))))
    at: Any = document
    while True:
        key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if isinstance(at[key], dict | list) and at[key] and draw(st.booleans()):
            at = at[key]
            continue
        at[key] = draw(VALUES)
        break
    raw = json.dumps(document).encode()
    cut = draw(st.integers(0, len(raw)))
    return raw[:cut] + draw(st.binary(max_size=3)) + raw[cut:] if draw(st.booleans()) else raw


@given(damaged())
def test_whatever_a_file_says_it_is_read_or_refused(raw: bytes) -> None:
    for read in (policy_from, lambda data: parse_payload(data, COSIGN_TYPE), lambda data: parse_payload(data, "x")):
        with contextlib.suppress(ValueError):
            read(raw)
    with contextlib.suppress(IntegrityError):
        _signature(b"\0sigstore-json\n" + raw, "here")


RULES: list[tuple[str, Mapping[str, list[Json]], bool]] = [
    ("no scope", {}, False),
    ("the transport", {"": [ACCEPT]}, True),
    ("the transport comes last", {"": [ACCEPT], "HERE": [REJECT]}, False),
    ("the host", {"HERE": [ACCEPT]}, True),
    ("the host without its port", {"127.0.0.1": [ACCEPT]}, False),
    ("a domain", {"*.0.0.1": [ACCEPT]}, True),
    ("a wider domain", {"*.1": [ACCEPT]}, True),
    ("the host before its domain", {"*.0.0.1": [ACCEPT], "HERE": [REJECT]}, False),
    ("the nearer domain", {"*.1": [REJECT], "*.0.0.1": [ACCEPT]}, True),
    ("a wildcard that is none", {"*": [ACCEPT]}, False),
    ("the repository", {"HERE": [REJECT], "HERE/app": [ACCEPT]}, True),
    ("a repository that begins so", {"HERE/ap": [ACCEPT]}, False),
    ("the tag", {"HERE/app": [REJECT], "HERE/app:unsigned": [ACCEPT]}, True),
    ("another tag", {"HERE/app:signed": [ACCEPT]}, False),
    ("all requirements", {"HERE/app": [ACCEPT, REJECT]}, False),
]


@pytest.mark.parametrize(("scopes", "accepted"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
def test_the_scope_that_holds_is_skopeos(scopes: Mapping[str, list[Json]], accepted: bool, site: SignedSite) -> None:
    told = {scope.replace("HERE", site.address): asks for scope, asks in scopes.items()}
    document = {"default": [REJECT], "transports": {"docker": told}}
    rule = rule_for(policy_from(json.dumps(document).encode()), parse_reference(site.ref("app:unsigned")))
    assert all(isinstance(each, Accept) for each in rule.requirements) == accepted
    assert not accepted or rule.scope in told
    theirs, said = site.skopeo_accepts("app:unsigned", site.policy(document))
    assert theirs == accepted, said


def test_other_transports_have_scopes_of_their_own() -> None:
    document = {"default": [REJECT], "transports": {"docker": {"": [ACCEPT]}, "oci": {"/shelf": [ACCEPT]}}}
    policy = policy_from(json.dumps(document).encode())

    def kind(text: str) -> type:
        return type(rule_for(policy, parse_reference(text, ["oci", "docker-archive"])).requirements[0])

    assert kind("oci:/shelf/a:1") is Accept
    assert kind("oci:/shelves:1") is Reject
    assert kind("docker-archive:/shelf/a.tar:1") is Reject
