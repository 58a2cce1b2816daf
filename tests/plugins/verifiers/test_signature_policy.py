"""Signed, unsigned, wrongly signed and replayed images under policies: polyarch's answer is skopeo's, case by case."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.signed_cases import LOGGED
from support.signed_images import SignedSite

Json = dict[str, Any]
pytestmark = pytest.mark.system

ACCEPT: Json = {"type": "insecureAcceptAnything"}
REJECT: Json = {"type": "reject"}
BY_REPOSITORY: Json = {"type": "matchRepository"}


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
    Case("app:old", True, lambda site: [signed_by(site, "old")]),
    Case("app:outdated", False, lambda site: [signed_by(site, "old")]),
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
    Case("app@ONLY-REPOSITORY", False, good),
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
    Case("cos:docker", False, cosign),
    Case("cos:beside", True, cosign),
    Case("cos:logged", True, logged),
    Case("cos:signed", False, logged, "logged"),
    *(Case(f"cos:{tag}", False, logged) for tag in LOGGED if tag != "logged"),
    Case("cos:logged-signature", False, logged),
    Case("cos:logged", False, lambda site: [{**logged(site)[0], **sigstore(site, "other")}], "another key"),
    Case("cos:both", True, lambda site: [several(site, "other", "good")], "several keys"),
    Case("cos:rsa", False, lambda site: [several(site, "other", "good")], "several keys"),
]


# These are pulled, and skopeo is asked of them, in `make test`, too; in `make soak` all are.
ASKED = {
    "app:signed",
    "app:unsigned",
    "app:other",
    "app:tampered",
    "app:replayed any name",
    "app:retagged",
    "app@DIGEST",
    "elsewhere:signed",
    "elsewhere:signed moved",
    "app:expired",
    "app:outdated",
    "app:revoked",
    "app:both two requirements",
    "app:signed two requirements",
    "app:index-by-instance",
    "app:index-by-index",
    "app:unsigned accept",
    "app:signed reject",
}


def _id(case: Case) -> str:
    return f"{case.image} {case.name}".strip()


def test_each_case_has_a_name_of_its_own() -> None:
    assert len({_id(case) for case in CASES}) == len(CASES)
    assert {_id(case) for case in CASES} > ASKED


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_the_answer_is_that_of_skopeo(case: Case, site: SignedSite, soak: bool) -> None:
    policy = site.policy({"default": [REJECT], "transports": {"docker": {site.address: case.asks(site)}}})
    image = case.image.replace("DIGEST", site.image("source:1"))
    image = image.replace("ONLY-REPOSITORY", site.image("app:only-repository"))
    whole = soak or _id(case) in ASKED
    ours, why = (site.polyarch_accepts if whole else site.verifier_accepts)(image, policy)
    assert ours == case.accepted, f"polyarch: {why}"
    if whole:
        theirs, reason = site.skopeo_accepts(image, policy)
        assert theirs in (case.accepted, None), f"skopeo: {reason}"


@pytest.mark.costly
def test_what_skopeo_signs_with_a_key_of_its_own_making_is_accepted(site: SignedSite, tmp_path: Path) -> None:
    skopeo = os.environ.get("POLYARCH_TEST_SKOPEO")
    if not skopeo:
        pytest.skip("POLYARCH_TEST_SKOPEO names no skopeo that signs so")
    (tmp_path / "word").write_text("secret")
    prefix, word = tmp_path / "made", str(tmp_path / "word")
    words = ("--output-prefix", str(prefix), "--passphrase-file", word)
    assert site.skopeo("generate-sigstore-key", *words, program=skopeo).returncode == 0
    signing = ("--sign-by-sigstore-private-key", f"{prefix}.private", "--sign-passphrase-file", word)
    site.skopeo_signs("source:1", "made:signed", *signing, program=skopeo)
    site.skopeo_signs("source:1", "made:retagged")
    asks = {"type": "sigstoreSigned", "keyPath": f"{prefix}.pub"}
    policy = site.policy({"default": [REJECT], "transports": {"docker": {site.address: [asks]}}})
    answers = [site.polyarch_accepts(name, policy) for name in ("made:signed", "made:retagged", "cos:signed")]
    assert [accepted for accepted, _ in answers] == [True, False, False], answers
    assert [site.skopeo_accepts(name, policy)[0] for name in ("made:signed", "made:retagged")] == [True, False]
