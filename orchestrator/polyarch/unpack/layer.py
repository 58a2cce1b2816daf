"""Writing the entries of one layer into a tree: contents, links, devices, owners, modes, times, extended attributes.

Whoever writes is alone in the tree: it is new, and its name is not known to anybody yet.
"""

from __future__ import annotations

import errno
import os
import stat

from polyarch.errors import HostError, PolyarchError
from polyarch.unpack.attributes import DEFAULT_ACL, clear_attributes, set_attributes
from polyarch.unpack.beneath import Directory
from polyarch.unpack.rules import Role, lay_whiteout, role_of, translated
from polyarch.unpack.stream import LayerStream
from polyarch.unpack.tar import Entry, Kind, TarReader
from polyarch.unpack.tree import Tree

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = {Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO}


class LayerWriter:
    """Writes a layer into `tree`.

    `owners`: give files to the owners that the layer names (root, also of a user namespace). Without it they belong to
    whoever runs this, and setuid and setgid bits are left out: they would lend that user's rights to others.
    """

    def __init__(self, tree: Tree, owners: bool) -> None:
        self._tree = tree
        self._owners = owners

    def write(self, stream: LayerStream) -> None:
        """All entries of the layer, then the rest of the stream, for its diff ID.

        Raises IntegrityError: the layer is hostile, damaged, or another one; StorageError: the file system does not
        take it (disk full); HostError: an owner that the user namespace does not know, or no permission.
        """
        reader = TarReader(stream)
        self._tree.count = stream.limits.take
        try:
            for entry in reader:
                try:
                    self._write(entry, reader)
                except OSError as error:
                    raise self._translated(error, f"{stream.where}: {entry.kind.value} {entry.shown!r}") from error
            stream.finish()
        finally:
            stream.close()

    def _translated(self, error: OSError, what: str) -> PolyarchError:
        return translated(error, what)

    def _write(self, entry: Entry, reader: TarReader) -> None:
        tree = self._tree
        role = role_of(entry.parts, entry.kind)
        if role is Role.IGNORED:
            return
        if role is Role.ROOT:
            self._finish_directory(tree.top, entry, new=False)
            return
        *parents, name = entry.parts
        if role is not Role.ENTRY:
            lay_whiteout(tree, lambda: tree.into(tuple(parents), make=False), name, role)
            return
        here = tree.into(tuple(parents))
        if entry.kind is Kind.DIRECTORY:
            directory, new = tree.make_directory(here, name)
            self._finish_directory(directory, entry, new)
        elif entry.kind is Kind.HARD_LINK:
            self._hard_link(here, name, reader.components(entry.link))
        else:
            self._new(here, name, entry, reader)
        tree.add(here, name)

    def _new(self, here: Directory, name: bytes, entry: Entry, reader: TarReader) -> None:
        """A file, symlink, device or FIFO; what has the name goes."""
        make = self._file if entry.kind is Kind.FILE else self._symlink if entry.kind is Kind.SYMLINK else self._special
        try:
            make(here, name, entry, reader)
        except FileExistsError:
            self._tree.clear(here, name)
            make(here, name, entry, reader)

    def _file(self, here: Directory, name: bytes, entry: Entry, reader: TarReader) -> None:
        fd = os.open(name, _CREATE, 0o600, dir_fd=here.fd)
        try:
            if entry.segments is None:
                for part in reader.parts():
                    while part:
                        part = part[os.write(fd, part) :]
            else:
                _write_pieces(fd, entry.size, reader)
            self._own(fd, entry)
            os.fchmod(fd, self._mode(entry))
            if entry.xattrs:
                set_attributes(fd, entry.xattrs)
            os.utime(fd, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(fd)

    def _symlink(self, here: Directory, name: bytes, entry: Entry, reader: TarReader) -> None:
        os.symlink(entry.link, name, dir_fd=here.fd)
        if self._owners:
            self._lchown(name, here, entry)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=here.fd, follow_symlinks=False)

    def _special(self, here: Directory, name: bytes, entry: Entry, reader: TarReader) -> None:
        if entry.kind is Kind.CHARACTER and entry.device == (0, 0):
            raise OSError(errno.EINVAL, "overlayfs' own whiteout")
        try:
            os.mknod(name, 0o600 | _SPECIAL[entry.kind], os.makedev(*entry.device), dir_fd=here.fd)
        except PermissionError:
            if entry.kind is Kind.FIFO:
                raise
            return  # devices take a privilege; containers get their /dev from the runtime
        if self._owners:
            self._lchown(name, here, entry)
        os.chmod(name, self._mode(entry), dir_fd=here.fd)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=here.fd)

    def _hard_link(self, here: Directory, name: bytes, target: tuple[bytes, ...]) -> None:
        if not target:
            raise OSError(errno.EISDIR, "a hard link to the root")
        source, status = self._tree.link_target(target)
        if stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EISDIR, "a hard link to a directory")
        existing = here.status(name)
        if existing is not None:
            if (existing.st_dev, existing.st_ino) == (status.st_dev, status.st_ino):
                return
            self._tree.clear(here, name)
        os.link(target[-1], name, src_dir_fd=source.fd, dst_dir_fd=here.fd, follow_symlinks=False)

    def _finish_directory(self, directory: Directory, entry: Entry, new: bool) -> None:
        self._own(directory.fd, entry)
        if not new:
            clear_attributes(directory.fd)
        attributes = dict(entry.xattrs)
        default_acl = attributes.pop(DEFAULT_ACL, b"")
        set_attributes(directory.fd, attributes)
        self._tree.set_final(directory, self._mode(entry), entry.mtime, default_acl)

    def _mode(self, entry: Entry) -> int:
        return entry.mode if self._owners or entry.kind is Kind.DIRECTORY else entry.mode & 0o1777

    def _own(self, fd: int, entry: Entry) -> None:
        if self._owners:
            try:
                os.fchown(fd, entry.uid, entry.gid)
            except OSError as error:
                raise self._unmapped(error, entry) from error

    def _lchown(self, name: bytes, here: Directory, entry: Entry) -> None:
        try:
            os.chown(name, entry.uid, entry.gid, dir_fd=here.fd, follow_symlinks=False)
        except OSError as error:
            raise self._unmapped(error, entry) from error

    def _unmapped(self, error: OSError, entry: Entry) -> Exception:
        if error.errno != errno.EINVAL:
            return error
        return HostError(
            f"{entry.shown!r} belongs to {entry.uid}:{entry.gid}, which the user namespace does not know",
            "give this user more subordinate ids in /etc/subuid and /etc/subgid",
        )


def _write_pieces(fd: int, size: int, reader: TarReader) -> None:
    """A file with holes: they take no disk."""
    os.ftruncate(fd, size)
    for start, part in reader.pieces():
        while part:
            written = os.pwrite(fd, part, start)
            start, part = start + written, part[written:]
