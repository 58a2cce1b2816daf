"""YAML with places: the same by both of PyYAML's readers, bounded, and nothing is constructed from it."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Iterator

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import HostError
from polyarch.lock.named import Fault
from polyarch.lock.yaml_nodes import MAX_DEPTH, Mapping, Node, Scalar, Sequence, documents


@pytest.fixture(params=["C", "Python"])
def _reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    elif not hasattr(yaml, "CSafeLoader"):
        pytest.skip("this PyYAML has no libyaml")


def scalars(node: Node) -> Iterator[Scalar]:
    match node:
        case Scalar():
            yield node
        case Sequence():
            for each in node.items:
                yield from scalars(each)
        case Mapping():
            for key, value in node.pairs:
                yield from scalars(key)
                yield from scalars(value)


TEXT = """\
# ünï 🐳
plain: a b # c
'single': 'it''s'
double: "x\\n"
tagged: !!str 5
anchored: &here
  there
list: [one, {two: three},
  "four"]
---
again: !t &a v
block: |
  lines
  more
"""


@pytest.mark.usefixtures("_reader")
@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_each_scalar_knows_its_characters(ends: str) -> None:
    text = TEXT.replace("\n", ends)
    found = [
        (each.text, text[each.start : each.end].replace("\r", ""), each.line)
        for root in documents(text)
        for each in scalars(root)
    ]
    assert found == [
        ("plain", "plain", 2),
        ("a b", "a b", 2),
        ("single", "'single'", 3),
        ("it's", "'it''s'", 3),
        ("double", "double", 4),
        ("x\n", '"x\\n"', 4),
        ("tagged", "tagged", 5),
        ("5", "5", 5),
        ("anchored", "anchored", 6),
        ("there", "there", 7),
        ("list", "list", 8),
        ("one", "one", 8),
        ("two", "two", 8),
        ("three", "three", 8),
        ("four", '"four"', 9),
        ("again", "again", 11),
        ("v", "v", 11),
        ("block", "block", 12),
        ("lines\nmore\n", "|\n  lines\n  more\n", 12),
    ]


def only(text: str) -> Mapping:
    (root,) = documents(text)
    assert isinstance(root, Mapping)
    return root


def test_merge_keys_bring_what_is_not_there() -> None:
    root = only("a: &a {x: 1, y: 1}\nb: &b {<<: *a, y: 2, z: 2}\nc: {<<: [{x: 3}, *b], w: 3}\nd: {'<<': *a}\n")
    entries = root.entries()

    def of(name: str) -> dict[str, str]:
        node = entries[name]
        assert isinstance(node, Mapping)
        return {key: value.text for key, value in node.entries().items() if isinstance(value, Scalar)}

    assert of("b") == {"x": "1", "y": "2", "z": "2"}
    assert of("c") == {"w": "3", "x": "3", "y": "2", "z": "2"}
    assert of("d") == {}


def test_an_alias_that_leads_to_itself_ends() -> None:
    assert only("a: &a {<<: *a, x: 1}").entries().keys() == {"a"}
    inner = only("a: &a {<<: *a, x: 1}").entries()["a"]
    assert isinstance(inner, Mapping)
    assert inner.entries().keys() == {"x"}


@pytest.mark.usefixtures("_reader")
def test_a_bomb_of_aliases_stays_small() -> None:
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 60)]
    root = only("\n".join(["l0: &l0 lol", *levels]))
    assert len(root.pairs) == 60
    merges = [f"m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9)}]}}" for i in range(1, 60)]
    bomb = only("\n".join(["m0: &m0 {x: 1}", *merges])).entries()["m59"]
    assert isinstance(bomb, Mapping)
    assert bomb.entries().keys() == {"x"}


@pytest.mark.usefixtures("_reader")
@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("a: 1\nb: [" + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "]", 2, id="deep"),
        pytest.param("[" * 5000, 1, id="deeper"),
        pytest.param("a: 1\nb: *c\n", 2, id="no-anchor"),
        pytest.param("a: &a 1\n---\nb: *a\n", 3, id="anchor-of-another-document"),
        pytest.param("a: 1\nb: {\nc\n", 4, id="open"),
        pytest.param("a: 1\n\tb: 2\n", 2, id="tab"),
        pytest.param("a: 1\nb: \x07\n", 2, id="control"),
        pytest.param("%YAML 9.0\n---\na\n", 1, id="version"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(text: str, line: int) -> None:
    with pytest.raises(Fault) as caught:
        documents(text)
    assert caught.value.line == line


def test_templates_are_told_as_such() -> None:
    with pytest.raises(Fault) as caught:
        documents("a:\n  image: {{ .Values.image }}:1\n")
    assert "helm template" in (caught.value.hint or "")


def test_tags_construct_nothing() -> None:
    root = only("a: !!python/object/apply:os.system ['exit 1']\n")
    assert isinstance(root.entries()["a"], Sequence)


@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"#%\n ,<?"), max_size=40))
def test_no_text_upsets_it(text: str) -> None:
    with contextlib.suppress(Fault):
        documents(text)


def test_without_pyyaml_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: object) -> object:
        if name == "yaml":
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(HostError, match="PyYAML") as caught:
        documents("a: 1")
    assert "polyarch[compose]" in (caught.value.hint or "")
