"""The report of a rollout as one page that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from polyarch.errors import StorageError, UsageError
from polyarch.files import FILE_MODE, new_file
from polyarch.fleet.record import RolloutRecord
from polyarch.fleet.report_data import headline, report_document

_STYLES = ("page.css", "table.css")
_SCRIPTS = ("words.js", "charts.js", "timeline.js", "details.js", "table.js", "page.js")


def report_html(record: RolloutRecord) -> str:
    """The page. It runs its own script and uses its own style, both known by their hashes, and loads nothing."""
    style, script = _joined(_STYLES), _joined(_SCRIPTS)
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "style": style,
        "script": script,
        "headline": html.escape(headline(record)),
        "data": _embedded(report_document(record)),
    }
    page = (files(__package__) / "report_page" / "page.html").read_text("utf-8")
    first, *others = page.split("<!--=")
    pieces = [first]
    for other in others:
        name, _, rest = other.partition("-->")
        pieces += [parts[name], rest]
    return "".join(pieces)


def write_report(path: Path, record: RolloutRecord) -> None:
    """Write the page to `path` in one step: there is the old one or the new one, never half of it.

    Raises StorageError.
    """
    text = report_html(record).encode("utf-8", "backslashreplace")
    try:
        with new_file(path) as new, new.open("wb") as stream:
            os.fchmod(stream.fileno(), FILE_MODE)
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except (OSError, StorageError) as error:
        why = error.message if isinstance(error, StorageError) else error.strerror or error
        hint = "write it elsewhere with: polyarch fleet report --report FILE.html"
        raise StorageError(f"cannot write the report {path}: {why}", hint) from error


def check_report_path(path: Path) -> None:
    """Raises UsageError where no report could be written to `path`: to be asked before a long rollout, not after."""
    if path.is_dir():
        raise UsageError(f"the report {path} is a folder", "name a file in it: report.html")
    if path.exists() and not path.is_file():  # a device, which the report would take the place of
        raise UsageError(f"the report {path} is no plain file", "name a file: report.html")
    if not os.access(path.resolve().parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"the report {path} cannot be written", "choose a folder that is there and that this user may write to"
        )


def _joined(names: Sequence[str]) -> str:
    folder = files(__package__) / "report_page"
    return "\n" + "".join((folder / name).read_text("utf-8") for name in names)


def _hash(text: str) -> str:
    """As a content security policy names it (CSP level 3, section 2.3.1, hash-source)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _embedded(document: dict[str, object]) -> str:
    """JSON that nothing in it can get out of a script element: no `<`, `>`, `&`, and ASCII alone."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
