"""The listings of an image's layers laid over each other: what each layer adds, changes and removes, and what is left.

The rules are those that `tree` and `layer` write files by (image-spec 1.1.1, layer.md, "Representing Changes" and
"Whiteouts"), so that what is left here is what `unpack_image` makes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from polyarch.errors import IntegrityError, printable
from polyarch.unpack.beneath import MAX_LINKS, components
from polyarch.unpack.limits import USUAL, Limits
from polyarch.unpack.listing import Listed
from polyarch.unpack.merged import NONE, Merged
from polyarch.unpack.rows import GONE, Rows
from polyarch.unpack.rules import Role, hidden_name, role_of
from polyarch.unpack.stack import WHITEOUT
from polyarch.unpack.tar import Kind
from polyarch.unpack.tree import DIRECTORY_COUNTS, IMPLIED_MODE, MAX_DEPTH

_NAME_MAX = 255  # Linux, limits.h
_COUNTED = 7  # bits: as many bytes of names count as an entry
_MOST_WAYS = 4096
_DIRECTORY, _SYMLINK, _HARD_LINK = map(ord, "dlh")


def merge(layers: Iterable[Iterable[Listed]], limits: Limits = USUAL) -> Merged:
    """`layers` stand bottom first. Raises IntegrityError where one cannot be unpacked over those below it, or all are
    beyond the limits.
    """
    state = _Layers(limits)
    for number, layer in enumerate(layers, 1):
        state.add(number, layer)
    state.forget()
    return state.rows.merged()


class _Folder:
    """A directory that is seen: its row, and what is in it. `own` is the last layer that brought it, or what it has."""

    __slots__ = ("above", "depth", "names", "own", "row")

    def __init__(self, above: _Folder | None, row: int, own: int) -> None:
        self.above: _Folder = above or self
        self.depth: int = above.depth + 1 if above else 0
        self.names: dict[bytes, _Folder | int] = {}
        self.row = row
        self.own = own


class _Layers:
    """What is seen of the layers so far. `rows` has what each of them brought, the directories that it implies too."""

    def __init__(self, limits: Limits) -> None:
        self.rows = Rows()
        self._limits = limits.of_layer()
        self._root = _Folder(None, -1, 0)
        self._number = 0
        self._first = 0  # row of the layer at hand
        self._olds = array("q")  # what was seen before the layer in the place of each of its rows; -1 for nothing
        self._gone: dict[bytes, int] = {}  # rows of lower layers that are seen no more, and nothing in their place
        self._linked: set[tuple[_Folder, bytes]] = set()  # names of lower layers that hard links to themselves brought
        self._ways: dict[bytes, _Folder] = {}  # directories that paths lead to

    def add(self, number: int, layer: Iterable[Listed]) -> None:
        """Lay one more layer over the others."""
        self._number, self._first = number, len(self.rows)
        for kept in (self._gone, self._linked, self._ways):
            kept.clear()
        self._olds = array("q")
        for listed in layer:
            self._limits.take(1 + (len(listed.path) + len(listed.link) >> _COUNTED))
            self._entry(listed)
        self._tell_changes()

    def forget(self) -> None:
        """Let go of the tree, which takes as much memory as the rows; its directories know each other."""
        waiting = [self._root]
        while waiting:
            names = waiting.pop().names
            waiting += (each for each in names.values() if isinstance(each, _Folder))
            names.clear()

    def _fault(self, path: bytes, what: str) -> IntegrityError:
        shown = printable(path.decode("utf-8", "backslashreplace"), 200)
        return IntegrityError(f"layer {self._number}: {shown!r}: {what}")

    def _entry(self, listed: Listed) -> None:
        path = listed.path
        above, _, name = path.rpartition(b"/")
        if WHITEOUT in path and self._is_mark(path, above, name):
            return
        if not path:
            if listed.kind != "d":
                raise self._fault(b"/", "the root of an image is a directory")
            return  # it is in every image; nobody asks for it
        if listed.kind == "c" and listed.link == b"0:0":
            raise self._fault(path, "overlayfs' own whiteout")
        here = self._directory(above)
        if len(name) > _NAME_MAX:
            raise self._fault(path, f"a name of {len(name)} bytes; Linux has {_NAME_MAX} at most")
        if listed.kind == "d" and here.depth >= MAX_DEPTH:
            raise self._fault(path, f"deeper than {MAX_DEPTH} directories")
        if listed.kind == "h":
            target = self._link_target(listed, here, name)
            if target < 0:
                return
            what = self.rows.listed(target)
            # A symlink or a device has no bytes that could be counted twice.
            listed = what._replace(kind="h", link=what.path) if what.kind in "fh" else what
        self._put(here, name, listed)

    def _put(self, here: _Folder, name: bytes, what: Listed) -> _Folder | int:
        """An entry in place of what has the name; what stands there now."""
        there = here.names.get(name)
        directory = what.kind == "d"
        if there is not None and isinstance(there, _Folder) != directory:
            self._clear(here, name)
            there = None
        elif isinstance(there, int) and self.rows.kinds[there] == _SYMLINK:
            self._ways.clear()
        path = self._path(here, name)
        old = self._gone.pop(path, -1) if self._gone else -1
        if there is not None:
            old = self._replaced(there.row if isinstance(there, _Folder) else there)
        row = self.rows.add(self._number, path, what)
        self._olds.append(old)
        if isinstance(there, _Folder):
            there.row = row
            there.own = self._number
            return there
        if directory:
            self._limits.take(DIRECTORY_COUNTS)
        here.names[name] = made = _Folder(here, row, self._number) if directory else row
        return made

    def _path(self, here: _Folder, name: bytes) -> bytes:
        return self.rows.path(here.row) + b"/" + name if here is not self._root else name

    def _replaced(self, row: int) -> int:
        """A row is seen no more: what was seen in its place before the layer at hand; -1 for nothing."""
        if row < self._first:
            return row
        self.rows.changes[row] = GONE
        return self._olds[row - self._first]

    def _link_target(self, listed: Listed, here: _Folder, name: bytes) -> int:
        """The row of what a hard link names, which is what it is, whatever its own header says; -1 for itself."""
        above, _, last = listed.link.rpartition(b"/")
        folder = self._find(above)
        target = folder.names.get(last) if folder is not None else None
        there = here.names.get(name)
        while folder is not None and folder is not self._root:
            if folder is there:  # it goes with the directory that the link takes the place of
                target = None
            folder = folder.above
        if not isinstance(target, int):
            what = "a hard link to a directory" if target else "its target does not exist"
            raise self._fault(self._path(here, name), what)
        if there == target:
            self._linked.add((here, name))
            return -1
        return target

    def _is_mark(self, path: bytes, above: bytes, name: bytes) -> bool:
        """Heed a whiteout; False for what is none."""
        try:
            role = role_of(path.split(b"/"), Kind.FILE)
        except OSError as error:
            raise self._fault(path, str(error.strerror)) from error
        if role is Role.ENTRY:
            return False
        here = self._find(above)
        if here is not None and role is not Role.IGNORED:
            if role is Role.HIDES_ALL:
                self._hide_all(here)
            else:
                self._hide(here, hidden_name(name))
        return True

    def _hide(self, here: _Folder, name: bytes) -> None:
        """Take away what lower layers have under a name; what this one has stays."""
        there = here.names.get(name)
        if isinstance(there, _Folder) and there.own == self._number:
            self._hide_all(there)
        elif there is not None and not (
            isinstance(there, int) and (there >= self._first or (here, name) in self._linked)
        ):
            self._clear(here, name)

    def _hide_all(self, here: _Folder) -> None:
        waiting = [here]
        while waiting:
            folder = waiting.pop()
            for name, there in list(folder.names.items()):
                if isinstance(there, _Folder) and there.own == self._number:
                    waiting.append(there)
                else:
                    self._hide(folder, name)

    def _clear(self, here: _Folder, name: bytes) -> None:
        """Take away what is seen under a name and below it."""
        waiting = [here.names.pop(name)]
        while waiting:
            each = waiting.pop()
            row = each.row if isinstance(each, _Folder) else each
            if (old := self._replaced(row)) >= 0:
                self._gone.setdefault(self.rows.path(row), old)
            if isinstance(each, _Folder):
                waiting += each.names.values()
                each.names.clear()
        self._ways.clear()

    def _directory(self, path: bytes) -> _Folder:
        """The directory that a path leads to, symlinks followed and what is missing made, for an entry in it."""
        here = self._ways.get(path)
        if here is None:
            found = self._followed(path, make=True)
            assert found is not None
            here = found
            if len(self._ways) >= _MOST_WAYS:
                self._ways.clear()
            self._ways[path] = here
        self._keep(here)
        return here

    def _keep(self, here: _Folder) -> None:
        """This layer brings something in a directory, and so in all that it is in."""
        while here.own != self._number:
            here.own = self._number
            here = here.above

    def _find(self, path: bytes) -> _Folder | None:
        """The directory that a path leads to; None where there is none."""
        return self._ways.get(path) or self._followed(path, make=False)

    def _followed(self, path: bytes, *, make: bool) -> _Folder | None:
        todo, here, links = components(path)[::-1], self._root, 0
        while todo:
            part = todo.pop()
            there = here.above if part == b".." else here.names.get(part)
            if there is None:
                if not make:
                    return None
                there = self._implied(here, part, path)
            if isinstance(there, _Folder):
                here = there
            elif self.rows.kinds[there] == _SYMLINK:
                links += 1
                if links > MAX_LINKS:
                    raise self._fault(path, "too many symlinks")
                target = self.rows.link(there)
                todo += components(target)[::-1]
                here = self._root if target.startswith(b"/") else here
            elif make:
                raise self._fault(path, "not a directory")
            else:
                return None
        return here

    def _implied(self, here: _Folder, name: bytes, path: bytes) -> _Folder | int:
        if here.depth >= MAX_DEPTH:
            raise self._fault(path, f"deeper than {MAX_DEPTH} directories")
        if len(name) > _NAME_MAX:
            raise self._fault(path, f"a name of more than {_NAME_MAX} bytes, which Linux does not have")
        self._keep(here)
        return self._put(here, name, Listed(b"", "d", IMPLIED_MODE, 0, 0, 0, 0, NONE, b""))

    def _tell_changes(self) -> None:
        """What the rows of the layer that is done are, and rows for what it removed."""
        rows = self.rows
        for row, old in enumerate(self._olds, self._first):
            if old >= 0 and rows.changes[row] != GONE:
                rows.hidden_by[old] = self._number
                rows.changes[row] = ord("=" if rows.are_one_directory(row, old) else "C")
        sizes: dict[bytes, int] = {}
        for path, old in self._gone.items():
            rows.hidden_by[old] = self._number
            top = path
            while (above := top.rpartition(b"/")[0]) in self._gone:
                top = above
            sizes[top] = sizes.get(top, 0) + rows.content_size(old)
        for path, size in sizes.items():
            if self._is_directory(path.rpartition(b"/")[0]):  # else a file is where the directory was
                what = rows.listed(self._gone[path])
                row = rows.add(self._number, path, what._replace(size=size, fingerprint=NONE, link=b""))
                rows.changes[row] = ord("D")

    def _is_directory(self, path: bytes) -> bool:
        here: _Folder | int | None = self._root
        for part in components(path):
            here = here.names.get(part) if isinstance(here, _Folder) else None
        return isinstance(here, _Folder)
