"""Images that a mirror serves: under which name signatures are looked for, and whose rules hold; as skopeo has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.docker_registry import DockerRegistry
from support.signed_images import SignedSite
from support.signed_policies import ACCEPT, REJECT, cosign, gpg, only

Json = dict[str, Any]
pytestmark = pytest.mark.system


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Two registries: `asked/` of one is mirrored as `copies/` of the other; what is `moved/` is only there."""

    asked: SignedSite
    mirror: SignedSite


@pytest.fixture(scope="session")
def mirrored(site: SignedSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrored]:
    folder = tmp_path_factory.mktemp("mirror")
    registry = DockerRegistry(folder / "registry")
    conf = folder / "registries.conf"
    conf.write_text(
        f"""
        [[registry]]
        prefix = "{site.address}/asked"
        location = "{site.address}/asked"
        [[registry.mirror]]
        location = "{registry.address}/copies"
        insecure = true
        [[registry]]
        prefix = "{site.address}/moved"
        location = "{registry.address}/copies"
        insecure = true
        """
    )
    try:
        yield Mirrored(site.at(site.registry, conf), site.at(registry))
    finally:
        registry.stop()


@dataclass(frozen=True, slots=True)
class Case:
    """`kept` are the names under which a signature lies, `rules` whose requirements there are."""

    name: str
    kind: str
    kept: tuple[str, ...]
    accepted: bool
    served: str = "mirror"
    rules: str = "asked"
    prefix: str = "asked"


CASES = [
    Case("GPG: under the name asked for", "gpg", ("asked",), False),
    Case("GPG: under the mirror's", "gpg", ("mirror",), True),
    Case("GPG: the mirror has no image", "gpg", ("asked",), True, served="asked"),
    Case("GPG: the mirror has no image, but a signature", "gpg", ("mirror",), False, served="asked"),
    Case("GPG: both", "gpg", ("asked", "mirror"), True),
    Case("GPG: the rules of the mirror", "gpg", ("mirror",), False, rules="mirror"),
    Case("GPG: moved, under the name asked for", "gpg", ("asked",), False, prefix="moved"),
    Case("GPG: moved, under its name there", "gpg", ("mirror",), True, prefix="moved"),
    Case("cosign: under the name asked for", "cosign", ("asked",), False),
    Case("cosign: under the mirror's", "cosign", ("mirror",), True),
    Case("cosign: the mirror has no image", "cosign", ("asked",), True, served="asked"),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_answer_is_that_of_skopeo(case: Case, mirrored: Mirrored, soak: bool) -> None:
    asked, mirror = mirrored.asked, mirrored.mirror
    word = case.name.lower().replace(": ", "-").replace(", ", "-").replace(" ", "-").replace("'", "")
    image, copied = f"{case.prefix}/{word}:1", f"copies/{word}:1"
    digest = asked.image(image, case.name)
    if case.served == "mirror":
        assert mirror.image(copied, case.name) == digest
    for where, place, name in (("asked", asked, image), ("mirror", mirror, copied)):
        if where not in case.kept:
            continue
        if case.kind == "gpg":
            place.keep(name, digest, asked.sign(image, digest))
        else:
            place.attach(name, digest, asked.cosigned(image, digest))
    asks = (gpg if case.kind == "gpg" else cosign)(asked)
    scopes = {asked.address: [asks if case.rules == "asked" else REJECT]}
    scopes[mirror.address] = [REJECT if case.rules == "asked" else asks]
    policy = asked.policy({"default": [ACCEPT], "transports": {"docker": scopes}})
    ours, why = (asked.polyarch_accepts if soak else asked.verifier_accepts)(image, policy)
    assert ours == case.accepted, f"polyarch: {why}"
    if soak:
        theirs, reason = asked.skopeo_accepts(image, policy)
        assert theirs in (case.accepted, None), f"skopeo: {reason}"


def test_what_is_stored_is_held_against_the_mirrors_signature(mirrored: Mirrored, tmp_path: Path) -> None:
    asked, mirror = mirrored.asked, mirrored.mirror
    digest = asked.image("asked/stored:1")
    assert mirror.image("copies/stored:1", "asked/stored:1") == digest
    mirror.keep("copies/stored:1", digest, asked.sign("asked/stored:1", digest))
    with asked.session(only(asked, gpg(asked)), tmp_path) as session:
        session.pull(asked.ref("asked/stored:1"), platform="linux/amd64")
    with asked.session(only(asked, gpg(asked)), tmp_path) as session:
        [result] = session.kept.verify(asked.ref("asked/stored:1"))
    assert result.problems == ()
