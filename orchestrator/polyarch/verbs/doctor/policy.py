"""Which images are accepted here: a broken policy stops every pull."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from polyarch.contract.others import Verifier
from polyarch.errors import PolyarchError
from polyarch.verbs.doctor.check import Check, refused
from polyarch.verbs.rules import rules_of

_NAME = "policy"


def policy(verifiers: Callable[[], Sequence[Verifier]]) -> Check:
    """What verifiers ask of images, in short."""
    try:
        return Check(_NAME, "ok", rules_of(verifiers(), None) or "no rules: all images are accepted")
    except PolyarchError as error:
        return refused(_NAME, error, essential=True)
