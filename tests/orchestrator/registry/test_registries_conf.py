"""podman's registries.conf: what files say, alone and together, by tables; broken ones, by tables and by chance."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import UsageError
from polyarch.reference import parse_reference
from polyarch.registry.registries_conf import (
    Mirror,
    RegistriesConf,
    Rule,
    matched,
    merge,
    parse_aliases,
    parse_registries_conf,
    rewritten,
)

FILE = Path("/etc/containers/registries.conf")
DIGEST = "sha256:" + "0" * 64


def parsed(text: str, path: Path = FILE, *, drop_in: bool = False) -> RegistriesConf:
    return parse_registries_conf(text.encode(), path, drop_in=drop_in)


def test_every_key() -> None:
    conf = parsed(
        """
        unqualified-search-registries = ["quay.io", "docker.io", "localhost:5000"]
        short-name-mode = "enforcing"
        credential-helpers = ["pass", "containers-auth.json"]
        unheard-of = 1

        [[registry]]
        prefix = "example.com/foo"
        location = "internal.example/bar/"
        insecure = true
        blocked = false
        [[registry.mirror]]
        location = "one.local/foo"
        [[registry.mirror]]
        location = "two.local"
        insecure = true
        pull-from-mirror = "tag-only"

        [[registry]]
        location = "quay.io"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "quay.local"

        [[registry]]
        prefix = "*.wild.example"
        blocked = true

        [aliases]
        "alpine" = "docker.io/alpine"
        "ns/app" = "quay.io/ns/app"
        "gone" = ""
        """
    )
    assert conf.search == (("quay.io", "docker.io", "localhost:5000"), FILE)
    assert (conf.mode, conf.helpers) == ("enforcing", ("pass", "containers-auth.json"))
    mirrors = (Mirror("one.local/foo"), Mirror("two.local", insecure=True, pulls="tag-only"))
    assert conf.rules == {
        "example.com/foo": Rule("example.com/foo", "internal.example/bar", FILE, insecure=True, mirrors=mirrors),
        "quay.io": Rule("quay.io", "quay.io", FILE, mirrors=(Mirror("quay.local", pulls="digest-only"),)),
        "*.wild.example": Rule("*.wild.example", "", FILE, blocked=True),
    }
    assert {name: alias.name for name, alias in conf.aliases.items()} == {
        "alpine": "docker.io/library/alpine",
        "ns/app": "quay.io/ns/app",
        "gone": "",
    }


def test_the_old_format() -> None:
    conf = parsed(
        """
        [registries.search]
        registries = ["one.example", "two.example"]
        [registries.insecure]
        registries = ["plain.example"]
        [registries.block]
        registries = ["bad.example", "plain.example/sub"]
        """
    )
    assert conf.search == (("one.example", "two.example"), FILE)
    assert {prefix: (rule.insecure, rule.blocked) for prefix, rule in conf.rules.items()} == {
        "plain.example": (True, False),
        "bad.example": (False, True),
        "plain.example/sub": (False, True),
    }


BROKEN = {
    "no TOML": ("a = = 1", "line 1"),
    "the line is told": ("a = 1\nb = [1,\n\n", "at end of document"),
    "a key twice": ('[aliases]\n"a" = "b.c/a"\n"a" = "b.c/b"\n', "line 3"),
    "no UTF-8": ("a = 1\n# \udcff", "line 2"),
    "not an array of tables": ("registry = 1", "array of tables"),
    "old and new": ("[registries.search]\nregistries=['a.b']\n[[registry]]\nlocation='c.d'", "in one file"),
    "nothing named": ("[[registry]]\ninsecure = true", "neither location nor prefix"),
    "prefix alone": ("[[registry]]\nprefix = 'a.b'", "no location"),
    "a URL": ("[[registry]]\nlocation = 'https://a.b'", "is a URL"),
    "a wildcard within": ("[[registry]]\nprefix = '*.a.b/c'", "*.example.com"),
    "two wildcards": ("[[registry]]\nprefix = '*.*.b'", "*.example.com"),
    "insecure in words": ("[[registry]]\nlocation = 'a.b'\ninsecure = 'yes'", "true or false"),
    "a mirror of nothing": (
        "[[registry]]\nlocation='a.b'\n[[registry.mirror]]\ninsecure=true",
        "mirror 1 has no location",
    ),
    "another choice": (
        "[[registry]]\nlocation='a.b'\n[[registry.mirror]]\nlocation='c.d'\npull-from-mirror='never'",
        "all, digest-only or tag-only",
    ),
    "two choices": (
        "[[registry]]\nlocation='a.b'\nmirror-by-digest-only=true\n"
        "[[registry.mirror]]\nlocation='c.d'\npull-from-mirror='all'",
        "and so is mirror-by-digest-only",
    ),
    "a choice for no mirror": ("[[registry]]\nlocation='a.b'\npull-from-mirror='all'", "for mirrors only"),
    "a contradiction": (
        "[[registry]]\nprefix='x.y'\nlocation='a.b'\nblocked=true\n[[registry]]\nlocation='a.b'",
        "different values of blocked",
    ),
    "search is a text": ("unqualified-search-registries = 'quay.io'", "array of strings"),
    "search is a path": ("unqualified-search-registries = ['quay.io/a']", "not a registry"),
    "search is empty": ("unqualified-search-registries = ['']", "not a registry"),
    "another mode": ("short-name-mode = 'always'", "enforcing, permissive or disabled"),
    "a helper with a path": ("credential-helpers = ['../../bin/sh']", "not the name of a credential helper"),
    "an alias of a full name": ("[aliases]\n'a.b/c' = 'd.e/f'", "a short name has no registry"),
    "an alias with a tag": ("[aliases]\n'a:1' = 'd.e/f'", "a short name has no registry, tag"),
    "an alias for a short name": ("[aliases]\n'a' = 'b'", "has a registry"),
    "an alias for a tag": ("[aliases]\n'a' = 'b.c/d:1'", "no tag"),
    "an alias that is no name": ("[aliases]\n'a' = 'b.c/D'", "lower case"),
    "an alias in numbers": ("[aliases]\n'a' = 1", "string"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_with_its_name_and_what(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_registries_conf(text.encode(errors="surrogateescape"), FILE)
    assert caught.value.message.startswith(f"registries.conf {FILE}: ")
    assert said in caught.value.message


def test_a_drop_in_has_the_new_format() -> None:
    with pytest.raises(UsageError, match="drop-in"):
        parsed("[registries.block]\nregistries = ['a.b']", drop_in=True)


def test_the_record_of_short_names_holds_aliases_only() -> None:
    path = Path("/var/cache/containers/short-name-aliases.conf")
    conf = parse_aliases(b"unqualified-search-registries = ['a.b']\n[aliases]\n'x' = 'a.b/x'", path)
    assert (conf.search, conf.aliases["x"].name) == (None, "a.b/x")
    with pytest.raises(UsageError, match=r"short names /var/cache/.*line 1"):
        parse_aliases(b"=", path)


def test_later_files_replace_single_rules_and_whole_lists() -> None:
    main = parsed(
        "unqualified-search-registries = ['a.b', 'c.d']\nshort-name-mode = 'disabled'\ncredential-helpers = ['pass']\n"
        "[[registry]]\nlocation = 'a.b'\nblocked = true\n[[registry]]\nlocation = 'c.d'\n"
        "[aliases]\n'x' = 'a.b/x'\n'y' = 'a.b/y'"
    )
    late = Path("/etc/containers/registries.conf.d/9.conf")
    drop_in = parsed(
        "unqualified-search-registries = ['e.f']\n[[registry]]\nlocation = 'a.b'\n[aliases]\n'x' = ''\n'z' = 'e.f/z'",
        late,
    )
    whole = merge([main, drop_in, parsed("")])
    assert whole.search == (("e.f",), late)
    assert (whole.mode, whole.helpers) == ("disabled", ("pass",))
    assert {prefix: rule.blocked for prefix, rule in whole.rules.items()} == {"a.b": False, "c.d": False}
    assert {name: alias.name for name, alias in whole.aliases.items()} == {"x": "", "y": "a.b/y", "z": "e.f/z"}
    assert merge([main, parsed("unqualified-search-registries = []")]).search == ((), FILE)


# prefix, reference, how much of it is covered
MATCHES = [
    ("example.com", "example.com/foo:1", 11),
    ("example.com", "example.com:5000/foo:1", None),
    ("example.com:5000", "example.com:5000/foo:1", 16),
    ("example.com/foo", "example.com/foo:1", 15),
    ("example.com/foo", "example.com/foo/bar:1", 15),
    ("example.com/foo", "example.com/foobar:1", None),
    ("example.com/foo:1", "example.com/foo:1", 17),
    ("example.com/foo:1", "example.com/foo:12", None),
    ("example.com/foo", f"example.com/foo@{DIGEST}", 15),
    ("example.com/foo:1", f"example.com/foo:1@{DIGEST}", 17),
    ("example.com", "EXAMPLE.com/foo:1", 11),
    ("docker.io/library/alpine", "alpine", 24),
    ("docker.io/alpine", "alpine", None),
    ("*.example.com", "a.example.com/foo", 13),
    ("*.example.com", "a.b.example.com:5000/foo", 15),
    ("*.example.com", "example.com/foo", None),
    ("*.example.com", "a.example.com.evil.org/foo", None),
    ("*.example.com", "a.example.com.b.example.com/foo", 27),
]


@pytest.mark.parametrize(("prefix", "reference", "covered"), MATCHES)
def test_prefixes(prefix: str, reference: str, covered: int | None) -> None:
    assert matched(prefix, parse_reference(reference)) == covered


def test_the_longest_prefix_wins() -> None:
    conf = parsed(
        "[[registry]]\nlocation='a.example.com/x'\n[[registry]]\nlocation='a.example.com'\n"
        "[[registry]]\nlocation='a.example.com/x/y'\n[[registry]]\nprefix='*.example.com'"
    )

    def prefix(name: str) -> str | None:
        rule = conf.rule_for(parse_reference(name))
        return rule.prefix if rule else None

    assert prefix("a.example.com/x/y/z") == "a.example.com/x/y"
    assert prefix("a.example.com/x/z") == "a.example.com/x"
    assert prefix("a.example.com/y") == "a.example.com"
    assert prefix("b.example.com/y") == "*.example.com"
    assert prefix("b.example.org/y") is None


# prefix, location, reference, what is made of it
REWRITES = [
    ("example.com/foo", "internal.example/bar", "example.com/foo/app:1", "internal.example/bar/app:1"),
    ("example.com", "internal.example:5000", "example.com/app", "internal.example:5000/app:latest"),
    ("example.com/foo", "internal.example/bar", f"example.com/foo@{DIGEST}", f"internal.example/bar@{DIGEST}"),
    ("example.com/foo:1", "internal.example/bar:2", "example.com/foo:1", "internal.example/bar:2"),
    ("docker.io/library", "mirror.local/hub", "busybox", "mirror.local/hub/busybox:latest"),
    ("docker.io", "mirror.local", "busybox:1", "mirror.local/library/busybox:1"),
    ("example.com/foo", "docker.io", "example.com/foo/app:1", "docker.io/library/app:1"),
    ("*.example.com", "all.local/any", "a.example.com/app:1", "all.local/any/app:1"),
    ("*.example.com", "", "a.example.com/app:1", "a.example.com/app:1"),
]


@pytest.mark.parametrize(("prefix", "location", "reference", "made"), REWRITES)
def test_rewriting(prefix: str, location: str, reference: str, made: str) -> None:
    rule = Rule(prefix, location, FILE)
    assert str(rewritten(parse_reference(reference), rule, location)) == made


@pytest.mark.parametrize("location", ["nohost", "no/host", "a.b/UPPER", "a.b/c:1"])
def test_a_location_that_makes_no_reference(location: str) -> None:
    with pytest.raises(UsageError, match=str(FILE)) as caught:
        rewritten(parse_reference("x.y/app:2"), Rule("x.y", location, FILE), location)
    assert location in caught.value.message


def read(raw: bytes) -> RegistriesConf | None:
    """What a file says; None if it is broken, which names the file."""
    said = ""
    try:
        return parse_registries_conf(raw, FILE)
    except UsageError as error:
        said = error.message
    assert said.startswith(f"registries.conf {FILE}: ")
    return None


KEYS = st.sampled_from(
    [
        *("registry", "prefix", "location", "mirror", "insecure", "blocked", "aliases", "registries", "search"),
        *("unqualified-search-registries", "short-name-mode", "credential-helpers", "pull-from-mirror"),
    ]
)
VALUES = st.recursive(
    st.one_of(
        st.sampled_from(["'a.b'", "'a.b/c'", "'*.a.b'", "''", "true", "1", "1.5", "'all'", "'x'"]),
        st.text(alphabet=st.characters(codec="utf-8"), max_size=8).map(lambda text: f'"{text}"'),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(KEYS, inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key} = {value}" for key, value in items.items()) + "}"
        ),
    ),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_stands_in_a_file_is_read_or_told(document: dict[str, str]) -> None:
    text = "\n".join(f"{key} = {value}" for key, value in document.items())
    conf = read(text.encode())
    for rule in conf.rules.values() if conf else ():
        assert rule.location or rule.prefix.startswith("*.")


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_told(raw: bytes) -> None:
    read(raw)


NAMES = st.from_regex(r"[a-z]{1,4}\.[a-z]{2,3}(:[1-9][0-9]{2})?(/[a-z]{1,3}){1,3}", fullmatch=True)


@given(NAMES, st.integers(0, 30))
def test_what_is_covered_is_the_prefix_up_to_a_separator(name: str, cut: int) -> None:
    reference = parse_reference(name)
    prefix = str(reference)[:cut]
    if prefix and matched(prefix, reference) is not None:
        assert matched(prefix, reference) == len(prefix)
        assert str(reference)[len(prefix) : len(prefix) + 1] in ("", "/", ":", "@")
        assert rewritten(reference, Rule(prefix, prefix, FILE), prefix) == reference
