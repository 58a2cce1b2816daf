"""The script that brings images to a device of a fleet, and the shell variables that tell it which, and how.

One script serves all devices and all engines. What it prints, a line each, between a first and a last line that hold
the nonce (`polyarch.fleet.pull_answer` reads it)::

    image N up-to-date DIGEST    the name stood for the image already
    image N pulled DIGEST        it does now; DIGEST is what the engine tells of it, as in all of these
    image N differs DIGEST       the engine has another than was asked for
    image N failed               and what was said of it: error N WORDS, up to three lines
    held WORDS                   another rollout is at the device: which, whose, since when
    refused WORDS                the device's lock cannot be made
    check WORDS                  what the check wrote last; the last of these lines is its exit code
    ended timeout|cut            it was ended in the middle: the time was over, or nobody listens any more
    sum S, index TEXT, blob SIZE HEX    what an OCI layout has, where it is asked
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from pathlib import Path

from polyarch.contract.storage import Image
from polyarch.errors import printable
from polyarch.fleet.facts import Engine
from polyarch.fleet.outcomes import Transport
from polyarch.fleet.planned import DevicePlan, ImagePlan
from polyarch.fleet.reasons import ReasonCode
from polyarch.oci.digest import Digest
from polyarch_platforms.lazy_dataclass import dataclass

VERSION = 1
MAX_WORDS = 96 << 10
"""Bytes that a script is told of images. Linux takes 128 KiB for one word of a command line (execve(2),
MAX_ARG_STRLEN), here and on the device, and the script with all else is in the same word.
"""
NO_INDEX = "none"
"""Stands for the digest of an index.json that is not there."""

# What names of images consist of (distribution/reference, regexp.go), and so what may be a word of the script's.
_NAME = re.compile(r"[A-Za-z0-9._:/@+\[\]-]+", re.ASCII)
_MAX_HOLDER = 200


@dataclass(frozen=True, slots=True)
class PullOrder:
    """What is the same for all that is done on one device in one attempt.

    path    `polyarch/` and 32 hexadecimal digits: what the temporary names begin with, behind a loopback's host
    nonce   16 to 64 hexadecimal digits, another each time
    holder  who does it, for others to read: the rollout, the user, the host
    limit   seconds after which the script ends itself
    check   a command that has to succeed on the device when all images are there
    """

    path: str
    nonce: str
    holder: str
    limit: int
    check: str | None = None


def pull_script() -> str:
    """The POSIX sh script. It holds no text that Ansible takes for a template."""
    return Path(__file__).with_name("pull.sh").read_text("utf-8")


def first_line(nonce: str) -> str:
    """The first line of an answer."""
    return f"polyarch-pull {VERSION} {nonce}"


def last_line(nonce: str) -> str:
    """The last line of an answer that is whole."""
    return f"polyarch-pull-end {nonce}"


def cannot_name(line: ImagePlan, engine: Engine, how: Transport) -> tuple[ReasonCode, str] | None:
    """Why the engine cannot have an image under this name, reason code and words; None where it can."""
    if engine.kind == "oci":
        return None
    name = engine_name(line.reference)
    if not _NAME.fullmatch(name):
        return "no-engine", f"{engine.kind} cannot give an image the name '{printable(name, 200)}'"
    if "@" in name and engine.kind in ("docker", "podman"):
        return "no-engine", f"{engine.kind} gives an image no name by digest: name a tag, too: {_tagged(name)}"
    if how == "direct" and not (line.repository and _NAME.fullmatch(line.repository)):
        return "no-engine", f"{engine.kind} cannot pull from '{printable(line.repository or 'nowhere', 200)}'"
    return None


def fit_in(lines: Collection[ImagePlan], engine: Engine) -> bool:
    """Whether the script can be told of so many images: what it is told stands in its command line."""
    if engine.kind == "oci":
        return 100 * sum(not line.present for line in lines) <= MAX_WORDS
    # Number, name, source, and three digests: of the source, and those that are accepted.
    sizes = (len(line.reference) + max(len(line.repository or ""), 70) + 3 * 73 + 8 for line in lines)
    return sum(sizes) <= MAX_WORDS


def engine_name(reference: str) -> str:
    """The name under which an image is kept: by its tag if it has one, else by digest."""
    name, _, _ = reference.partition("@")
    return name if ":" in name.rpartition("/")[2] else reference


def temporary_name(order: PullOrder, number: int) -> str:
    """The name that an image has in an archive that is streamed to an engine: no registry is ever asked for it."""
    return f"127.0.0.1:1/{order.path}/{number}:pull"


def told_digest(line: ImagePlan, engine: Engine, images: Mapping[Digest, Image]) -> Digest | None:
    """What the engine will tell of the image: the config's digest, or the manifest's where it knows it by that.

    None where it takes the image's documents to know it, and they are not in `images`.
    """
    if engine.kind in ("docker", "podman") and not engine.by_digest:
        image = images.get(line.manifest or "")
        return None if image is None else image.manifest.config.digest
    return line.manifest


def pull_values(
    plan: DevicePlan, engine: Engine, images: Mapping[Digest, Image], order: PullOrder, how: Transport
) -> dict[str, str]:
    """The variables for docker, podman or containerd. Images that cannot be named, or are not known, are left out."""
    words: list[str] = []
    streamed = 0
    for number, line in enumerate(plan.images):
        wanted = told_digest(line, engine, images)
        if wanted is None or cannot_name(line, engine, how):
            continue
        if how == "tunnel":
            source = f"{order.path}@{line.manifest}"
        elif how == "direct":
            source = f"{line.repository}@{line.manifest}"
        else:
            source = temporary_name(order, number)
            streamed += not line.present
        # Of a name that stood for the whole index the engine tells the index's digest.
        accepted = line.digest if line.present and line.digest else wanted
        words += [str(number), engine_name(line.reference), source, wanted, accepted]
    values = _values(engine, order, how, words)
    # Several images go to podman as archives in an archive (archive.py).
    return {**values, "pull_parts": "yes"} if engine.kind == "podman" and streamed > 1 else values


def layout_question(engine: Engine, order: PullOrder) -> dict[str, str]:
    """The variables with which the script tells what the OCI layout has."""
    return _values(engine, order, "ask", [])


def layout_values(
    engine: Engine, order: PullOrder, manifests: Mapping[int, Digest], before: str, after: str
) -> dict[str, str]:
    """The variables for an OCI layout: `before` and `after` are the hexadecimal digests of its index.json."""
    words = [word for number, manifest in manifests.items() for word in (str(number), "-", "-", manifest, "-")]
    return {**_values(engine, order, "stream", words), "pull_sum": before, "pull_new": after}


def _values(engine: Engine, order: PullOrder, how: str, words: list[str]) -> dict[str, str]:
    return {
        "pull_nonce": order.nonce,
        "pull_kind": engine.kind,
        "pull_engine": shlex.join(engine.command),
        "pull_place": engine.place,
        "pull_how": how,
        "pull_images": " ".join(words),
        "pull_holder": printable(" ".join(order.holder.split()), _MAX_HOLDER).encode("ascii", "replace").decode(),
        "pull_limit": str(max(1, order.limit)),
        "pull_check": order.check or "",
        "pull_parts": "",
        "pull_sum": "",
        "pull_new": "",
    }


def _tagged(name: str) -> str:
    repository, _, digest = name.partition("@")
    return f"{repository}:TAG@{digest}"
