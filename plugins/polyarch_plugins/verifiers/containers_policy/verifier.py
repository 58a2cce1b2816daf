"""Holds images against policy.json before anything of them is stored.

A policy that accepts everything costs one small file: what understands more of it, and what looks for signatures, is
loaded where it is needed.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.contract import (
    ChosenVariant,
    Document,
    HostError,
    IntegrityError,
    Reference,
    StorageError,
    UsageError,
    VerifierServices,
    absolute_path,
    is_there,
    printable,
    read_bounded,
)
from polyarch_plugins.verifiers.containers_policy import strict

if TYPE_CHECKING:
    from polyarch_plugins.verifiers.containers_policy.policy import Policy
    from polyarch_plugins.verifiers.containers_policy.scopes import Rule

SYSTEM = Path("/etc/containers/policy.json")
_MAX_FILE = 1 << 20
_ACCEPTS = [{"type": "insecureAcceptAnything"}]


class ContainersPolicy:
    """A `Verifier`, by variants and with words: `VerifiesVariants`, `ExplainsRules`."""

    def __init__(self, services: VerifierServices) -> None:
        self._services = services

    def verify(self, reference: Reference, document: Document) -> None:
        """Raises IntegrityError for a name that the policy rejects whatever it is, UsageError for a broken policy."""
        if not self._accepts_all:
            rule = self._rule(reference)
            if any(each.kind == "reject" for each in rule.requirements):
                raise self._refusal(reference, rule, "the policy rejects all images there")

    def verify_variant(self, variant: ChosenVariant) -> None:
        """Raises IntegrityError unless all requirements hold of the name that was asked for, and of the one it was
        found under; HostError where what checks them is missing.
        """
        if not self._accepts_all:
            for name in dict.fromkeys((variant.reference, variant.found)):
                self._check(variant, name, self._rule(name))

    def rules_for(self, reference: Reference | None) -> str:
        """What the policy asks of a name, and which file says so; of None, what it asks at all."""
        if self._file is None:
            what = "the setting policy is none" if self._services.policy == "none" else "there is no policy.json"
            return f"all images are accepted: {what}"
        if reference is not None:
            return f"{self._file}: {self._rule(reference).words}"
        from polyarch_plugins.verifiers.containers_policy.scopes import Rule

        scopes = sum(len(scopes) for scopes in self._policy.scopes.values())
        rest = f"; {scopes} with rules of their own" if scopes else ""
        return f"{self._file}: {Rule(self._policy.default).words}{rest}"

    @cached_property
    def _file(self) -> Path | None:
        """The file in force: the one of the setting, else the user's, else the system's; None where there is none.

        Source: containers-policy.json(5), "FORMAT"; what podman does without a file (it fails) is not done.
        """
        said = self._services.policy
        if said == "none":
            return None
        if said != "auto":
            path = absolute_path(said)
            if not is_there(path):
                raise UsageError(f"signature policy {path}: there is no such file", "the setting policy names it")
            return path
        own = self._services.home / ".config" / "containers" / "policy.json"
        return own if is_there(own) else SYSTEM if _is_said(SYSTEM) else None

    @cached_property
    def _document(self) -> object:
        """The JSON of the file. Raises UsageError."""
        assert self._file is not None
        try:
            return strict.parse(read_bounded(self._file, _MAX_FILE))
        except OSError as error:
            raise UsageError(f"signature policy {self._file}: {error.strerror}") from error
        except (ValueError, StorageError) as error:
            raise self._broken(error) from error

    @cached_property
    def _accepts_all(self) -> bool:
        """True where nothing has to be looked at: without a file, or with the one that Debian ships."""
        return self._file is None or self._document == {"default": _ACCEPTS}

    @cached_property
    def _policy(self) -> Policy:
        from polyarch_plugins.verifiers.containers_policy.policy import policy_of

        try:
            return policy_of(self._document)
        except ValueError as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> UsageError:
        return UsageError(
            f"signature policy {self._file}: {printable(str(error))}", "what it may say: containers-policy.json(5)"
        )

    def _rule(self, reference: Reference) -> Rule:
        from polyarch_plugins.verifiers.containers_policy.scopes import rule_for

        return rule_for(self._policy, reference)

    def _check(self, variant: ChosenVariant, name: Reference, rule: Rule) -> None:
        from polyarch_plugins.verifiers.containers_policy.policy import Accept, Reject, Unsupported

        for requirement in rule.requirements:
            if isinstance(requirement, Accept):
                continue
            if isinstance(requirement, Reject):
                raise self._refusal(name, rule, "the policy rejects all images there")
            if isinstance(requirement, Unsupported):
                raise HostError(
                    f"{name.familiar}: {self._file} ({rule.place}) asks for {requirement.what}, "
                    "which polyarch cannot check",
                    "have it signed with a key that the policy names",
                )
            from polyarch_plugins.verifiers.containers_policy.signatures import Signatures, held

            try:
                held(requirement, Signatures(variant, self._services))
            except ValueError as error:
                raise self._refusal(name, rule, str(error)) from error

    def _refusal(self, name: Reference, rule: Rule, why: str) -> IntegrityError:
        return IntegrityError(
            f"{name.familiar}: refused by the signature policy: {printable(why)}",
            f"{self._file} says of it: {rule.words}",
            reference=str(name),
            policy=str(self._file),
        )


def _is_said(path: Path) -> bool:
    """False where there is nothing; a link that leads nowhere, or a closed folder, is an error to him who reads it."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
