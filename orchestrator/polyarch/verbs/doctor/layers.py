"""In which form new layers are kept to be run from, and why."""

from __future__ import annotations

import tempfile
from pathlib import Path

from polyarch.container.forms import form_here
from polyarch.container.rights import rights_at
from polyarch.errors import PolyarchError
from polyarch.settings import Settings
from polyarch.unpack.tree import remove_tree
from polyarch.verbs.doctor.check import Check, refused


def layers(settings: Settings, there: Path) -> Check:
    """Tried in `there`, the nearest folder to the root folder that exists; nothing is left."""
    name = "layers"
    try:
        folder = Path(tempfile.mkdtemp(prefix=".polyarch-doctor-", dir=there))
        try:
            choice = form_here(settings.layers, folder / "snapshots", rights_at(folder))
        finally:
            remove_tree(folder)
    except (PolyarchError, OSError) as error:
        if isinstance(error, PolyarchError):
            return refused(name, error, essential=True)
        return Check(name, "failed", f"{there}: {error.strerror}", essential=True)
    if choice.form == "erofs":
        return Check(name, "ok", "kept as archives with an EROFS index, and mounted: nothing is unpacked")
    if settings.layers == "unpack":
        return Check(name, "ok", "unpacked into directories, as the settings say")
    return Check(name, "ok", f"unpacked into directories: {choice.reason}")
