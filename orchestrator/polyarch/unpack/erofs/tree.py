"""One layer in memory, laid over finished ones: what `overlay.OverlayTree` and `layer.LayerWriter` do to directories.

Where the layer names nothing of a directory that it brings something in, the directory takes after the one of the
lower layers; symlinks of lower layers are followed; a hard link to a file of a lower layer brings a copy of it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence

from polyarch.unpack.attributes import takes_attribute
from polyarch.unpack.beneath import MAX_LINKS, components
from polyarch.unpack.erofs import format as form
from polyarch.unpack.erofs.node import Folder, Node
from polyarch.unpack.erofs.reader import Lower, Part
from polyarch.unpack.erofs.scanned import Scanned
from polyarch.unpack.limits import LayerLimits
from polyarch.unpack.tree import DIRECTORY_COUNTS, IMPLIED_MODE, MAX_DEPTH


class MemoryTree:
    """The layer above `lowers`, nearest first; `root` is its root directory, to be written after `finish`. `scanned`
    has what numbers in it stand for.

    Every method raises OSError as the kernel would where files are made, and IntegrityError beyond the limits.
    """

    def __init__(self, lowers: Sequence[Lower], scanned: Scanned, limits: LayerLimits) -> None:
        self._scanned = scanned
        self._limits = limits
        self.root = Folder(None, b"", IMPLIED_MODE)
        self._lowers = tuple(Part(lower, lower.root) for lower in lowers)
        self.root.below = self._lowers
        self._root_is_opaque = False
        self._copies: set[tuple[Folder, bytes]] = set()  # names that this layer itself does not bring
        self._copied: dict[tuple[Lower, int], Node] = {}
        self._last: tuple[bytes, bool, Folder] | None = None  # a way through directories of this layer alone
        if self._lowers:
            _take_after(self.root, self._lowers[0])

    def into(self, path: bytes, *, make: bool) -> Folder:
        """The directory that a path (`Outline.path`) leads to. With `make` missing ones are made, and this layer brings
        something in it; without it FileNotFoundError is raised where no layer has them.
        """
        if self._last is not None and self._last[0] == path and self._last[1] == make:
            return self._last[2]
        here, straight = self._directory(path.split(b"/") if path else [], make)
        if make:
            _keep(here)
        self._last = (path, make, here) if straight else None
        return here

    def put(self, here: Folder, name: bytes, node: Node | int) -> None:
        """Something that is no directory, in place of what has the name."""
        _check_name(name)
        if isinstance(here.names.get(name), Folder):
            self._last = None
        here.names[name] = node
        self._brought(here, name)

    def put_directory(self, here: Folder, name: bytes) -> Folder:
        """The directory `name`, made if it is missing."""
        folder = self._make(here, name)
        folder.only_marks = False
        self._brought(here, name)
        return folder

    def put_link(self, here: Folder, name: bytes, target: Sequence[bytes]) -> None:
        """A further name of what is called `target`."""
        if not target:
            raise OSError(errno.EISDIR, "a hard link to the root")
        source, node = self._link_target(target)
        _check_name(name)
        existing = here.names.get(name)
        if existing is not node:
            above = source
            while above is not self.root:
                if above is existing:  # it goes with the directory that the link takes the place of
                    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
                above = above.above
            self.put(here, name, node)
        else:
            self._brought(here, name)

    def hide(self, here: Folder, name: bytes) -> None:
        """A whiteout: what lower layers have under `name` is gone, what this layer has stays."""
        _check_name(name)
        there = here.names.get(name)
        if there is not None and self._is_no_entry(here, name, there):
            self._remove(here, name)
            there = None
        if isinstance(there, Folder):
            self._hide_below(there)
        elif there is None and self._find(here, name):
            here.names[name] = _whiteout()
            self._last = None

    def hide_all(self, here: Folder) -> None:
        """An opaque whiteout: everything in `here` that comes from lower layers is gone."""
        self._hide_below(here)

    def finish(self) -> None:
        """An opaque root, which overlayfs does not know, becomes whiteouts of all names below it."""
        if self._root_is_opaque:
            for name in _names(self._lowers):
                there = self.root.names.get(name)
                if there is None:
                    self.root.names[name] = _whiteout()
                elif isinstance(there, Folder):
                    self._hide_below(there)

    def _brought(self, here: Folder, name: bytes) -> None:
        if self._copies:
            self._copies.discard((here, name))

    def _is_no_entry(self, here: Folder, name: bytes, node: Node | int) -> bool:
        """Whether what has the name is there for whiteouts and links alone: this layer brings nothing of that name."""
        return (isinstance(node, Folder) and node.only_marks) or (here, name) in self._copies

    def _remove(self, here: Folder, name: bytes) -> None:
        del here.names[name]
        self._copies.discard((here, name))
        self._last = None

    def _directory(self, parts: Sequence[bytes], make: bool) -> tuple[Folder, bool]:
        """The directory that `parts` lead to, and whether without a symlink on the way."""
        todo = list(reversed(parts))
        here = self.root
        links = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                here = here.above
                continue
            there = here.names.get(part)
            if isinstance(there, Folder):
                here = there
                continue
            target = self._step(here, part, there, make)
            if isinstance(target, Folder):
                here = target
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            todo += reversed(components(target))
            here = self.root if target.startswith(b"/") else here
        return here, not links

    def _step(self, here: Folder, part: bytes, there: Node | int | None, make: bool) -> Folder | bytes:
        """The directory `part`, which is no directory of this layer yet, or the target of a symlink."""
        _check_name(part)
        found: Sequence[Part] = ()
        if there is None:
            found = self._find(here, part)
            if found:
                inode = found[0].inode
                if stat.S_ISLNK(inode.mode):
                    target = found[0].layer.data(inode)
                    assert isinstance(target, bytes)
                    return target
                if not stat.S_ISDIR(inode.mode):
                    raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        elif not _is_whiteout(there):
            there = self._scanned.node(there) if isinstance(there, int) else there
            if stat.S_ISLNK(there.mode):
                assert isinstance(there.data, bytes)
                return there.data
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not make and not found:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        folder = self._make(here, part)
        if found:
            folder.only_marks = not make
            folder.below = tuple(found)
            _take_after(folder, found[0])
        return folder

    def _make(self, here: Folder, name: bytes) -> Folder:
        """The directory `name`. Where it takes the place of something, nothing of the lower layers is seen in it."""
        _check_name(name)
        if here.depth >= MAX_DEPTH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        there = here.names.get(name)
        if isinstance(there, Folder):
            return there
        self._limits.take(DIRECTORY_COUNTS)
        folder = Folder(here, name, IMPLIED_MODE)
        here.names[name] = folder
        if there is not None:
            self._hide_below(folder)
        return folder

    def _hide_below(self, folder: Folder) -> None:
        if folder is self.root:
            self._root_is_opaque = True
        elif self._lowers:
            folder.opaque = True
        self._last = None
        waiting = [folder]
        while waiting:
            each = waiting.pop()
            each.below = ()
            for name, node in list(each.names.items()):
                # Overlayfs would list whiteouts of nothing as broken files.
                if _is_whiteout(node) or self._is_no_entry(each, name, node):
                    self._remove(each, name)
                elif isinstance(node, Folder):
                    waiting.append(node)

    def _find(self, here: Folder, name: bytes) -> tuple[Part, ...]:
        """What the lower layers together have under the name: the topmost first, further ones below a directory."""
        below = self._below(here)
        found: list[Part] = []
        for layer, inode in below:
            there = layer.find(inode, name)
            if there is None:
                continue
            if there.is_whiteout:
                break
            directory = stat.S_ISDIR(there.mode)
            if not found or directory:
                found.append(Part(layer, there))
            if not directory or there.is_opaque:
                break
        return tuple(found)

    def _below(self, here: Folder) -> tuple[Part, ...]:
        if here.below is None:
            found = self._find(here.above, here.name)
            here.below = found if found and stat.S_ISDIR(found[0].inode.mode) else ()
        return here.below

    def _link_target(self, target: Sequence[bytes]) -> tuple[Folder, Node]:
        """What a hard link names, and the directory it is in."""
        *parents, name = target
        here, _ = self._directory(parents, make=False)
        _check_name(name)
        node = here.names.get(name)
        if node is None and (found := self._find(here, name)):
            node = self._copy(found[0])
            here.names[name] = node
            self._copies.add((here, name))
        if node is None or _is_whiteout(node):
            raise FileNotFoundError(errno.ENOENT, "its target does not exist")
        if isinstance(node, int):
            node = here.names[name] = self._scanned.node(node)  # from now on with several names
        if isinstance(node, Folder):
            raise OSError(errno.EISDIR, "a hard link to a directory")
        return here, node

    def _copy(self, part: Part) -> Node:
        """What a lower layer has, in this one; the same for all its names."""
        layer, inode = part
        if stat.S_ISDIR(inode.mode):
            raise OSError(errno.EISDIR, "a hard link to a directory")
        node = self._copied.get((layer, inode.nid))
        if node is None:
            node = Node(
                inode.mode, inode.uid, inode.gid, inode.mtime, inode.size, layer.data(inode), _taken(inode.xattrs)
            )
            self._copied[layer, inode.nid] = node
        return node


def _keep(here: Folder) -> None:
    """This layer brings something in the directory, and so in all that it is in."""
    while here is not here.above:
        here.only_marks = False
        here = here.above


def _take_after(folder: Folder, part: Part) -> None:
    inode = part.inode
    folder.mode, folder.uid, folder.gid, folder.mtime = inode.mode, inode.uid, inode.gid, inode.mtime
    folder.xattrs = _taken(inode.xattrs)


def _taken(xattrs: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: value for name, value in xattrs.items() if takes_attribute(name)}


def _names(parts: Sequence[Part]) -> set[bytes]:
    """All names that are seen in a directory."""
    seen: set[bytes] = set()
    for layer, folder in reversed(parts):
        for name, inode in layer.names(folder):
            (seen.discard if inode.is_whiteout else seen.add)(name)
    return seen


def _whiteout() -> Node:
    return Node(stat.S_IFCHR, 0, 0, 0, data=form.encoded_device(0, 0))


def _is_whiteout(node: Node | int) -> bool:
    return not isinstance(node, int) and stat.S_ISCHR(node.mode) and node.data == 0


def _check_name(name: bytes) -> None:
    if len(name) > form.MAX_NAME:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
