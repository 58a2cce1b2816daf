"""The plugins in force, built-in and foreign alike: what they register, and who wins where several claim one thing.

A plugin that cannot be loaded, that registers something else than it should, or that claims a name already taken, is
remembered as a problem and passed over; everything else works on. The order of installation decides nothing: a built-in
stays where a stranger claims the same, two strangers cancel each other out, and the setting `prefer` overrides both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from polyarch.contract.hooks import BuilderPlugin, FleetEnginePlugin, RegistryPlugin, StoragePlugin, VerifierPlugin
from polyarch.errors import PolyarchError, UsageError, foreign, printable
from polyarch.plugin_host.cache import Known, PluginCache, loaded
from polyarch.plugin_host.discovery import NeedsAnotherContract, foreign_major, in_order, installed
from polyarch.plugin_host.kinds import KINDS as KINDS
from polyarch.plugin_host.kinds import WORDS, P, Point, Problem, Registration
from polyarch.reference import Reference
from polyarch.settings import Settings

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_SEE = "see: polyarch plugin ls"


class PluginHost:
    """The plugins in force. A plugin's own work is done only when its factory is called.

    `problems` are the plugins, and parts of plugins, that are passed over; `disabled` the names of those that the
    settings switch off, `points` all that are installed.
    """

    def __init__(
        self, settings: Settings, points: Iterable[EntryPoint | Point] | None = None, *, cached: bool = True
    ) -> None:
        """`points` are the entry points to load, by default those of the installed distributions, which are remembered
        from one process to the next. Without `cached` every plugin is imported, and remembered anew.
        """
        self._prefer = settings.prefer
        self._order = {name: place for place, name in enumerate(settings.plugin_order)}
        self.problems: list[Problem] = []
        self.disabled: list[str] = []
        self._registrations: list[Registration] = []
        self._contested: dict[tuple[str, str], list[Registration]] = {}
        cache = PluginCache(settings.root) if points is None else None
        known = cache.read() if cache and cached else None
        plugins = known
        if plugins is None:
            plugins = [Known(point) for point in (installed() if points is None else in_order(map(_point, points)))]
        self.points = tuple(each.point for each in plugins)
        remembered = []
        for each in plugins:
            if is_off(settings, each.point):
                self.disabled.append(each.point.name)
            else:
                each = self._added(each)
            remembered.append(each)
        if cache and remembered != known:
            cache.write(remembered)
        self._settle_names()
        self._tell_claims()

    @property
    def registrations(self) -> tuple[Registration, ...]:
        """All that is in force."""
        return tuple(self._registrations)

    def _added(self, known: Known) -> Known:
        """Takes in what a plugin registers; what is to be remembered of it."""
        point, items = known.point, known.items
        if items is None:
            try:
                if reason := foreign_major(point):
                    raise NeedsAnotherContract(reason)
                items, known = loaded(point)
            except PolyarchError:
                raise  # Ctrl-C
            except NeedsAnotherContract as error:
                self.problems.append(Problem(point, printable(str(error))))
                return known
            except (Exception, SystemExit) as error:
                # Whatever a stranger's module raises stays with it; it is tried again the next time.
                self.problems.append(Problem(point, printable("; ".join(foreign(error).splitlines()))))
                return known
        self._registrations += [Registration(kind, item, point) for kind, item in items]
        return known

    def _settle_names(self) -> None:
        """Of several things of one kind and name one stays, or none."""
        claims: dict[tuple[str, str], list[Registration]] = {}
        for each in self._registrations:
            claims.setdefault((each.kind, each.plugin.name), []).append(each)
        for key, claimants in claims.items():
            if len(claimants) == 1:
                continue
            name, winner = key[1], self._winner(key[1], claimants)
            if winner is None:
                self._contested[key] = claimants
            for each in claimants:
                if each is not winner:
                    self._registrations.remove(each)
                    self._pass_over(each, each.name, name, claimants, winner)

    def _tell_claims(self) -> None:
        """Hosts and schemes that a plugin claims in vain."""
        claims: dict[str, list[Registration]] = {}
        for each in self._registrations:
            if isinstance(each.plugin, RegistryPlugin):
                for claim in _claimed(each.plugin):
                    claims.setdefault(claim, []).append(each)
        for claim, claimants in claims.items():
            if len(claimants) == 1:
                continue
            name = claim.rstrip(":")
            winner = self._winner(name, claimants)
            for each in claimants:
                if each is not winner:
                    self._pass_over(each, f"claim on {claim}", name, claimants, winner)

    def _pass_over(
        self,
        each: Registration,
        part: str,
        name: str,
        claimants: Sequence[Registration],
        winner: Registration | None,
    ) -> None:
        """Tell of it, unless the user decided so."""
        if winner is not None and _means(self._prefer.get(name, ""), winner):
            return
        others = [other for other in claimants if other is not each]
        if winner is not None:
            reason = (
                f"polyarch's own {winner.entry_point} stays; to take this one, set {_preference(name, each, others)}"
            )
        else:
            who = " and ".join(str(other.point) for other in others)
            reason = f"{who} claims it, too; to take this one, set {_preference(name, each, others)}"
        self.problems.append(Problem(each.point, reason, part))

    def _winner(self, what: str, claimants: Sequence[Registration]) -> Registration | None:
        """The one that the user prefers, else polyarch's own; None where neither decides."""
        for decide in (lambda each: _means(self._prefer.get(what, ""), each), lambda each: each.point.built_in):
            found = [each for each in claimants if decide(each)]
            if len(found) == 1:
                return found[0]
        return claimants[0] if len(claimants) == 1 else None

    def all(self, kind: type[P]) -> list[P]:
        """Every plugin of a kind in force: those that the setting `plugin_order` names first, then by name.

        Raises UsageError if two distributions claim the name of a verifier and no setting decides: a rule that images
        have to keep must not just fall away.
        """
        if kind is VerifierPlugin:
            for (word, name), claimants in self._contested.items():
                if word == "verifiers":
                    raise _clash(f"the verifier {name}", name, claimants)
        found = [(each, each.plugin) for each in self._registrations if isinstance(each.plugin, kind)]
        found.sort(key=lambda pair: (self._place(pair[0]), pair[1].name))
        return [plugin for _, plugin in found]

    def _place(self, each: Registration) -> int:
        names = (each.plugin.name, each.entry_point)
        return min((self._order[name] for name in names if name in self._order), default=len(self._order))

    def origin(self, plugin: P) -> Point:
        """The plugin that registered it."""
        return next(each.point for each in self._registrations if each.plugin is plugin)

    def culprit(self, error: BaseException) -> Point | None:
        """The foreign plugin whose code raised `error`; None if it was polyarch's own."""
        foreign_points = {
            each.point.value.partition(":")[0].partition(".")[0].strip(): each.point
            for each in self._registrations
            if not each.point.built_in
        }
        found = None
        traceback = error.__traceback__
        while traceback is not None:  # the innermost frame of a plugin
            package = str(traceback.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
            found = foreign_points.get(package, found)
            traceback = traceback.tb_next
        return found

    def schemes(self) -> frozenset[str]:
        """The schemes that registries have claimed for their references."""
        return frozenset(scheme for plugin in self.all(RegistryPlugin) for scheme in plugin.schemes)

    def registry_for(self, reference: Reference) -> RegistryPlugin:
        """The registry plugin of a reference: by scheme; else the one that `prefer` names for its host, else the one
        with the most specific pattern for it. Raises UsageError where there is none, or no telling which.
        """
        host, what = reference.registry.lower(), reference.scheme or reference.registry
        claims = list(self._claims(reference.scheme, host))
        if not reference.scheme and (wanted := self._prefer.get(what) or self._prefer.get(host)):
            return self._preferred_registry(what, wanted, [each for *_, each in claims])
        if not claims:
            raise UsageError(f"no plugin knows the registry {what}", _SEE)
        best = max(weight for weight, *_ in claims)
        closest = [(pattern, each) for weight, pattern, each in claims if weight == best]
        winner = self._winner(closest[0][0], [each for _, each in closest])
        if winner is None:
            raise _clash(what, what, [each for _, each in closest])
        return _registry(winner)

    def _claims(self, scheme: str, host: str) -> Iterator[tuple[tuple[bool, int], str, Registration]]:
        """The registries that claim a scheme, or a host: how closely, and by which pattern."""
        for each in self._registrations:
            if not isinstance(each.plugin, RegistryPlugin):
                continue
            if scheme:
                if scheme in each.plugin.schemes:
                    yield (True, 0), scheme, each
                continue
            fitting = [pattern.lower() for pattern in each.plugin.hosts if _fits(host, pattern.lower())]
            if fitting:
                pattern = max(fitting, key=_weight)
                yield _weight(pattern), pattern, each

    def _preferred_registry(self, host: str, wanted: str, claimants: Sequence[Registration]) -> RegistryPlugin:
        """The registry that the user wants for a host, whether its patterns match or not."""
        registries = [each for each in self._registrations if isinstance(each.plugin, RegistryPlugin)]
        meant = [each for each in registries if _means(wanted, each)]
        meant = [each for each in meant if each in claimants] or meant
        if len(meant) == 1:
            return _registry(meant[0])
        if not meant:
            known = ", ".join(sorted(each.plugin.name for each in registries)) or "none"
            raise UsageError(
                f"prefer gives {host} to {wanted!r}, but no registry is called so (there are: {known})", _SEE
            )
        raise _clash(f"{wanted!r}, which prefer gives {host} to,", host, meant)

    def storage(self, name: str) -> StoragePlugin:
        """The storage plugin called `name`. Raises UsageError, listing those that there are."""
        return self._by_name(name, StoragePlugin)

    def fleet_engine(self, name: str) -> FleetEnginePlugin:
        """The fleet engine plugin called `name`. Raises UsageError, listing those that there are."""
        return self._by_name(name, FleetEnginePlugin)

    def builder(self, name: str) -> BuilderPlugin:
        """The builder plugin called `name`. Raises UsageError, listing those that there are."""
        return self._by_name(name, BuilderPlugin)

    def _by_name(self, name: str, kind: type[P]) -> P:
        plugins = {plugin.name: plugin for plugin in self.all(kind)}
        if name in plugins:
            return plugins[name]
        word = next(word for word, each in KINDS.items() if each is kind)
        if (word, name) in self._contested:
            raise _clash(f"the {WORDS[word]} {name}", name, self._contested[word, name])
        known = ", ".join(sorted(plugins)) or "none"
        raise UsageError(f"there is no {WORDS[word]} called '{printable(name, 100)}' (there are: {known})", _SEE)


def is_off(settings: Settings, point: Point) -> bool:
    """Whether the settings switch a plugin off, by its own name or, if it is no built-in, by its distribution's."""
    off = {_normal(name) for name in settings.disabled_plugins}
    return _normal(point.name) in off or (not point.built_in and _normal(point.project) in off)


def _registry(each: Registration) -> RegistryPlugin:
    assert isinstance(each.plugin, RegistryPlugin)
    return each.plugin


_WILD = re.compile(r"[*?\[]")


def _fits(host: str, pattern: str) -> bool:
    """Whether the pattern matches; where its beginning does not, no regular expression is made of it."""
    wild = _WILD.search(pattern)
    if wild is None:
        return host == pattern
    return host.startswith(pattern[: wild.start()]) and fnmatchcase(host, pattern)


def _weight(pattern: str) -> tuple[bool, int]:
    """How closely a pattern names hosts: one that names a single host most of all, then the longest."""
    return _WILD.search(pattern) is None, len(pattern)


def _claimed(plugin: RegistryPlugin) -> set[str]:
    """Patterns of hosts, and schemes with a colon."""
    return {host.lower() for host in plugin.hosts} | {f"{scheme}:" for scheme in plugin.schemes}


def _clash(what: str, key: str, claimants: Sequence[Registration]) -> UsageError:
    who = " and ".join(str(each.point) for each in claimants)
    others = [each for each in claimants if each is not claimants[0]]
    return UsageError(
        f"{what} is claimed by {who}",
        f"say in the settings which one to take: {_preference(key, claimants[0], others)}",
    )


def _preference(key: str, each: Registration, others: Sequence[Registration]) -> str:
    """What to write into the settings so that `each` wins over the others."""
    words = (each.entry_point, each.plugin.name, each.point.project)
    word = next((word for word in words if word and not any(_means(word, other) for other in others)), words[0])
    return f'prefer = {{"{key}" = "{word}"}}'


def _means(word: str, each: Registration) -> bool:
    """Whether the user's word is this plugin's: its entry point's, its own, or its distribution's name."""
    return bool(word) and (word in (each.entry_point, each.plugin.name) or _normal(word) == _normal(each.point.project))


def _normal(name: str) -> str:
    """A distribution's name as the packaging specifications compare it (Names and normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _point(entry: EntryPoint | Point) -> Point:
    if isinstance(entry, Point):
        return entry
    distribution = entry.dist
    project, version = (distribution.name, distribution.version) if distribution else ("", "")
    return Point(entry.name, entry.value, entry.group, project, version)
