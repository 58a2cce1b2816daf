"""The listings of an image's layers laid over each other: what each layer adds, changes and removes, and what is left.

The rules are those that `tree` and `layer` write files by (image-spec 1.1.1, layer.md, "Representing Changes" and
"Whiteouts"), so that what is left here is what `unpack_image` makes.
"""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.errors import IntegrityError, printable
from polyarch.unpack.beneath import followed
from polyarch.unpack.limits import USUAL, Limits
from polyarch.unpack.listing import Listed
from polyarch.unpack.merged import NONE, Merged, Row, merged
from polyarch.unpack.rules import Role, hidden_name, role_of
from polyarch.unpack.stack import WHITEOUT
from polyarch.unpack.tar import Kind
from polyarch.unpack.tree import IMPLIED_MODE, MAX_DEPTH

_NAME_MAX = 255  # Linux, limits.h


def merge(layers: Iterable[Iterable[Listed]], limits: Limits = USUAL) -> Merged:
    """`layers` stand bottom first. Raises IntegrityError where one cannot be unpacked over those below it, or all are
    beyond the limits.
    """
    state = _Layers()
    for number, layer in enumerate(layers, 1):
        state.add(number, layer)
    return merged(state.rows)


class _Nothing(Exception):
    """No directory is where a path leads."""


class _Layers:
    """What is seen of the layers so far. `rows` has what each of them brought, the directories that it implies too."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self._seen: dict[bytes, Row] = {}
        self._names: dict[bytes, set[bytes]] = {b"": set()}  # of each directory that is seen
        self._number = 0
        self._own: set[bytes] = set()
        self._before: dict[bytes, Row | None] = {}  # what is seen no more, or for the first time, since the layer began
        self._ways: dict[bytes, bytes] = {}  # to directories, symlinks followed

    def add(self, number: int, layer: Iterable[Listed]) -> None:
        """Lay one more layer over the others."""
        self._number = number
        self._own.clear()
        self._before.clear()
        self._ways.clear()
        for listed in layer:
            self._entry(listed)
        self.rows += self._changes()

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
        if listed.kind == "d" and here and here.count(b"/") + 1 >= MAX_DEPTH:
            raise self._fault(path, f"deeper than {MAX_DEPTH} directories")
        child = here + b"/" + name if here else name
        row = Row(self._number, child, listed.kind, *listed[2:])
        self._own.add(child)
        if listed.kind == "h" and not self._link(row, child):
            return
        there = self._seen.get(child)
        if there is not None and (there.kind == "d") != (listed.kind == "d"):
            self._clear(child)
        elif there is not None and there.kind == "l":
            self._ways.clear()
        self._put(child, row, here, name)

    def _put(self, child: bytes, row: Row, here: bytes, name: bytes) -> None:
        self._before.setdefault(child, self._seen.get(child))
        self._seen[child] = row
        self._names[here].add(name)
        if row.kind == "d":
            self._names.setdefault(child, set())

    def _link(self, row: Row, child: bytes) -> bool:
        """A hard link is what it names, whatever its own header says; False where it names itself."""
        above, _, name = row.link.rpartition(b"/")
        here = self._find(above)
        target = self._seen.get(here + b"/" + name if here else name) if here is not None else None
        if target is not None and target.path.startswith(child + b"/"):
            target = None  # it goes with the directory that the link takes the place of
        if target is None or target.kind == "d":
            raise self._fault(child, "a hard link to a directory" if target else "its target does not exist")
        row.mode, row.uid, row.gid = target.mode, target.uid, target.gid
        row.size, row.mtime, row.fingerprint = target.size, target.mtime, target.fingerprint
        if target.kind in "fh":
            row.link = target.path
        else:  # a symlink or a device has no bytes that could be counted twice
            row.kind, row.link = target.kind, target.link
        return target.path != child

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
            for each in list(self._names[here]) if role is Role.HIDES_ALL else [hidden_name(name)]:
                self._hide(here + b"/" + each if here else each)
        return True

    def _hide(self, path: bytes) -> None:
        """Take away what lower layers have at a path; what this one has stays."""
        if path not in self._own:
            self._clear(path)
        elif path in self._names:
            for name in list(self._names[path]):
                self._hide(path + b"/" + name)

    def _clear(self, path: bytes) -> None:
        """Take away what is seen at a path and below it."""
        if path not in self._seen:
            return
        above, _, name = path.rpartition(b"/")
        self._names[above].discard(name)
        waiting = [path]
        while waiting:
            path = waiting.pop()
            self._before.setdefault(path, self._seen.pop(path))
            waiting += (path + b"/" + inner for inner in self._names.pop(path, ()))
        self._ways.clear()

    def _directory(self, path: bytes) -> bytes:
        """The directory that a path leads to, symlinks followed and what is missing made, for an entry in it."""
        known = self._ways.get(path)
        if known is None:
            known = self._ways[path] = self._followed(path, make=True) or b""
            above = known
            while above and above not in self._own:
                self._own.add(above)
                above = above.rpartition(b"/")[0]
        return known

    def _find(self, path: bytes) -> bytes | None:
        """The directory that a path leads to; None where there is none."""
        known = self._ways.get(path)
        return known if known is not None else self._followed(path, make=False)

    def _followed(self, path: bytes, *, make: bool) -> bytes | None:
        def link_at(child: bytes) -> bytes | None:
            row = self._seen.get(child)
            if row is None:
                if not make:
                    raise _Nothing
                if child.count(b"/") >= MAX_DEPTH:
                    raise self._fault(path, f"deeper than {MAX_DEPTH} directories")
                if len(child) - child.rfind(b"/") - 1 > _NAME_MAX:
                    raise self._fault(path, f"a name of more than {_NAME_MAX} bytes, which Linux does not have")
                row = Row(self._number, child, "d", IMPLIED_MODE, 0, 0, 0, 0, NONE, b"")
                above, _, name = child.rpartition(b"/")
                self._put(child, row, above, name)
            if row.kind in "dl":
                return row.link if row.kind == "l" else None
            if make:
                raise self._fault(path, "not a directory")
            raise _Nothing

        try:
            return followed(path, link_at)
        except _Nothing:
            return None
        except OSError:
            raise self._fault(path, "too many symlinks") from None

    def _changes(self) -> list[Row]:
        """The rows of the layer that is done, those of what it removed among them."""
        rows: list[Row] = []
        removed: dict[bytes, int] = {}
        for path, old in self._before.items():
            new = self._seen.get(path)
            if old is not None:
                old.hidden_by = self._number
            if new is None:
                if old is not None:
                    removed[path] = old.content_size
            elif new.layer == self._number:
                new.change = "A" if old is None else "=" if new.is_same_directory(old) else "C"
                rows.append(new)
        rows += self._removals(removed)
        return rows

    def _removals(self, removed: dict[bytes, int]) -> list[Row]:
        """A row for each thing that went, with the bytes of all that went with it; the topmost of each alone."""
        sizes: dict[bytes, int] = {}
        for path, size in removed.items():
            top = path
            while (above := top.rpartition(b"/")[0]) in removed:
                top = above
            sizes[top] = sizes.get(top, 0) + size
        found = []
        for path, size in sizes.items():
            old = self._before[path]
            above = path.rpartition(b"/")[0]
            if old is not None and above in self._names:  # else a file is where the directory was
                row = Row(self._number, path, old.kind, old.mode, old.uid, old.gid, size, old.mtime, NONE, b"")
                row.change = "D"
                found.append(row)
        return found
