"""The evaluation set of 900 items, and what each version answers to them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from drills.scenario import QUERY_TYPES, VERSIONS, stream

ITEMS_PER_TYPE = 180
_LANGUAGES = ("en", "en", "en", "de", "fr")
_TEMPLATES = {
    "lookup": ("What is the refund window of plan {a}?", "{b} days"),
    "summary": ("How many open points does report {a} list?", "{b} points"),
    "compare": ("By how much is tariff {a} dearer than tariff {b}?", "{c} euros"),
    "howto": ("Which menu number resets device {a} to factory state?", "menu {b}"),
    "multi_hop": ("Who approves orders of the team that owns product {a}?", "approver {b}"),
}
# Share of items on which two good versions differ by chance alone.
_FLICKER = 0.04


@dataclass(frozen=True)
class Item:
    """One question with its expected answer and what slices are made of."""

    item: str
    input: str
    expected: str
    query_type: str
    language: str

    def line(self) -> str:
        """The item as a line of JSONL."""
        return json.dumps(
            {
                "item": self.item,
                "input": self.input,
                "expected": self.expected,
                "attributes": {"query_type": self.query_type, "language": self.language},
            }
        )


@lru_cache(maxsize=4)
def items(seed: int) -> dict[str, Item]:
    """The evaluation set of a seed, by item name, in order."""
    found: dict[str, Item] = {}
    for query_type in QUERY_TYPES:
        for _ in range(ITEMS_PER_TYPE):
            number = len(found) + 1
            rng = stream(seed, "item", number)
            values = {"a": rng.randint(10, 99), "b": rng.randint(2, 60), "c": rng.randint(3, 80)}
            question, expected = _TEMPLATES[query_type]
            name = f"rc-{number:04d}"
            found[name] = Item(
                name, question.format(**values), expected.format(**values), query_type, rng.choice(_LANGUAGES)
            )
    return found


@lru_cache(maxsize=16)
def _luck(seed: int, version: str) -> dict[str, tuple[float, float]]:
    """Per item: how hard it is for this version (0 easy), and a draw that decides whether a defect hits it."""
    found = {}
    for number, name in enumerate(items(seed), start=1):
        rng = stream(seed, f"answer/{version}", number)
        flickers, own, defect = rng.random() < _FLICKER, rng.random(), rng.random()
        # Versions share most of an item's difficulty; that is what makes pairing worth while.
        found[name] = (own if flickers else stream(seed, "difficulty", number).random(), defect)
    return found


def answer(seed: int, version: str, item: Item, loss: float) -> str:
    """What that version answers; `loss` is the share of right answers that a defect takes from this query type."""
    accuracy = QUERY_TYPES[item.query_type][1]
    hardness, defect = _luck(seed, version)[item.item]
    if hardness >= accuracy or defect < loss / accuracy:
        return "I could not find that in the documents."
    return item.expected


def scores(seed: int, version: str, loss: dict[str, float]) -> dict[str, float]:
    """Share of right answers of a version by query type."""
    right = dict.fromkeys(QUERY_TYPES, 0)
    for item in items(seed).values():
        right[item.query_type] += answer(seed, version, item, loss.get(item.query_type, 0.0)) == item.expected
    return {query_type: count / ITEMS_PER_TYPE for query_type, count in right.items()}


def known(version: str) -> bool:
    """Whether that version can be asked."""
    return version in VERSIONS
