"""The errors that a registry answers with: distribution-spec 1.1, "Error Codes"."""

from __future__ import annotations


class RegistryError(Exception):
    """A request that cannot be answered: HTTP status, the spec's code, one sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def name_unknown(name: str) -> RegistryError:
    """No such repository."""
    return RegistryError(404, "NAME_UNKNOWN", f"repository {name} is not here")


def manifest_unknown(name: str, target: str) -> RegistryError:
    """No such tag or manifest."""
    return RegistryError(404, "MANIFEST_UNKNOWN", f"{target} of repository {name} is not here")


def blob_unknown(name: str, digest: str) -> RegistryError:
    """No such blob."""
    return RegistryError(404, "BLOB_UNKNOWN", f"{digest} of repository {name} is not here")
