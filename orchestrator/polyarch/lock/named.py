"""An image that a file names, and where."""

from __future__ import annotations

from polyarch.errors import UsageError, platforms_errors, printable
from polyarch.reference import parse_reference
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import parse


class Fault(Exception):
    """What is wrong in a file, and in which line."""

    def __init__(self, line: int, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.line, self.what, self.hint = line, what, hint


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image name in a text.

    name      as whoever uses the file gets it: variables are filled in
    platform  what it is wanted for where the file says so, in its normal form; "" if it does not
    line      of the text, from 1 on
    start     where in the text its characters begin, and `end` where they end; quotes are among them
    quote     the quote character around them; "" if there is none
    """

    name: str
    platform: str
    line: int
    start: int
    end: int
    quote: str = ""


def named_image(name: str, platform: str, line: int, start: int, end: int, quote: str = "") -> NamedImage:
    """A NamedImage. Raises Fault where name or platform cannot be read."""
    try:
        parse_reference(name)
        if platform:
            with platforms_errors():
                platform = str(parse(platform))
    except UsageError as error:
        raise Fault(line, printable(error.message), error.hint) from error
    return NamedImage(name, platform, line, start, end, quote)
