"""A postmortem's text as sections and blocks, and a new draft brought into an edited one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from incidents import postmortem_text as texts

DRAFT = """# INC-1: x

## Facts

| Fact | Value |
|---|---|
| Began | 03:00 |
| Ended | 03:40 |

## Summary

It fell [E1]. It rose [E2].

**On-call:** and then?

## Timeline (UTC)

- **03:00** A [T1].
- **03:10** B [T2].
"""
_LINES = st.lists(
    st.sampled_from(
        [
            "",
            "a b",
            "- item",
            "  more",
            "| x | y |",
            "|---|---|",
            "```",
            "## Summary",
            "## Own words",
            "### s",
            "1. n",
            "# t",
        ]
    ),
    max_size=30,
)


@given(_LINES)
def test_cutting_loses_nothing(lines: list[str]) -> None:
    text = "\n".join([*lines, ""])
    document = texts.parse(text)
    assert document.render() == text
    assert len({one.key for one in document.sections}) == len(document.sections)
    for section in document.sections:
        assert "".join(texts.blocks(section.text)) == section.text


@given(_LINES, _LINES, _LINES)
def test_merging_keeps_every_edited_block(base: list[str], ours: list[str], theirs: list[str]) -> None:
    old, mine, new = ("# t\n\n## Summary\n\n" + texts.demoted("\n".join(lines)) for lines in (base, ours, theirs))
    merged, _ = texts.merge(base=old, ours=mine, theirs=new)
    drafted = texts.machine_blocks(old)
    written = [block.strip() for block in texts.blocks(texts.parse(mine).text_of("summary"))]
    for block in written:
        if texts.fingerprint(block) not in drafted:
            assert block in merged


def test_it_cuts_items_and_rows_apart() -> None:
    document = texts.parse(DRAFT)
    assert [one.key for one in document.sections] == ["facts", "summary", "timeline"]
    rows = texts.blocks(document.text_of("facts"))
    assert rows == ["| Fact | Value |\n|---|---|\n", "| Began | 03:00 |\n", "| Ended | 03:40 |"]
    assert len(texts.blocks(document.text_of("timeline"))) == 2
    assert texts.blocks("- a\n  b\n\n  c\n- d") == ["- a\n  b\n\n  c\n", "- d"]


def test_it_puts_a_missing_section_where_it_belongs() -> None:
    body = texts.parse(DRAFT).with_text("impact", "412 users [E3].").render()
    assert [one.key for one in texts.parse(body).sections] == ["facts", "summary", "impact", "timeline"]
    assert "**On-call:** and then?\n\n## Impact\n\n412 users [E3].\n\n## Timeline" in body


def test_untouched_words_follow_the_evidence_and_edited_ones_stay() -> None:
    mine = DRAFT.replace("It fell [E1]. It rose [E2].", "We saw it fall [E1].").replace(
        "| Ended | 03:40 |", "| Ended | 3:41 |"
    )
    new = DRAFT.replace("It rose [E2].", "It rose to 0.9 [E2] [E3].").replace("| Began | 03:00 |", "| Began | 02:58 |")
    new = new.replace("- **03:10** B [T2].", "- **03:05** C [T3].\n- **03:10** B [T2].")
    merged, offers = texts.merge(base=DRAFT, ours=mine, theirs=new)
    assert "We saw it fall [E1]." in merged
    assert "| Began | 02:58 |\n| Ended | 3:41 |" in merged
    assert "- **03:00** A [T1].\n- **03:05** C [T3].\n- **03:10** B [T2].\n" in merged
    assert offers == [texts.Offer("summary", "We saw it fall [E1].", "It fell [E1]. It rose to 0.9 [E2] [E3].")]


def test_nothing_moves_where_somebody_writes() -> None:
    new = DRAFT.replace("A [T1]", "A was seen [T1]")
    merged, offers = texts.merge(base=DRAFT, ours=DRAFT, theirs=new, held=["timeline"])
    assert merged == DRAFT
    assert offers == [texts.Offer("timeline", "- **03:00** A [T1].", "- **03:00** A was seen [T1].")]


def test_a_section_taken_out_stays_out() -> None:
    mine = DRAFT.partition("## Timeline")[0]
    assert texts.merge(base=DRAFT, ours=mine, theirs=DRAFT) == (mine, [])
    _, offers = texts.merge(base=DRAFT, ours=mine, theirs=DRAFT.replace("B [T2]", "C [T3]"))
    assert [(one.section, one.current) for one in offers] == [("timeline", "")]


def test_an_offer_goes_in_place_of_its_words_or_to_the_end() -> None:
    assert texts.replaced("a\n\nb\n\nc", "b", "B") == "a\n\nB\n\nc"
    assert texts.replaced("a\n\nx", "b", "B") == "a\n\nx\n\nB"
    assert texts.replaced("- a\n- x", "- b", "- B") == "- a\n- x\n- B"


def test_it_shows_runs_of_one_provenance() -> None:
    text = texts.parse(DRAFT).text_of("summary") + "\n\nMine.\n\nMine too."
    drafted, authors = texts.machine_blocks(DRAFT), {texts.fingerprint("Mine."): ["Dana", "1"]}
    authors[texts.fingerprint("Mine too.")] = ["Dana", "2"]
    found = texts.pieces(text, drafted=drafted, authors=authors)
    assert [(one.author, one.at) for one in found] == [("", ""), ("Dana", "2")]
    table = texts.parse(DRAFT).text_of("facts") + "\n| New | 1 |"
    (whole,) = texts.pieces(table, drafted=drafted, authors={texts.fingerprint("| New | 1 |"): ["Ali", "1"]})
    assert (whole.author, whole.more) == ("", "1 row edited by Ali")
