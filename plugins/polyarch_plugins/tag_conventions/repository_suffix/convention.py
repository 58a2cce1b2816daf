"""Thinks of repositories that have the architecture in their names: behind, below or before the last part of them."""

from __future__ import annotations

from collections.abc import Iterator

from polyarch.contract import Platform, Reference, TagProposal
from polyarch_plugins.tag_conventions.pattern import repository_proposals
from polyarch_plugins.tag_conventions.words import asked, table


class RepositorySuffix:
    """A TagConvention: names of the same owner."""

    def propose(self, reference: Reference, platform: Platform) -> Iterator[TagProposal]:
        """`REPOSITORY-WORD`, `OWNER/WORD-NAME`, … with the same tag. Docker Hub's official images have namespaces."""
        hub = reference.registry == "docker.io"
        official = hub and reference.repository.startswith("library/")
        if str(asked(platform)) not in table()["platforms"] or not reference.tag or reference.scheme or official:
            return
        seen = set()
        for form in table()["repositories"]["forms"]:
            for proposal in repository_proposals(form, reference, platform):
                name = proposal.reference
                # Docker Hub's names have two parts.
                if name not in seen and not (hub and name.repository.count("/") > 1):
                    seen.add(name)
                    yield proposal
