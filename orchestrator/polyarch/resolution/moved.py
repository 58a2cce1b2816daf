"""Tags that move while what they stood for is taken."""

from __future__ import annotations

from polyarch.contract.registry import Registry
from polyarch.errors import PolyarchError
from polyarch.events import Emit, Warned
from polyarch.oci.digest import Digest
from polyarch.reference import Reference


def tell_if_moved(registry: Registry, reference: Reference, digest: Digest, emit: Emit) -> None:
    """A warning where a tag points at something else by now than at `digest`, which was taken."""
    if reference.digest:
        return
    try:
        now = registry.head(reference)
    except PolyarchError:  # what was asked for is done: that it cannot be asked for again is another matter
        return
    if now is not None and now.digest != digest:
        emit(Warned(f"{reference.familiar} moved meanwhile, to {now.digest}: what was taken is {digest}"))
