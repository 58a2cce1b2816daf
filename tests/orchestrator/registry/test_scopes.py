"""What a token is asked for, of what a registry asks and what its bearer is about to do."""

from __future__ import annotations

import pytest

from polyarch.registry.authenticator import Account, _scope

READER = Account("registry.example", "registry.example", "app")
WRITER = Account("registry.example", "registry.example", "app", writes=True)
MOUNTER = Account("registry.example", "registry.example", "app", writes=True, reads="base")


@pytest.mark.parametrize(
    ("asked", "account", "scope"),
    [
        ("repository:app:pull", READER, "repository:app:pull"),
        ("", READER, "repository:app:pull"),
        ("", Account("registry.example", "registry.example"), ""),
        ("registry:catalog:*", READER, "registry:catalog:*"),
        ("repository:app:pull", WRITER, "repository:app:pull,push"),
        ("repository:app:push,pull", WRITER, "repository:app:pull,push"),
        ("", WRITER, "repository:app:pull,push"),
        ("repository:app:delete", WRITER, "repository:app:delete repository:app:pull,push"),
        ("repository:other:pull", WRITER, "repository:other:pull repository:app:pull,push"),
        (
            "repository:app:pull,push repository:base:pull",
            MOUNTER,
            "repository:base:pull repository:app:pull,push",
        ),
        ("repository:app:pull", MOUNTER, "repository:app:pull,push repository:base:pull"),
    ],
)
def test_scopes(asked: str, account: Account, scope: str) -> None:
    assert _scope(asked, account) == scope
