"""Signed, unsigned, wrongly signed and replayed images under policies: polyarch's answer is skopeo's, case by case."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from support.cosign_keys import log_bundle
from support.docker_registry import DockerRegistry
from support.signed_images import SignedSite

Json = dict[str, Any]
pytestmark = pytest.mark.system

ACCEPT: Json = {"type": "insecureAcceptAnything"}
REJECT: Json = {"type": "reject"}
BY_REPOSITORY: Json = {"type": "matchRepository"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignedSite]:
    folder = tmp_path_factory.mktemp("signed")
    registry = DockerRegistry(folder / "registry")
    made = SignedSite(registry, folder)
    fill_gpg(made)
    fill_cosign(made)
    yield made
    made.stop()
    registry.stop()


def fill_gpg(site: SignedSite) -> None:
    """Images in `app`, each with the signatures that its tag tells of."""
    site.image("source:1")
    site.skopeo_signs("source:1", "app:signed", "--sign-by", site.gpg_keys["good"].fingerprint)
    site.skopeo_signs("source:1", "app:retagged")  # the same digest, so that the same signature is found
    site.skopeo_signs("source:1", "elsewhere:signed")
    signed = site.image("source:1")
    good = site.kept("app:signed", signed)
    site.keep("elsewhere:signed", signed, good)
    site.image("app:unsigned")
    replayed = site.image("app:replayed")
    site.keep("app:replayed", replayed, good)
    for key in ("other", "expired", "revoked"):
        digest = site.image(f"app:{key}")
        site.keep(f"app:{key}", digest, site.sign(f"app:{key}", digest, key))
    site.gpg_keys["revoked"] = site.gpg.revoked("revoked-now", site.gpg_keys["revoked"])
    both = site.image("app:both")
    site.keep("app:both", both, site.sign("app:both", both, "other"), site.sign("app:both", both))
    one_good = site.image("app:one-good")
    tampered = bytearray(site.sign("app:one-good", one_good))
    tampered[-30] ^= 0x10
    site.keep("app:one-good", one_good, bytes(tampered), site.sign("app:one-good", one_good))
    for tag, content in unreadable(site).items():
        site.keep(f"app:{tag}", site.image(f"app:{tag}"), content)
    _, instance = site.index("app:index-by-instance")
    site.keep("app:x", instance, site.sign("app:index-by-instance", instance))
    index, _ = site.index("app:index-by-index")
    site.keep("app:x", index, site.sign("app:index-by-index", index))


def unreadable(site: SignedSite) -> dict[str, bytes]:
    """Tag -> what is kept as the one signature of that image, and is none."""
    key, ref = site.gpg_keys["good"], site.ref

    def of(tag: str) -> str:
        return site.image(f"app:{tag}")

    whole = site.sign("app:tampered", of("tampered"))
    said = {
        "critical": {
            "type": "atomic container signature",
            "image": {"docker-manifest-digest": of("more-keys")},
            "identity": {"docker-reference": ref("app:more-keys")},
        },
        "optional": {},
    }
    twice = json.dumps(said)[:-1] + ', "optional": {}}'
    detached = site.gpg.folder / "detached"
    detached.write_text(json.dumps(said))
    armoured = site.gpg.sign_bytes(key, json.dumps(said).encode())
    return {
        "tampered": whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:],
        "cut": whole[:-50],
        "junk": b"no signature at all",
        "empty": b"",
        "detached": site.gpg.gpg("--local-user", key.fingerprint, "--output", "-", "--detach-sign", str(detached)),
        "clear": site.gpg.gpg("--local-user", key.fingerprint, "--output", "-", "--clear-sign", str(detached)),
        "armoured": b"-----BEGIN PGP MESSAGE-----\n\n" + base64.encodebytes(armoured) + b"-----END PGP MESSAGE-----\n",
        "named-format": b"\0simple-signing\n" + site.sign("app:named-format", of("named-format")),
        "unknown-format": b"\0something-else\n" + whole,
        "more-keys": site.gpg.sign_bytes(key, json.dumps({**said, "more": 1}).encode()),
        "twice": site.gpg.sign_bytes(key, twice.encode().replace(of("more-keys").encode(), of("twice").encode())),
        "other-type": site.gpg.sign(key, of("other-type"), ref("app:other-type"), type="something else"),
        "no-name": site.gpg.sign(key, of("no-name"), ref("app:no-name"), identity={}),
        "only-repository": site.gpg.sign(key, of("only-repository"), ref("app")),
        "broken-name": site.gpg.sign(key, of("broken-name"), "App::"),
        "no-json": site.gpg.sign_bytes(key, b"just text"),
        "unlocked": site.sign("app:unlocked", of("unlocked"), reference="app:unlocked") + b"trailing bytes",
    }


def fill_cosign(site: SignedSite) -> None:
    """Images in `cos`, each with the attachments that its tag tells of."""
    site.skopeo_signs("source:1", "cos:signed")
    site.skopeo_signs("source:1", "cos:retagged")
    site.skopeo_signs("source:1", "cosmos:signed")
    signed = site.image("source:1")
    site.attach("cos:signed", signed, site.cosigned("cos:signed", signed))
    site.attach("cosmos:signed", signed, site.cosigned("cos:signed", signed))
    site.image("cos:unsigned")
    for key in ("other", "rsa", "ed25519"):
        digest = site.image(f"cos:{key}")
        site.attach(f"cos:{key}", digest, site.cosigned(f"cos:{key}", digest, key))
    replayed = site.image("cos:replayed")
    site.attach("cos:replayed", replayed, site.cosigned("cos:signed", signed))
    both = site.image("cos:both")
    site.attach("cos:both", both, site.cosigned("cos:both", both, "other"), site.cosigned("cos:both", both))
    content, annotations = site.cosigned("cos:tampered", site.image("cos:tampered"))
    site.attach("cos:tampered", site.image("cos:tampered"), (content.replace(b"null", b"{}"), annotations))
    content, _ = site.cosigned("cos:no-annotation", site.image("cos:no-annotation"))
    site.attach("cos:no-annotation", site.image("cos:no-annotation"), (content, {}))
    beside = site.image("cos:beside")
    content, annotations = site.cosigned("cos:beside", beside)
    document = {
        "mimeType": "application/vnd.dev.cosign.simplesigning.v1+json",
        "payload": base64.b64encode(content).decode(),
        "annotations": annotations,
    }
    site.keep("cos:beside", beside, b"\0sigstore-json\n" + json.dumps(document).encode())
    for tag, (log, record) in LOGGED.items():
        digest = site.image(f"cos:{tag}")
        content, annotations = site.cosigned(f"cos:{tag}", digest)
        keys = site.cosign_keys
        bundle = log_bundle(keys[log], keys["good"], content, annotations[SIGNATURE], record)
        site.attach(f"cos:{tag}", digest, (content, {**annotations, "dev.sigstore.cosign/bundle": bundle}))


SIGNATURE = "dev.cosignproject.cosign/signature"
LOGGED: dict[str, tuple[str, Json]] = {
    "logged": ("log", {}),
    "logged-elsewhere": ("other", {}),
    "logged-otherwise": ("log", {"data": {"hash": {"algorithm": "sha256", "value": "00" * 32}}}),
    "logged-nothing": ("log", {"signature": None}),
}
"""Tag -> the log whose word is attached to that image, and what its entry says instead of the truth."""


def signed_by(site: SignedSite, *keys: str, identity: Json | None = None, data: bool = False) -> Json:
    found = [site.gpg_keys[key].public for key in keys]
    where: Json = {"keyData": base64.b64encode(found[0].read_bytes()).decode()} if data else {"keyPath": str(found[0])}
    if len(found) > 1:
        where = {"keyPaths": [str(path) for path in found]}
    return {
        "type": "signedBy",
        "keyType": "GPGKeys",
        **where,
        **({} if identity is None else {"signedIdentity": identity}),
    }


def sigstore(site: SignedSite, key: str = "good", identity: Json | None = None, *, data: bool = False) -> Json:
    path = site.cosign_keys[key].public
    where = {"keyData": base64.b64encode(path.read_bytes()).decode()} if data else {"keyPath": str(path)}
    return {"type": "sigstoreSigned", **where, **({} if identity is None else {"signedIdentity": identity})}


def several(site: SignedSite, *keys: str) -> Json:
    return {"type": "sigstoreSigned", "keyPaths": [str(site.cosign_keys[key].public) for key in keys]}


def logged(site: SignedSite) -> list[Json]:
    """Signed, and known to the log."""
    return [{**sigstore(site), "rekorPublicKeyPath": str(site.cosign_keys["log"].public)}]


@dataclass(frozen=True, slots=True)
class Case:
    """`asks` makes the requirements of all images of the registry."""

    image: str
    accepted: bool
    asks: Callable[[SignedSite], list[Json]]
    name: str = ""


def good(site: SignedSite) -> list[Json]:
    return [signed_by(site, "good")]


def cosign(site: SignedSite) -> list[Json]:
    return [sigstore(site)]


def identity(kind: str, **more: str) -> Callable[[SignedSite], list[Json]]:
    """Signed by the good key for such an identity; `HERE` in its texts is the registry."""

    def asks(site: SignedSite) -> list[Json]:
        told = {key: value.replace("HERE", site.address) for key, value in more.items()}
        return [signed_by(site, "good", identity={"type": kind, **told})]

    return asks


CASES = [
    Case("app:signed", True, good),
    Case("app:signed", True, lambda site: [signed_by(site, "good", data=True)], "key in the policy"),
    Case("app:unsigned", False, good),
    Case("app:other", False, good),
    Case("app:other", True, lambda site: [signed_by(site, "other")], "its key"),
    Case("app:replayed", False, good),
    Case("app:replayed", False, identity("matchRepository"), "any name"),
    Case("app:retagged", False, good),
    Case("app:retagged", True, identity("matchRepository"), "any tag"),
    Case("elsewhere:signed", False, good),
    Case("elsewhere:signed", False, identity("matchRepository"), "any tag"),
    Case("elsewhere:signed", True, identity("exactRepository", dockerRepository="HERE/app"), "that repository"),
    Case("elsewhere:signed", True, identity("exactReference", dockerReference="HERE/app:signed"), "that name"),
    Case("elsewhere:signed", False, identity("exactReference", dockerReference="HERE/app:1"), "another name"),
    Case(
        "elsewhere:signed",
        True,
        identity("remapIdentity", prefix="HERE/elsewhere", signedPrefix="HERE/app"),
        "moved",
    ),
    Case("app:signed", True, identity("remapIdentity", prefix="HERE/else", signedPrefix="HERE/app"), "not moved"),
    Case("app:signed", True, identity("matchExact"), "exactly"),
    Case("app:retagged", False, identity("matchExact"), "exactly"),
    Case("app@DIGEST", True, good),
    Case("app@DIGEST", False, identity("matchExact"), "exactly"),
    Case("elsewhere@DIGEST", False, good),
    Case("app:expired", False, lambda site: [signed_by(site, "expired")]),
    Case("app:revoked", False, lambda site: [signed_by(site, "revoked")]),
    Case("app:both", True, lambda site: [signed_by(site, "good"), signed_by(site, "other")], "two requirements"),
    Case("app:signed", False, lambda site: [signed_by(site, "good"), signed_by(site, "other")], "two requirements"),
    Case("app:signed", False, lambda site: [signed_by(site, "good"), REJECT], "and reject"),
    Case("app:unsigned", False, lambda site: [ACCEPT, signed_by(site, "good")], "accept and signed"),
    Case("app:one-good", True, good),
    Case("app:index-by-instance", True, good),
    Case("app:index-by-index", False, good),
    Case("app:unsigned", True, lambda site: [ACCEPT], "accept"),
    Case("app:signed", False, lambda site: [REJECT], "reject"),
    *(Case(f"app:{tag}", False, good) for tag in ("tampered", "cut", "junk", "empty", "detached", "clear", "armoured")),
    *(Case(f"app:{tag}", False, good) for tag in ("unknown-format", "more-keys", "twice", "other-type", "no-name")),
    *(Case(f"app:{tag}", False, good) for tag in ("broken-name", "no-json", "only-repository")),
    Case("app:only-repository", True, identity("matchRepository"), "any tag"),
    Case("app:named-format", True, good),
    Case("app:unlocked", True, good),  # what follows the signed message is no part of it
    Case("app:signed", False, lambda site: [sigstore(site)], "sigstore"),
    Case("app:signed", False, lambda site: [{**good(site)[0], "keyPath": str(site.home)}], "no key"),
    Case("cos:signed", True, cosign),
    Case("cos:signed", True, lambda site: [sigstore(site, data=True)], "key in the policy"),
    Case("cos:signed", False, lambda site: [sigstore(site, "other")], "another key"),
    Case("cos:signed", False, good, "GPG"),
    Case("cos:unsigned", False, cosign),
    Case("cos:other", False, cosign),
    Case("cos:rsa", True, lambda site: [sigstore(site, "rsa")]),
    Case("cos:ed25519", True, lambda site: [sigstore(site, "ed25519")]),
    Case("cos:replayed", False, lambda site: [sigstore(site, identity=BY_REPOSITORY)]),
    Case("cos:retagged", False, cosign),
    Case("cos:retagged", True, lambda site: [sigstore(site, identity=BY_REPOSITORY)], "any tag"),
    Case("cosmos:signed", False, cosign),
    Case("cos@DIGEST", True, cosign),
    Case("cos:both", True, lambda site: [sigstore(site), sigstore(site, "other")], "two requirements"),
    Case("cos:tampered", False, cosign),
    Case("cos:no-annotation", False, cosign),
    Case("cos:beside", True, cosign),
    Case("cos:logged", True, logged),
    Case("cos:signed", False, logged, "logged"),
    *(Case(f"cos:{tag}", False, logged) for tag in LOGGED if tag != "logged"),
    Case("cos:logged", False, lambda site: [{**logged(site)[0], **sigstore(site, "other")}], "another key"),
    Case("cos:both", True, lambda site: [several(site, "other", "good")], "several keys"),
    Case("cos:rsa", False, lambda site: [several(site, "other", "good")], "several keys"),
]


def _id(case: Case) -> str:
    return f"{case.image} {case.name}".strip()


def test_each_case_has_a_name_of_its_own() -> None:
    assert len({_id(case) for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_the_answer_is_that_of_skopeo(case: Case, site: SignedSite) -> None:
    policy = site.policy({"default": [REJECT], "transports": {"docker": {site.address: case.asks(site)}}})
    image = case.image.replace("DIGEST", site.image("source:1"))
    ours, why = site.polyarch_accepts(image, policy)
    theirs, reason = site.skopeo_accepts(image, policy)
    assert ours == case.accepted, f"polyarch: {why}"
    assert theirs in (case.accepted, None), f"skopeo: {reason}"
