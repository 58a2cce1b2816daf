"""What verifiers say of an image: asked before it is named, and again of what is stored."""

from __future__ import annotations

from collections.abc import Sequence

from polyarch.contract.others import ChosenVariant, ExplainsRules, Verifier, VerifiesVariants
from polyarch.oci.document import Document
from polyarch.reference import Reference


def check_name(verifiers: Sequence[Verifier], reference: Reference, root: Document) -> None:
    """Raises what the first verifier raises that refuses what a name points at."""
    for verifier in verifiers:
        verifier.verify(reference, root)


def check_variant(verifiers: Sequence[Verifier], variant: ChosenVariant) -> None:
    """Raises what the first verifier raises that refuses the variant of a name; `check_name` comes before it."""
    for verifier in verifiers:
        if isinstance(verifier, VerifiesVariants):
            verifier.verify_variant(variant)


def rules_of(verifiers: Sequence[Verifier], reference: Reference | None) -> str:
    """What verifiers ask of a name (None: of all), in words; "" if none of them says anything.

    Raises UsageError where rules cannot be read.
    """
    said = (each.rules_for(reference) for each in verifiers if isinstance(each, ExplainsRules))
    return "; ".join(words for words in said if words)
