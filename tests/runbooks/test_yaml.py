"""What YAML is read and what is refused, with its place (attacks Y1 to Y7 of the design)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import yaml
from common.yaml import YamlFaults
from tests.factories_language import ends_within


def faults(text: str) -> list[tuple[str, int]]:
    """Code and line of every fault."""
    with pytest.raises(YamlFaults) as caught:
        yaml.read(text, file="x.yaml")
    return [(finding.code, finding.line) for finding in caught.value.findings]


def one(text: str) -> object:
    return yaml.read(f"a: {text}", file="x.yaml").data["a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("1.10", 1.1),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("on", "on"),
        ("no", "no"),
        ("True", "True"),
        ("012", "012"),
        ("0x1f", "0x1f"),
        ("24:00", "24:00"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1e999", "1e999"),
        ("9" * 5000, "9" * 5000),
        ("1_000", "1_000"),
        ("'7'", "7"),
        ('"true"', "true"),
        ("e5", "e5"),
        ("+", "+"),
    ],
)
def test_it_reads_core_scalars_and_leaves_the_rest_as_text(text: str, value: object) -> None:
    read = one(text)
    assert read == value
    assert type(read) is type(value)


def test_it_knows_the_place_of_every_key_and_value() -> None:
    document = yaml.read("a: 1\nb:\n  - x: 2\n    y: [3, 4]\n", file="x.yaml")
    assert document.data == {"a": 1, "b": [{"x": 2, "y": [3, 4]}]}
    assert document.position(("b", 0, "y", 1)) == (4, 12)
    assert document.key_position(("b", 0, "y")) == (4, 5)
    assert document.position(("b", 0, "missing")) == (3, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Tags (Y1).
        ('a: !!python/object/apply:os.system ["id"]', [("RB073", 1)]),
        ("a: !mine 1", [("RB073", 1)]),
        ("a: !!binary aGk=", [("RB073", 1)]),
        ("a: !!set {x, y}", [("RB073", 1)]),
        ("a: !!str 1", [("RB073", 1)]),
        # Anchors and aliases (Y2).
        ("a: &x 1\nb: 2", [("RB072", 1)]),
        ("a: &x [1]\nb: *x", [("RB072", 1), ("RB072", 2)]),
        # Merge keys (Y3).
        ("a:\n  <<: {b: 1}", [("RB074", 2)]),
        # Duplicates (Y5).
        ("a: 1\nb: 2\na: 3", [("RB071", 3)]),
        ("a: {x: 1, x: 2}", [("RB071", 1)]),
        # Other documents, characters and keys (Y7).
        ("a: 1\n---\nb: 2", [("RB075", 2)]),
        ("\ufeffa: 1", [("RB081", 1)]),
        ("a: 1\nb: \0", [("RB081", 2)]),
        ("a:\n\tb: 1", [("RB081", 2)]),
        ("1: x", [("RB082", 1)]),
        ("true: x", [("RB082", 1)]),
        ("? [a, b]\n: 1\nc: 2", [("RB082", 1)]),
        ("? {a: {b: c}}\n: 1", [("RB082", 1)]),
        ("", [("RB083", 1)]),
        ("# nothing", [("RB083", 1)]),
        ("%YAML 1.1\n---\na: 1", [("RB084", 2)]),
        ("a: [1", [("RB070", 1)]),
        ("a: 'x", [("RB070", 1)]),
        ("a: b: c", [("RB070", 1)]),
        ("\ud800: 1", [("RB081", 1)]),
    ],
)
def test_it_refuses_what_is_ambiguous_or_dangerous(text: str, expected: list[tuple[str, int]]) -> None:
    assert faults(text) == expected


def test_it_names_both_lines_of_a_duplicate_key() -> None:
    with pytest.raises(YamlFaults) as caught:
        yaml.read("a: 1\nb: 2\na: 3", file="x.yaml")
    assert "line 1 and again on line 3" in caught.value.sentence
    assert caught.value.extra["findings"]


def test_it_lists_every_fault() -> None:
    assert faults("a: &x 1\nb: !t 2\na: 3\n4: 5") == [("RB072", 1), ("RB073", 2), ("RB071", 3), ("RB082", 4)]


BOMBS = {
    "flow lists": "[\n" * 100_000,
    "flow lists on one line": "[" * 8_000,
    "block maps": "\n".join(" " * depth + "a:" for depth in range(700)),
    "question marks": "? " * 4_000,
    "dashes": "- " * 4_000,
    "many parts": "- 1\n" * 11_000,
    "items": ("x," * 4_000 + "\n") * 12,
    "long line": "a: " + "x" * 200_000,
    "tag": "!" * 250_000,
    "quoted": 'a: "' + "x " * 4_000 + ("\n" + "y " * 4_000) * 30,
    "comments": "#\n" * 120_000,
    "too big": "a: " + "x" * 300_000,
    "colons": ": " * 4_000,
    "merge": "a: &a {x: 1}\nb: &b {<<: [" + "*a, " * 20 + "*a]}\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_it_ends_soon_whatever_it_is_given(name: str) -> None:
    with ends_within(2), contextlib.suppress(YamlFaults):
        yaml.read(BOMBS[name], file="x.yaml")


def test_it_allows_32_levels_and_not_33() -> None:
    assert yaml.read("[" * 32 + "]" * 32, file="x.yaml").data
    assert faults("[" * 33 + "]" * 33) == [("RB080", 1)]


@pytest.mark.parametrize("raw", [b"\xff\xfea\x00", b"a: \xc3\x28"])
def test_it_refuses_bytes_that_are_not_utf8(raw: bytes) -> None:
    with pytest.raises(YamlFaults, match="UTF-8"):
        yaml.decode(raw, file="x.yaml")


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab:-?[]{},&*!|>'\"%#\n \t1.~<\\", max_size=60))
def test_it_never_raises_anything_but_faults(text: str) -> None:
    with contextlib.suppress(YamlFaults):
        assert yaml.read(text, file="x.yaml").position(()) >= (1, 1)
