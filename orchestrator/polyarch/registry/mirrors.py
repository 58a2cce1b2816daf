"""Which places are asked for a reference, and in which order, by the files of podman and of containerd. Pure.

The order: podman's rewriting, its mirrors, containerd's hosts, then the registry itself or what takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from polyarch.contract.registry import Endpoint
from polyarch.errors import UnauthorizedError, UsageError
from polyarch.reference import Reference
from polyarch.registry.hosts_toml import Host, Hosts
from polyarch.registry.place import Place
from polyarch.registry.registries_conf import Pulls, RegistriesConf, Rule, rewritten
from polyarch.registry.trust import USUAL, Trust
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Source:
    """One place that may be asked. `name` is what people call it, `reference` what it has the image under, `known_as`
    what podman's files call that: to them, containerd's hosts are the registry.

    `pulls` says for which references it is asked at all; `resolves`: it may say what a tag points at.
    """

    name: str
    place: Place
    reference: Reference
    known_as: Reference
    mirror: bool = False
    pulls: Pulls = "all"
    resolves: bool = True

    def serves(self, *, by_digest: bool, tag: bool) -> bool:
        """True if it is asked: for an image that was wanted `by_digest`, and now for a `tag`, or for content."""
        if self.pulls != "all" and (self.pulls == "digest-only") != by_digest:
            return False
        return self.resolves or not tag


def plan(
    reference: Reference,
    conf: RegistriesConf,
    hosts_of: Callable[[str], Hosts | None],
    locate: Callable[[Reference], Endpoint],
) -> tuple[Source, ...]:
    """The places of a reference, in their order; the last one is the registry, all others are mirrors.

    `locate` says where a registry keeps a reference. Raises UnauthorizedError where podman's files block it,
    UsageError where they make no reference of it.
    """
    rule = unblocked(reference, reference, conf)
    mirrors: list[Source] = []
    for mirror in rule.mirrors if rule else ():
        there = rewritten(reference, rule, mirror.location) if rule else reference
        other = conf.rule_for(there)
        if other is None or not other.blocked:
            place = _place(locate(there), Trust(mirror.insecure), retries=0)
            mirrors.append(Source(there.registry, place, there, there, True, mirror.pulls))
    itself = rewritten(reference, rule, rule.location) if rule else reference
    if itself != reference:
        unblocked(itself, reference, conf)
    hosts = hosts_of(itself.registry)
    mirrors += (_host_source(host, itself, mirror=True) for host in hosts.hosts if host.pulls) if hosts else ()
    server = hosts.server if hosts else None
    if server is not None and server.name != itself.registry:
        if not server.pulls:
            raise UsageError(f"{hosts.path if hosts else ''}: its server may not be asked for content (capabilities)")
        return (*mirrors, _host_source(server, itself, mirror=False))
    trust = hosts.trust if hosts else USUAL
    if rule is not None and rule.insecure:
        trust = replace(trust, insecure=True)
    return (*mirrors, Source(itself.registry, _place(locate(itself), trust), itself, itself))


def unblocked(reference: Reference, asked: Reference, conf: RegistriesConf) -> Rule | None:
    """The rule for a reference, if any. Raises UnauthorizedError, about what was `asked`, where it blocks."""
    rule = conf.rule_for(reference)
    if rule is not None and rule.blocked:
        about = asked if asked.tag or asked.digest else asked.registry  # a list or a login is of no image
        raise UnauthorizedError(
            f"{about}: {rule.file} blocks {rule.prefix}",
            "that is a rule of this machine: take another registry, or ask who keeps the file",
            reference=str(about),
            registry=reference.registry,
            file=str(rule.file),
            prefix=rule.prefix,
        )
    return rule


def _place(endpoint: Endpoint, trust: Trust, retries: int | None = None) -> Place:
    return Place(endpoint.host, endpoint.repository, endpoint.credentials_key, trust=trust, retries=retries)


def _host_source(host: Host, reference: Reference, *, mirror: bool) -> Source:
    place = Place(
        host.name,
        reference.repository,
        host.name,
        (host.scheme,),
        host.api,
        reference.registry if host.name != reference.registry else "",
        host.trust,
        0 if mirror else None,
    )
    there = replace(reference, registry=host.name)
    return Source(host.name, place, there, reference, mirror, resolves=host.resolves)
