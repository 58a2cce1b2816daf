"""Tiny images in a registry, with signatures made by skopeo, gpg and by cosign's format; and skopeo as their judge."""

from __future__ import annotations

import copy
import gzip
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from polyarch.contract import ChosenVariant, Index, Manifest, VerifierServices
from polyarch.errors import IntegrityError, PolyarchError, UsageError
from polyarch.session import Session
from polyarch.settings import load_settings
from polyarch_plugins.verifiers.containers_policy.verifier import ContainersPolicy
from support import cosign_keys, pushing
from support.cosign_keys import CosignKey
from support.docker_registry import DockerRegistry
from support.gpg_keys import GpgHome, GpgKey

Json = dict[str, Any]
_EMPTY_TAR = b"\0" * 10240
_PACKED = gzip.compress(_EMPTY_TAR, mtime=0)  # what is not compressed, skopeo compresses
_UNABLE = re.compile(r'sigstore disabled|Unknown key \\?"(rekorPublicKey|keyPaths|keyDatas|fulcio|pki)')
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class SignedSite:
    """A registry, a home folder with registries.d that podman's tools and polyarch read, and keys of both kinds.

    An image that is called `NAME:TAG` here is in the registry under its address and that.
    """

    def __init__(self, registry: DockerRegistry, folder: Path) -> None:
        if shutil.which("skopeo") is None:
            pytest.skip("the program skopeo is not installed")
        self.registry, self.folder = registry, folder
        self.address = registry.address
        self.home = folder / "home"
        self.places = self.home / ".config" / "containers" / "registries.d"
        self.places.mkdir(parents=True)
        self.lookaside = folder / "lookaside"
        self.lookaside.mkdir()
        self.say({"default-docker": {"lookaside": f"file://{self.lookaside}", "use-sigstore-attachments": True}})
        self.gpg = GpgHome()
        self.gpg_keys: dict[str, GpgKey] = {
            "good": self.gpg.key("good"),
            "other": self.gpg.key("other"),
            "expired": self.gpg.key("expired", expired=True),
            "revoked": self.gpg.key("revoked"),
            "old": self.gpg.key("old", old=True),
        }
        self.cosign_keys: dict[str, CosignKey] = {
            "good": cosign_keys.ecdsa_key(folder, "good"),
            "other": cosign_keys.ecdsa_key(folder, "other"),
            "rsa": cosign_keys.rsa_key(folder, "rsa"),
            "ed25519": cosign_keys.ed25519_key(folder, "ed25519"),
            "log": cosign_keys.ecdsa_key(folder, "log"),
        }
        self.registries_conf: Path | None = None
        self._count = 0
        self._shared: Session | None = None

    def at(self, registry: DockerRegistry, conf: Path | None = None) -> SignedSite:
        """The same keys and places with another registry, and with what a registries.conf says. Not to be stopped."""
        other = copy.copy(self)
        other.registry, other.address, other.registries_conf, other._shared = registry, registry.address, conf, None
        return other

    def stop(self) -> None:
        if self._shared is not None:
            self._shared.close()
        self.gpg.stop()

    def say(self, document: Json) -> None:
        """What registries.d says from now on."""
        (self.places / "tests.yaml").write_text(json.dumps(document))  # YAML contains JSON

    def ref(self, name: str) -> str:
        return f"{self.address}/{name}"

    def image(self, name: str, text: str | None = None) -> str:
        """Puts an image of one platform under `name`; its manifest's digest. Another `text`, another image."""
        repository, _, tag = name.rpartition(":")
        return str(
            pushing.put_document(self.address, repository, self._manifest(repository, text or name), tag)["digest"]
        )

    def index(self, name: str) -> tuple[str, str]:
        """Puts an index of amd64 and arm64; its digest, and that of the manifest for amd64."""
        repository, _, tag = name.rpartition(":")
        entries = []
        for architecture in ("amd64", "arm64"):
            manifest = self._manifest(repository, name, architecture)
            entry = pushing.put_document(self.address, repository, manifest)
            entries.append({**entry, "platform": {"os": "linux", "architecture": architecture}})
        index = {"schemaVersion": 2, "mediaType": pushing.OCI_INDEX, "manifests": entries}
        return str(pushing.put_document(self.address, repository, index, tag)["digest"]), str(entries[0]["digest"])

    def keep(self, name: str, digest: str, *signatures: bytes) -> None:
        """Keeps signatures beside the registry, for an image of the repository of `name`."""
        place = self.lookaside / f"{name.rpartition(':')[0]}@{digest.replace(':', '=')}"
        place.mkdir(parents=True, exist_ok=True)
        for number, signature in enumerate(signatures, 1):
            (place / f"signature-{number}").write_bytes(signature)

    def kept(self, name: str, digest: str) -> bytes:
        """The first signature that is kept so."""
        place = self.lookaside / f"{name.rpartition(':')[0]}@{digest.replace(':', '=')}"
        return (place / "signature-1").read_bytes()

    def sign(self, name: str, digest: str, key: str = "good", reference: str = "") -> bytes:
        """A GPG signature of an image under its own name, or another."""
        return self.gpg.sign(self.gpg_keys[key], digest, self.ref(reference or name), expired=key == "expired")

    def attach(self, name: str, digest: str, *signatures: tuple[bytes, Json], kind: str = pushing.OCI_MANIFEST) -> None:
        """Attaches cosign's signatures, payload and annotations each, to an image of the repository of `name`, by a
        manifest of this media type.
        """
        repository = name.rpartition(":")[0]
        layers = [
            {**pushing.put_blob(self.address, repository, content, cosign_keys.MEDIA_TYPE), "annotations": annotations}
            for content, annotations in signatures
        ]
        config = pushing.put_blob(self.address, repository, b"{}", CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}
        pushing.put_document(self.address, repository, manifest, f"{digest.replace(':', '-')}.sig")

    def cosigned(self, name: str, digest: str, key: str = "good", reference: str = "") -> tuple[bytes, Json]:
        """A signature by cosign's format, for `attach`."""
        content = cosign_keys.payload(digest, self.ref(reference or name))
        return content, {"dev.cosignproject.cosign/signature": cosign_keys.sign(self.cosign_keys[key], content)}

    def skopeo(self, *words: str, program: str = "skopeo") -> subprocess.CompletedProcess[str]:
        """Runs skopeo with this home and these keys."""
        conf = () if self.registries_conf is None else ("--registries-conf", str(self.registries_conf))
        environment = {**self.gpg.environ, "HOME": str(self.home)}
        return subprocess.run([program, *conf, *words], env=environment, capture_output=True, text=True, timeout=120)

    def skopeo_signs(self, source: str, name: str, *words: str, program: str = "skopeo") -> None:
        """`skopeo copy` of an image here to another name, which it signs."""
        copied = self.skopeo(
            "--insecure-policy",
            "copy",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            *words,
            f"docker://{self.ref(source)}",
            f"docker://{self.ref(name)}",
            program=program,
        )
        assert copied.returncode == 0, copied.stderr

    def policy(self, document: Json) -> Path:
        """A policy.json."""
        self._count += 1
        path = self.folder / f"policy-{self._count}.json"
        path.write_text(json.dumps(document))
        return path

    def skopeo_accepts(self, name: str, policy: Path) -> tuple[bool | None, str]:
        """Whether skopeo copies an image under a policy, and what it said; None where it would need sigstore and was
        built without it, as Debian's is, or is too old for the policy. POLYARCH_TEST_SKOPEO names another one.
        """
        target = self.folder / "copied"
        shutil.rmtree(target, ignore_errors=True)
        words = ("--policy", str(policy), "--override-arch", "amd64", "copy", "--src-tls-verify=false")
        judge = os.environ.get("POLYARCH_TEST_SKOPEO") or "skopeo"
        done = self.skopeo(*words, f"docker://{self.ref(name)}", f"dir:{target}", program=judge)
        return None if _UNABLE.search(done.stderr) else done.returncode == 0, done.stderr

    def polyarch_accepts(self, name: str, policy: Path) -> tuple[bool, str]:
        """Whether polyarch pulls it, and what it said; nothing may be stored under the name of one that is refused."""
        self._count += 1
        root = self.folder / f"root-{self._count}"
        with self.session(policy, root) as session:
            reference = self.ref(name)
            try:
                session.pull(reference, platform="linux/amd64")
            except (IntegrityError, UsageError) as error:
                assert session.storage().find(session.reference(reference)) == ()
                return False, said(error)
            assert session.storage().find(session.reference(reference))
        shutil.rmtree(root)
        return True, ""

    def verifier_accepts(self, name: str, policy: Path) -> tuple[bool, str]:
        """Whether polyarch's verifier accepts what a pull would take: cheaper than a pull."""
        if self._shared is None:
            self._shared = self.session("none", self.folder / "shared")
        session = self._shared
        reference = session.reference(self.ref(name))
        registry = session._registry(reference)
        temporary = self.folder / "temporary"
        temporary.mkdir(exist_ok=True)
        services = VerifierServices(
            {},
            session.settings.environ,
            str(policy),
            self.home,
            lambda: session._registry_services.http,
            lambda: temporary,
        )
        root = registry.get(reference)
        manifest = registry.get(reference.with_digest(root.manifests[0].digest)) if isinstance(root, Index) else root
        assert isinstance(manifest, Manifest)
        verifier = ContainersPolicy(services)
        try:
            verifier.verify(reference, root)
            verifier.verify_variant(ChosenVariant(reference, reference, root, manifest, registry))
        except (IntegrityError, UsageError) as error:
            return False, said(error)
        finally:
            assert not list(temporary.iterdir())
        return True, ""

    def session(self, policy: Path | str, root: Path) -> Session:
        environ = {
            "HOME": str(self.home),
            "PATH": "/usr/bin:/bin",
            "POLYARCH_REGISTRIES_CONF": str(self.registries_conf or "none"),
            "POLYARCH_CONTAINERD_HOSTS": "none",
            "POLYARCH_POLICY": str(policy),
        }
        return Session(load_settings(root, None, environ, sync="none"))

    def _manifest(self, repository: str, text: str, architecture: str = "amd64") -> Json:
        layer = pushing.put_blob(self.address, repository, _PACKED, LAYER)
        config = {
            "os": "linux",
            "architecture": architecture,
            "config": {"Labels": {"org.example.text": text}},
            "rootfs": {"type": "layers", "diff_ids": [pushing.digest_of(_EMPTY_TAR)]},
        }
        described = pushing.put_blob(self.address, repository, json.dumps(config).encode(), CONFIG)
        return {"schemaVersion": 2, "mediaType": pushing.OCI_MANIFEST, "config": described, "layers": [layer]}


def said(error: PolyarchError) -> str:
    """Code, message and hint of an error."""
    return f"{error.code}: {error.message} ({error.hint})"
