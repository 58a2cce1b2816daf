"""What the start of a container needs that was made to be started later: the words of `container create`, as a file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polyarch.container.request import RunRequest, Volume, Words
from polyarch.container.state import START
from polyarch.errors import StorageError, UsageError
from polyarch.files import read_bounded
from polyarch_platforms.lazy_dataclass import dataclass

_MAX_SIZE = 16 << 20
_TUPLES = ("argv", "env", "env_files", "volumes", "cap_add", "cap_drop", "security_opts")


@dataclass(frozen=True, slots=True)
class LaterStart:
    """The words, read already, and whether the program is held against the image's platform."""

    request: RunRequest
    words: Words
    as_labelled: bool

    def encoded(self) -> bytes:
        """As it is kept. The caller's environment is not: what was asked for of it stands in the variables."""
        request = {
            key: value for key, value in asdict(self.request).items() if key not in ("environ", "env", "env_files")
        }
        volumes = [[str(each.source), each.target, each.read_only] for each in self.words.volumes]
        document = {
            "request": request,
            "variables": self.words.variables,
            "volumes": volumes,
            "profile": self.words.profile,
            "as_labelled": self.as_labelled,
        }
        return json.dumps(document).encode()


def read_later_start(directory: Path, name: str) -> LaterStart:
    """What a container's directory has. Raises UsageError: it was not made to be started later; StorageError."""
    path = directory / START
    try:
        document: dict[str, Any] = json.loads(read_bounded(path, _MAX_SIZE))
        fields: dict[str, Any] = {
            key: tuple(value) if key in _TUPLES else value for key, value in document["request"].items()
        }
        volumes = tuple(Volume(Path(source), target, read_only) for source, target, read_only in document["volumes"])
        words = Words(volumes, document["variables"], document.get("profile", ""))
        return LaterStart(RunRequest(**fields), words, document["as_labelled"])
    except FileNotFoundError:
        raise UsageError(
            f"the container {name} was made by `run`, and cannot be started again",
            "what `polyarch container create` makes can be: its words are kept",
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StorageError(f"{path} is damaged: {error}") from None
