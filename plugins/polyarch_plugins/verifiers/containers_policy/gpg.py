"""OpenPGP signatures, judged by the program gpg in a home of its own that holds the given keys and nothing else.

Key and signature count as containers/image counts them (signature/mechanism_gpgme.go): one signature, good, by a key
that is neither expired nor revoked; whom the key belongs to is the policy's affair. The status lines are those of
GnuPG's doc/DETAILS, "Format of the --status-fd output".
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from polyarch.contract import HostError, printable
from polyarch_plugins.verifiers.containers_policy.payload import MAX_SIGNATURE

_SECONDS = 60
_OPTIONS = (
    "--no-options",
    "--batch",
    "--no-tty",
    "--quiet",
    "--no-autostart",
    "--disable-dirmngr",
    "--no-auto-key-retrieve",
    "--no-auto-check-trustdb",
    "--trust-model",
    "always",
    "--status-fd",
    "1",
)
_WHY = {
    "BADSIG": "the signature does not fit what it signs",
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the key has expired",
    "REVKEYSIG": "the key was revoked",
    "ERRSIG": "it is not by one of the keys that the policy names",
}


class Refused(Exception):
    """A signature that does not count. The text says why."""


class Keyring:
    """The keys of one requirement."""

    def __init__(self, program: str, home: Path, keys: int) -> None:
        self._program, self._home = program, home
        self.keys = keys
        """How many there are."""

    def signed(self, signature: bytes) -> bytes:
        """What was signed. Raises Refused unless one of the keys signed it, HostError where gpg does not work."""
        message, content = self._home / "signature", self._home / "content"
        message.write_bytes(signature)
        content.unlink(missing_ok=True)
        limits = ("--max-output", str(MAX_SIGNATURE))
        code, status = _run(self._program, self._home, (*limits, "--output", str(content), "--verify", str(message)))
        words = [line[0] for line in status]
        for word in words:
            if word in _WHY:
                raise Refused(_WHY[word])
        counts = [words.count(word) for word in ("NEWSIG", "GOODSIG", "VALIDSIG", "PLAINTEXT")]
        if code or counts != [1, 1, 1, 1]:
            raise Refused("it is not one message with one OpenPGP signature")
        return content.read_bytes()


@contextmanager
def keyring(environ: Mapping[str, str], folder: Path, keys: Sequence[bytes]) -> Iterator[Keyring]:
    """The keys in `keys`, each armoured or not, in a home of gpg's below `folder` that is removed in the end.

    Raises HostError where there is no gpg.
    """
    program = shutil.which("gpg", path=environ.get("PATH"))
    if program is None:
        raise HostError("the signature policy asks for GPG signatures, and there is no program gpg", "apt install gpg")
    with tempfile.TemporaryDirectory(prefix="gpg-", dir=folder) as name:
        home = Path(name)  # mkdtemp(3) makes it for this user alone
        found = set[str]()
        for key in keys:
            file = home / "key"
            file.write_bytes(key)
            _, status = _run(program, home, ("--import", str(file)))
            found.update(line[-1] for line in status if line[0] == "IMPORT_OK")
        yield Keyring(program, home, len(found))


def _run(program: str, home: Path, words: Sequence[str]) -> tuple[int, list[list[str]]]:
    """The exit code, and the words of each status line. Raises HostError."""
    try:
        done = subprocess.run(
            [program, "--homedir", str(home), *_OPTIONS, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            env={"LC_ALL": "C", "HOME": str(home)},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{program} cannot be used: {printable(str(error))}") from error
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    mark = "[GNUPG:] "
    return done.returncode, [line.removeprefix(mark).split(" ") for line in lines if line.startswith(mark)]
