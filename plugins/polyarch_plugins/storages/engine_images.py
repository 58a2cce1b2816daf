"""The images of an engine as a source: each is read from the archive (docker's kind) that the engine makes of it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from polyarch.contract import (
    DockerArchive,
    HeldImages,
    Located,
    NotFoundError,
    Reference,
    UsageError,
    parse_reference,
)


class EngineImages(HeldImages):
    """The images of the engine `who`, each in an archive of its own when it is asked for.

    `names` gives all names that the engine has, `save` writes the archive of one into a new file, which is removed.
    """

    def __init__(
        self,
        who: str,
        locate: Callable[[str], Located],
        names: Callable[[], Iterable[str]],
        save: Callable[[str, Path], None],
        temporary: Callable[[], Path],
    ) -> None:
        def open_image(name: str) -> DockerArchive:
            path = temporary() / f"{uuid.uuid4().hex}.tar"
            try:
                save(name, path)
                archive = DockerArchive(path, temporary)
            finally:
                path.unlink(missing_ok=True)  # it stays open as long as it is read
            archive.where = f"{who}'s {name}"
            return archive

        super().__init__(locate, open_image)
        self._who, self._names = who, names

    def tags(self, reference: Reference) -> Iterator[str]:
        """The tags that the engine has of the repository. Raises NotFoundError where it has none."""
        wanted = parse_reference(reference.repository)
        tags: dict[str, None] = {}
        for text in self._names():
            with contextlib.suppress(UsageError):  # a name as only this engine has them
                if (name := parse_reference(text)).name == wanted.name and name.tag:
                    tags[name.tag] = None
        if not tags:
            raise NotFoundError(f"{self._who} has no image of {wanted.familiar_name}", f"see: {self._who} image ls")
        return iter(tags)
