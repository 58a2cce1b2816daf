"""OpenPGP keys of the tests, made by gpg in a home of their own, and signatures of images by them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

_LONG_AGO = "20200102T000000!"


@dataclass(frozen=True, slots=True)
class GpgKey:
    """A key pair: its fingerprint, and a file with the public key, armoured."""

    fingerprint: str
    public: Path


class GpgHome:
    """Keys, and what signs with them. `stop` ends gpg's agent and takes everything away."""

    def __init__(self) -> None:
        for program in ("gpg", "gpgconf"):
            if shutil.which(program) is None:
                pytest.skip(f"the program {program} is not installed")
        self.folder = Path(tempfile.mkdtemp(prefix="gpg-", dir="/tmp"))  # the agent's socket wants a short path
        self.environ = {**os.environ, "GNUPGHOME": str(self.folder)}

    def key(self, name: str, *, expired: bool = False, old: bool = False) -> GpgKey:
        """A new key that only signs; an `old` one was made long ago, one that is `expired` was good for a day then."""
        clock = ["--faked-system-time", _LONG_AGO] if expired or old else []
        expires = "seconds=86400" if expired else "0"
        uid = f"{name} <{name}@example.com>"
        made = self.gpg(
            *clock, "--status-fd", "1", "--passphrase", "", "--quick-gen-key", uid, "ed25519", "sign", expires
        )
        fingerprint = next(line.split()[-1] for line in made.decode().splitlines() if " KEY_CREATED " in line)
        return self._exported(name, fingerprint)

    def revoked(self, name: str, key: GpgKey) -> GpgKey:
        """The same key, taken back by its owner."""
        certificate = (self.folder / "openpgp-revocs.d" / f"{key.fingerprint}.rev").read_text()
        file = self.folder / "revocation"
        file.write_text(certificate.replace(":-----BEGIN", "-----BEGIN"))
        self.gpg("--import", str(file))
        return self._exported(name, key.fingerprint)

    def sign(
        self,
        key: GpgKey,
        digest: str,
        reference: str,
        *,
        expired: bool = False,
        outdated: bool = False,
        **critical: object,
    ) -> bytes:
        """A signature of an image under a name, as the format says; `critical` replaces parts of what is signed.

        By an `expired` key it was made when that was good; an `outdated` one, by an old key, was good for a day.
        """
        said = {
            "type": "atomic container signature",
            "image": {"docker-manifest-digest": digest},
            "identity": {"docker-reference": reference},
            **critical,
        }
        content = json.dumps({"critical": said, "optional": {}}).encode()
        return self.sign_bytes(key, content, expired=expired, outdated=outdated)

    def sign_bytes(self, key: GpgKey, content: bytes, *, expired: bool = False, outdated: bool = False) -> bytes:
        """A signature over anything: see `sign`."""
        clock = ["--faked-system-time", _LONG_AGO] if expired or outdated else []
        clock += ["--default-sig-expire", "seconds=86400"] if outdated else []
        file = self.folder / "content"
        file.write_bytes(content)
        return self.gpg(*clock, "--local-user", key.fingerprint, "--output", "-", "--sign", str(file))

    def gpg(self, *words: str) -> bytes:
        done = subprocess.run(["gpg", "--batch", "--yes", *words], env=self.environ, capture_output=True, timeout=60)
        assert done.returncode == 0, f"gpg {' '.join(words)}: {done.stderr.decode()}"
        return done.stdout

    def stop(self) -> None:
        subprocess.run(["gpgconf", "--kill", "all"], env=self.environ, timeout=60, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _exported(self, name: str, fingerprint: str) -> GpgKey:
        public = self.folder / f"{name}.asc"
        public.write_bytes(self.gpg("--armor", "--export", fingerprint))
        return GpgKey(fingerprint, public)
