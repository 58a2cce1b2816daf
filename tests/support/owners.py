"""Whose containers a test makes: root's or an ordinary user's, one of them only in `make soak`."""

from __future__ import annotations

import os

import pytest

from support.users import OrdinaryUser


def owners(now: str, *, soak: str = "") -> pytest.MarkDecorator:
    """The values of a fixture `owner`: in `make test`, and in `make soak` alone."""
    later = [pytest.param(f"{soak}, soak", marks=pytest.mark.soak)] if soak else []
    return pytest.mark.parametrize("owner", [now, *later], indirect=True)


def owner_of(request: pytest.FixtureRequest, *, soak: bool) -> OrdinaryUser | None:
    """The user that such a value stands for, None for root; skips where it is not to be tried."""
    who, _, later = request.param.partition(", ")
    if later and not soak:
        pytest.skip(f"as {who} only in make soak")
    if who == "root":
        if os.geteuid() != 0:
            pytest.skip("these tests do not run as root")
        return None
    user: OrdinaryUser = request.getfixturevalue("unprivileged_user")
    return user
