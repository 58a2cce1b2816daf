"""What the factories of registries are handed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from polyarch.auth.credentials import Credentials
from polyarch.auth.files import AUTH_FILES, find_credentials, read_auth_files
from polyarch.contract.registry import Endpoint, RegistryServices
from polyarch.events import Emit
from polyarch.files import temporary_folder
from polyarch.reference import Reference
from polyarch.registry.authenticator import Account
from polyarch.registry.certificates import DIRECTORIES
from polyarch.registry.http_client import HttpClient, no_words
from polyarch.registry.local import LocalHttp
from polyarch.registry.machine_files import MachineFiles
from polyarch.registry.mirrored import MirroredRegistry
from polyarch.registry.mirrors import Source, plan
from polyarch.registry.registries_conf import NOTHING
from polyarch.settings import Settings


def where_its_name_says(reference: Reference) -> Endpoint:
    """The host and repository of the reference itself."""
    return Endpoint(reference.registry, reference.repository, reference.registry)


@contextmanager
def registry_services(
    settings: Settings,
    emit: Emit,
    certificate_directories: Sequence[Path] = DIRECTORIES,
    login_words: Callable[[str], str] = no_words,
    said: MachineFiles | None = None,
    locate_elsewhere: Callable[[Reference], Endpoint] = where_its_name_says,
) -> Iterator[RegistryServices]:
    """One client for all registries, and what makes a distribution-spec registry of it; closed in the end.

    `login_words` says how one gets credentials of a registry (as users call it), "" if nobody knows.
    `said` is what the files of podman and containerd say of registries, `locate_elsewhere` where a registry that they
    name keeps a reference.

    Raises UsageError: an auth file is broken.
    """
    known = said or MachineFiles(settings)
    files = read_auth_files(settings)

    def find(account: Account) -> Credentials | None:
        return find_credentials(
            files, account.key, account.repository, (known.conf() or NOTHING).helpers or (AUTH_FILES,)
        )

    client = HttpClient(settings, emit, find, certificate_directories, login_words)

    opened = ExitStack()

    def http_at(socket: Path) -> LocalHttp:
        client = LocalHttp(socket)
        opened.callback(client.close)
        return client

    @cache
    def temporary() -> Path:
        return opened.enter_context(temporary_folder(settings.root / "temporary"))

    def distribution(locate: Callable[[Reference], Endpoint]) -> MirroredRegistry:
        def sources(reference: Reference) -> tuple[Source, ...]:
            def place(there: Reference) -> Endpoint:
                return locate(there) if there.registry == reference.registry else locate_elsewhere(there)

            return plan(reference, known.conf() or NOTHING, known.hosts_of, place)

        return MirroredRegistry(client, locate, sources, emit)

    opened.callback(client.close)
    with opened:
        yield RegistryServices(client, distribution, http_at, temporary, settings.environ)
