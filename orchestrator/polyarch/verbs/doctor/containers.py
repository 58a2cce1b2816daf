"""Containers below the root folder whose record cannot be read."""

from __future__ import annotations

from pathlib import Path

from polyarch.container.rights import rights_at
from polyarch.container.state import Containers
from polyarch.errors import PolyarchError
from polyarch.verbs.doctor.check import Check, Mend, refused


def containers(root: Path) -> Check:
    """Read every container's record."""
    name, folder = "containers", root / "containers"
    try:
        records = Containers(folder, rights_at(root)).records()
    except PolyarchError as error:
        return refused(name, error)
    damaged = [record for record in records if record.status == "damaged"]
    if not damaged:
        fact = f"{len(records)} record{'' if len(records) == 1 else 's'}, all can be read" if records else "none yet"
        return Check(name, "ok", fact)
    told = ", ".join(record.id[:12] + (" (runs)" if record.pid else "") for record in damaged)
    mend = Mend(f"polyarch rm -f {' '.join(record.id[:12] for record in damaged)}")
    fact = f"damaged: {told}; images and layers stay as long as they are there; their files are in {folder}"
    return Check(name, "failed", fact, mend)
