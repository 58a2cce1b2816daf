"""Which images `image prune` takes: by name, age and number."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.contract import Image
from polyarch.contract.storage import unnamed
from polyarch.verbs.images.at_hand import brief
from polyarch.verbs.images.prune_choice import PruneRules, going
from support.small_images import SmallStorage

HOUR = 3600.0
NOW = 100 * HOUR
# name -> (its image, hours since that came)
AT_HAND = {
    "app:1": ("a", 30),
    "app:2": ("b", 20),
    "app:3": ("c", 10),
    "user/app:1": ("d", 30),
    "app@digest": ("e", 30),
    "unnamed": ("f", 5),
}


@pytest.mark.parametrize(
    ("rules", "used", "expected"),
    [
        pytest.param(PruneRules(), "", ["unnamed"], id="without-name"),
        pytest.param(PruneRules(), "f", [], id="without-name-used"),
        pytest.param(PruneRules(older_than=6 * HOUR), "", [], id="without-name-young"),
        pytest.param(PruneRules(older_than=5 * HOUR), "", ["unnamed"], id="exactly-so-old"),
        pytest.param(PruneRules(everything=True), "", list(AT_HAND), id="all"),
        pytest.param(PruneRules(everything=True), "aef", ["app:2", "app:3", "user/app:1"], id="all-but-used"),
        pytest.param(
            PruneRules(everything=True, older_than=20 * HOUR),
            "",
            ["app:1", "app:2", "user/app:1", "app@digest"],
            id="all-old",
        ),
        pytest.param(PruneRules(everything=True, keep=1), "", ["app:1", "app:2", "app@digest", "unnamed"], id="keep-1"),
        pytest.param(PruneRules(everything=True, keep=2), "", ["app:1", "app@digest", "unnamed"], id="keep-2"),
        pytest.param(PruneRules(everything=True, keep=9), "e", ["unnamed"], id="keep-more-than-there-are"),
        pytest.param(PruneRules(everything=True, keep=1), "a", ["app:2", "app@digest", "unnamed"], id="keep-and-used"),
        pytest.param(
            PruneRules(everything=True, keep=1, older_than=25 * HOUR), "", ["app:1", "app@digest"], id="keep-and-old"
        ),
    ],
)
def test_what_goes(rules: PruneRules, used: str, expected: list[str], tmp_path: Path) -> None:
    storage = SmallStorage(tmp_path)
    made: dict[str, Image] = {letter: storage.manifest("linux/arm64", [letter.encode()]) for letter in "abcdef"}
    names = {}
    for name, (letter, _) in AT_HAND.items():
        digest = made[letter].manifest.digest
        text = str(unnamed(digest)) if name == "unnamed" else name.replace("@digest", f"@{digest}")
        storage.add(text, [made[letter]])
        names[storage.listed[-1].reference] = name
    arrived = {made[letter].manifest.digest: NOW - hours * HOUR for letter, hours in AT_HAND.values()}
    in_use = {made[letter].manifest.digest for letter in used}
    found = going(list(map(brief, storage.listed)), arrived, in_use, rules, NOW)
    assert [names[image.reference] for image in found] == expected


def test_names_go_with_all_their_platforms_or_not_at_all(tmp_path: Path) -> None:
    storage = SmallStorage(tmp_path)
    images = [storage.manifest(platform) for platform in ("linux/amd64", "linux/arm64")]
    storage.add("app:1", images)
    digests = [image.manifest.digest for image in images]
    arrived = {digests[0]: NOW - 30 * HOUR, digests[1]: NOW - HOUR}
    everything = PruneRules(everything=True)
    listed = list(map(brief, storage.listed))
    assert len(going(listed, arrived, (), everything, NOW)) == 2
    assert going(listed, arrived, digests[:1], everything, NOW) == ()
    assert going(listed, arrived, (), PruneRules(everything=True, older_than=2 * HOUR), NOW) == ()
