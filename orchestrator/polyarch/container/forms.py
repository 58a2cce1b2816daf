"""In which form an image's layers are: as EROFS images where the kernel mounts them, else unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from polyarch.container.layers import folder_of
from polyarch.container.record import Form
from polyarch.container.rights import Rights
from polyarch.errors import HostError
from polyarch.files import disk_error, temporary_folder
from polyarch.oci.config import chain_ids
from polyarch.oci.digest import Digest, hex_of
from polyarch_platforms.lazy_dataclass import dataclass

Asked: TypeAlias = Literal["auto", "erofs", "unpack"]
"""The setting `layers`."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A form, and why it is not EROFS ("" where it is, or was not asked for)."""

    form: Form
    reason: str = ""


def form_of_image(asked: Asked, snapshots: Path, rights: Rights, diff_ids: Sequence[Digest]) -> Form:
    """The form of an image's layers. One that is whole in a form already stays in it, unless another is asked for.

    Raises HostError: EROFS is asked for and cannot be.
    """
    there = form_there(asked, snapshots, rights, diff_ids)
    return form_here(asked, snapshots, rights).form if there is None else there


def form_there(asked: Asked, snapshots: Path, rights: Rights, diff_ids: Sequence[Digest]) -> Form | None:
    """The form in which all layers of an image are there already; None if they are in none that may be."""
    if not diff_ids:
        return "unpacked"
    if asked == "auto":
        names = [hex_of(chain_id) for chain_id in chain_ids(tuple(diff_ids))]
        forms: tuple[Form, ...] = ("erofs", "unpacked") if rights.flavour == "trusted" else ("unpacked",)
        for form in forms:
            folder = folder_of(snapshots, form, rights.flavour)
            if all((folder / name).is_dir() for name in names):
                return form
    return None


def form_here(asked: Asked, snapshots: Path, rights: Rights) -> Choice:
    """The form that new layers get below `snapshots`. Raises HostError: EROFS is asked for and cannot be."""
    if asked == "unpack":
        return Choice("unpacked")
    reason = _why_not_erofs(snapshots, rights)
    if not reason:
        return Choice("erofs")
    if asked == "erofs":
        raise HostError(
            f"layers are to be EROFS images by the settings, which cannot be mounted: {reason}",
            'set layers = "auto" or "unpack" in the settings file',
        )
    return Choice("unpacked", reason)


def _why_not_erofs(snapshots: Path, rights: Rights) -> str:
    """Why no EROFS image can be mounted there; "" if one can, tried."""
    if rights.flavour != "trusted":
        return "only root may mount one"
    from polyarch.container.erofs import erofs_works

    with temporary_folder(snapshots.parent / "temporary") as place:  # not among layers: one that is killed leaves it
        try:
            return erofs_works(place) or ""
        except OSError as error:
            raise disk_error(error, f"cannot write in {place}") from error
