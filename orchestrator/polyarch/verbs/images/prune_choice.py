"""Which images go by `image prune`. Pure: the same images, containers and times give the same answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from polyarch.contract.storage import is_unnamed
from polyarch.oci.digest import Digest
from polyarch.reference import Reference
from polyarch.verbs.images.at_hand import AtHand
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class PruneRules:
    """Images without a name go; with `everything` all that no container uses.

    `older_than`: only those that came here that many seconds ago. `keep`: the newest of each repository's tags stay.
    """

    everything: bool = False
    older_than: float | None = None
    keep: int | None = None

    @property
    def timed(self) -> bool:
        """Whether it matters when images came."""
        return self.older_than is not None or bool(self.keep)


def going(
    images: Sequence[AtHand], arrived: Mapping[Digest, float], used: Collection[Digest], rules: PruneRules, now: float
) -> tuple[AtHand, ...]:
    """The images that go, names always with all their platforms.

    `arrived` has when each manifest came here (a POSIX time, as `now`), which is asked where rules are `timed`; `used`
    has those that containers use.
    """
    names: dict[Reference, list[AtHand]] = {}
    for image in images:
        names.setdefault(image.reference, []).append(image)
    times = {}
    if rules.timed:
        times = {name: max(arrived[image.manifest] for image in named) for name, named in names.items()}
    kept = _newest(times, rules.keep or 0)

    def goes(name: Reference) -> bool:
        if name in kept or any(image.manifest in used for image in names[name]):
            return False
        if rules.older_than is not None and now - times[name] < rules.older_than:
            return False
        return rules.everything or is_unnamed(name)

    return tuple(image for name, named in names.items() if goes(name) for image in named)


def _newest(times: Mapping[Reference, float], number: int) -> set[Reference]:
    """Of each repository the tags that came last."""
    repositories: dict[str, list[Reference]] = {}
    for name in times:
        if name.tag:
            repositories.setdefault(name.name, []).append(name)
    found: set[Reference] = set()
    for tags in repositories.values():
        found.update(sorted(tags, key=lambda name: (times[name], name.tag), reverse=True)[:number])
    return found
