"""The images that signature policies are tried with, each with the signatures that its tag tells of."""

from __future__ import annotations

import base64
import json
from typing import Any

from support.cosign_keys import log_bundle, sign
from support.signed_images import SignedSite

Json = dict[str, Any]

BUNDLE = "dev.sigstore.cosign/bundle"
SIGNATURE = "dev.cosignproject.cosign/signature"
LOGGED: dict[str, tuple[str, Json]] = {
    "logged": ("log", {}),
    "logged-elsewhere": ("other", {}),
    "logged-otherwise": ("log", {"data": {"hash": {"algorithm": "sha256", "value": "00" * 32}}}),
    "logged-nothing": ("log", {"signature": None}),
}
"""Tag -> the log whose word is attached to that image, and what its entry says instead of the truth."""


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
    old = site.image("app:old")
    site.keep("app:old", old, site.sign("app:old", old, "old"))
    outdated = site.image("app:outdated")
    signature = site.gpg.sign(site.gpg_keys["old"], outdated, site.ref("app:outdated"), outdated=True)
    site.keep("app:outdated", outdated, signature)
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
    docker = site.image("cos:docker")
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    site.attach("cos:docker", docker, site.cosigned("cos:docker", docker), kind=kind)
    beside = site.image("cos:beside")
    content, annotations = site.cosigned("cos:beside", beside)
    document = {
        "mimeType": "application/vnd.dev.cosign.simplesigning.v1+json",
        "payload": base64.b64encode(content).decode(),
        "annotations": annotations,
    }
    site.keep("cos:beside", beside, b"\0sigstore-json\n" + json.dumps(document).encode())
    keys = site.cosign_keys
    signer = keys["good"].public.read_bytes()
    for tag, (log, record) in LOGGED.items():
        digest = site.image(f"cos:{tag}")
        content, annotations = site.cosigned(f"cos:{tag}", digest)
        bundle = log_bundle(keys[log], signer, content, annotations[SIGNATURE], record)
        site.attach(f"cos:{tag}", digest, (content, {**annotations, BUNDLE: bundle}))
    digest = site.image("cos:logged-signature")  # no signature by ECDSA is made twice
    content, annotations = site.cosigned("cos:logged-signature", digest)
    bundle = log_bundle(keys["log"], signer, content, sign(keys["good"], content), {})
    site.attach("cos:logged-signature", digest, (content, {**annotations, BUNDLE: bundle}))
