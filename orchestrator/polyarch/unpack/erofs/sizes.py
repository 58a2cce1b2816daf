"""Whether the two files of a finished layer have the sizes that its metadata tell: looked at before each use."""

from __future__ import annotations

import os
from pathlib import Path

from polyarch.unpack.erofs import format as form

_BLOCKS = 9
"""Of the superblock's fields, the blocks of the metadata file."""


def has_its_sizes(directory: Path) -> bool:
    """False where one of the files is missing, cut or no such file. Raises OSError where the disk does not tell."""
    try:
        with (directory / form.METADATA_NAME).open("rb", buffering=0) as file:
            head = file.read(form.FIRST_INODE)
            metadata = os.fstat(file.fileno()).st_size
        archive = (directory / form.ARCHIVE_NAME).stat().st_size
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False
    if len(head) < form.FIRST_INODE:
        return False
    fields = form.SUPER.unpack_from(head, form.SUPER_OFFSET)
    _, blocks, _ = form.DEVICE.unpack_from(head, form.DEVICE_OFFSET)
    whole: bool = metadata >= fields[_BLOCKS] * form.BLOCK  # it is filled up to a page
    return fields[0] == form.MAGIC and whole and -(-archive // form.BLOCK) == blocks
