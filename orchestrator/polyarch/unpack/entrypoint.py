"""The program that an image starts: found in its layers, from the top down, without writing them anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, BinaryIO

from polyarch.errors import IntegrityError, printable
from polyarch.oci.config import ImageConfig
from polyarch.unpack.limits import USUAL, Limits
from polyarch_platforms.elf import Elf, read_elf
from polyarch_platforms.errors import ElfError
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

if TYPE_CHECKING:
    from polyarch.unpack.layer_index import Content, Names, Node
    from polyarch.unpack.walks import Indexes

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""PATH where the image sets none, as in docker (moby, oci/defaults.go, DefaultPathEnv)."""

_MAX_LINKS = 40  # Linux, namei.h: MAXSYMLINKS
_MAX_SCRIPTS = 5  # Linux, fs/exec.c: an interpreter may be a script itself, to this depth
_FIRST_LINE = 256  # Linux, binfmts.h: BINPRM_BUF_SIZE

# What scripts and symlinks lead to most often. Kept when a layer is walked, so that it is walked only once.
_USUAL = (b"sh", b"bash", b"dash", b"ash", b"busybox", b"env", b"tini", b"dumb-init")


@dataclass(frozen=True, slots=True)
class EntrypointElf:
    """A program's path in the image, and its ELF facts."""

    path: str
    elf: Elf


class Mislabelled(IntegrityError):
    """The image holds programs of another platform than it promises, or nothing proves what it does not say."""


def mislabelled(image: str, fault: str, promised: Platform, actual: Platform | None) -> Mislabelled:
    """The error for a contradiction (`fault`) between what is promised and what the program is for, None if unknown."""
    return Mislabelled(
        f"{image} is mislabelled: {fault}",
        "take another variant, or tell the publisher; --allow-mislabelled takes it as what it is",
        promised=str(promised),
        actual=None if actual is None else str(actual),
    )


def entrypoint_elf(
    layers: Sequence[Callable[[], BinaryIO]],
    config: ImageConfig,
    *,
    ahead: int = 0,
    limits: Limits = USUAL,
) -> EntrypointElf | None:
    """The ELF file that an image starts with.

    `layers` opens each layer, bottom first, as in the manifest. Symlinks and `#!` lines (`/usr/bin/env NAME` too) are
    followed through all layers, whiteouts heeded. Of a bare name the first directory of PATH counts that has it in the
    layers read so far: no layer is read for the sake of a directory that might have it too.

    `ahead` layers are walked, in threads, before it is known whether they matter; the answer is the same with any
    number of them. Such a walk may still be under way when the answer is there: a stream that raises ends it.

    None: the image starts nothing, the program is not in the layers, or it is no ELF file.
    Raises IntegrityError where a layer is no sound archive.
    """
    from polyarch.unpack.walks import Walks  # with threads and tar; `run` wants the rest of this module only

    walks = Walks(layers, ahead, limits)
    try:
        return entrypoint_elf_in(walks, config)
    finally:
        walks.close()


def entrypoint_elf_in(indexes: Indexes, config: ImageConfig) -> EntrypointElf | None:
    """The same where there are indexes of the layers, or will be."""
    argv = (*config.entrypoint, *config.cmd)
    return _program(_Search(indexes, config), argv[0]) if argv and argv[0] else None


def _program(search: _Search, command: str) -> EntrypointElf | None:
    """The ELF file that a command starts, through scripts."""
    words = [command.encode("utf-8", "surrogateescape")]
    for _ in range(_MAX_SCRIPTS):
        found = search.program(words)
        if found is None:
            return None
        path, content = found
        content.stream.seek(0)
        head = content.stream.read(_FIRST_LINE)
        if not head.startswith(b"#!"):
            return _elf(path, content)
        words = head[2:].split(b"\n")[0].split()
        if not words:
            return None
        if words[0].rsplit(b"/", 1)[-1] == b"env":
            words = [word for word in words[1:] if not word.startswith(b"-") and b"=" not in word] or words
    return None


def _elf(path: bytes, content: Content) -> EntrypointElf | None:
    try:
        facts = read_elf(content.stream, content.size)
    except ElfError:
        return None
    return EntrypointElf(printable("/" + path.decode("utf-8", "backslashreplace")), facts)


class _Search:
    """Looks names up in the layers together, reading one more layer from the top only where that is needed."""

    def __init__(self, unread: Indexes, config: ImageConfig) -> None:
        self._unread = unread
        self._indexes: list[Names] = []
        self._wanted = set(_USUAL)
        self._working_directory = config.working_dir.encode("utf-8", "surrogateescape")
        path = next((value for name, _, value in (line.partition("=") for line in config.env) if name == "PATH"), "")
        self._search_path = (path or DEFAULT_PATH).encode("utf-8", "surrogateescape").split(b":")

    def program(self, words: Sequence[bytes]) -> tuple[bytes, Content] | None:
        """The file that a command's first word names."""
        name = words[0]
        self._wanted.add(name.rsplit(b"/", 1)[-1])
        if name.startswith(b"/"):
            places = [name]
        elif b"/" in name:
            places = [self._working_directory + b"/" + name]
        else:
            places = [folder + b"/" + name for folder in self._search_path if folder.startswith(b"/")]
        while True:
            waiting = False
            for place in places:
                try:
                    found = self._resolve(place)
                except _MoreLayers:
                    waiting = True
                    continue
                if found is not None:
                    return found
            if not waiting:
                return None
            self._indexes.append(self._unread.next(self._wanted))

    def _resolve(self, place: bytes) -> tuple[bytes, Content] | None:
        """The regular file at a path, through symlinks."""
        todo = _parts(place)
        here = b""
        links = 0
        while todo:
            part = todo.pop()
            if part == b"..":
                here = here.rpartition(b"/")[0]
                continue
            path = here + b"/" + part if here else part
            node, index = self._look_up(path)
            if node is None:
                return None
            if node.kind == "symlink":
                links += 1
                if links > _MAX_LINKS:
                    return None
                todo += _parts(node.target)
                here = b"" if node.target.startswith(b"/") else here
                self._wanted.add(node.target.rsplit(b"/", 1)[-1])
            elif node.kind == "file":
                content = self._content(index, path, node) if not todo else None
                return (path, content) if content is not None else None
            else:
                here = path
        return None

    def _look_up(self, path: bytes) -> tuple[Node | None, int]:
        """What the layers together have at a path whose parents are directories, and the number of the layer."""
        for number, index in enumerate(self._indexes):
            node = index.node(path)
            if node is not None:
                return node, number
            if index.hides(path):
                return None, number
        if self._unread.any_left():
            raise _MoreLayers
        return None, 0

    def _content(self, number: int, path: bytes, node: Node) -> Content | None:
        content = self._indexes[number].content(path)
        if content is None and node.target:  # a hard link to a file of a lower layer
            node_below, below = self._look_up(node.target)
            return self._indexes[below].content(node.target) if node_below is not None else None
        return content


class _MoreLayers(Exception):
    """The answer lies in a layer that was not read yet."""


def _parts(path: bytes) -> list[bytes]:
    """A path's components, the last first; `..` stays."""
    return [part for part in reversed(path.split(b"/")) if part not in (b"", b".")]
