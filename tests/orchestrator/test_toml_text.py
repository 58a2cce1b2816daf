"""TOML as ever, but for what would take the standard library's reader for ever."""

from __future__ import annotations

import tomllib

import pytest

from polyarch.toml_text import MAX_DOTS, parse


@pytest.mark.parametrize(
    "text",
    [
        'a.b.c = 1\n["x.y".z]\nd = "e"\n',
        f"hosts = [\"{'a.' * 200}b\", '{'c.' * 200}']\n",
        f"a = 1 # {'.' * 200}\n",
        f'a = "\\"{"." * 200}\\""\n',
        "a" + ".a" * MAX_DOTS + " = 1\n",
        "\n".join(f"a{number}.b = 1.5" for number in range(100)),
    ],
    ids=["keys", "texts", "comment", "quotes", "most", "lines"],
)
def test_what_is_usual_is_read(text: str) -> None:
    assert parse(text) == tomllib.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        "a." * (1 << 19),
        "a" + ".a" * (1 << 18) + " = 1",
        "x = 1\n[a" + ".a" * (1 << 18) + "]\n",
        "x = { a" + ".a" * (1 << 18) + " = 1 }",
        '"a"' + '."a"' * (1 << 18) + " = 1",
    ],
    ids=["no-end", "key", "table", "within", "quoted"],
)
def test_keys_of_very_many_parts_are_refused_at_once(text: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError, match=r"More than 64 dots \(at line [12], column 1\)"):
        parse(text)
