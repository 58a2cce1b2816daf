"""A tar archive on the disk, compressed as a whole or not, whose members are read where they lie."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from polyarch.errors import IntegrityError, NotFoundError, StorageError
from polyarch.files import disk_error, open_regular
from polyarch.oci.compression import decompressed_archive, is_compressed
from polyarch.oci.tar_index import Member, index_tar

CHUNK = 1 << 18
_MAGIC = 8


class ArchiveFile:
    """The members of a tar archive, by name. May be read from several threads at once."""

    def __init__(self, path: Path, temporary: Callable[[], Path]) -> None:
        """Look through the archive `path`; where it is compressed, decompress it into a file below `temporary()`.

        Raises NotFoundError: there is no such file; IntegrityError: no tar archive; StorageError: the disk refuses.
        """
        self.where = str(path)
        try:
            self._file = open_regular(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"there is no file {path}") from error
        except OSError as error:
            raise disk_error(error, f"cannot read {path}") from error
        except StorageError as error:
            raise IntegrityError(f"{path} is no archive: it is not a plain file") from error
        try:
            if is_compressed(os.pread(self._file.fileno(), _MAGIC, 0)):
                self._file = self._decompressed(self._file, temporary)
            self._size = os.fstat(self._file.fileno()).st_size
            self.members: Mapping[str, Member] = index_tar(self._file.fileno(), self._size, self.where)
        except OSError as error:
            self._file.close()
            raise disk_error(error, f"cannot read {path}") from error
        except BaseException:
            self._file.close()
            raise

    def _decompressed(self, source: BinaryIO, temporary: Callable[[], Path]) -> BinaryIO:
        folder = temporary()
        with source:
            try:
                target = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it is closed with the archive
            except OSError as error:
                raise disk_error(error, f"cannot decompress {self.where} into {folder}") from error
            try:
                for chunk in decompressed_archive(source, self.where):
                    target.write(chunk)
                target.flush()
            except OSError as error:
                target.close()
                raise disk_error(error, f"cannot decompress {self.where} into {folder}") from error
            except BaseException:
                target.close()
                raise
        return target

    def read(self, name: str, limit: int) -> bytes:
        """A whole member of at most `limit` bytes. Raises NotFoundError and IntegrityError."""
        member = self.member(name)
        if member.size > limit:
            raise IntegrityError(f"{self.where}: {name} has {member.size} bytes, more than the {limit} it may have")
        return b"".join(self.chunks(member))

    def member(self, name: str) -> Member:
        """Where a member lies. Raises NotFoundError."""
        try:
            return self.members[name]
        except KeyError:
            raise NotFoundError(f"{self.where}: there is no {name} in it") from None

    def chunks(self, member: Member, offset: int = 0) -> Iterator[bytes]:
        """The bytes of a member from `offset` on. Raises StorageError where the disk refuses."""
        at, end = member.offset + offset, member.offset + member.size
        while at < end:
            try:
                data = os.pread(self._file.fileno(), min(CHUNK, end - at), at)
                if not data:
                    raise OSError(errno.EIO, "it became shorter while it was read")
            except OSError as error:
                raise disk_error(error, f"cannot read {self.where}") from error
            at += len(data)
            yield data

    def close(self) -> None:
        """Close the file."""
        self._file.close()
