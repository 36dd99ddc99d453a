"""The linter's rules, each with what it must find and what it must leave alone."""

from __future__ import annotations

import pytest

from common.markdown import to_html
from incidents import citations, postmortem_lint

NAMES = ["Dana Doe", "dana", "mark"]
FAULTS = [
    ("PM01", "The careless change broke it [E1]."),
    ("PM01", "It was their own fault [E1]."),
    ("PM02", "The gate should have stopped it [E1]."),
    ("PM02", "It couldn't have passed [E1]."),
    ("PM02", "If only the alert had rung [E1]."),
    ("PM02", "The on-call failed to notice it [E1]."),
    ("PM02", "They did not look [E1]."),
    ("PM03", "Obviously the version was bad [E1]."),
    ("PM03", "The fix worked!! [E1]"),
    ("PM04", "The cause was human error [E1]."),
    ("PM04", "Lack of training played a part [E1]."),
    ("PM05", "Dana Doe deployed v43 [E1]."),
    ("PM05", "Then dana quickly changed the flag [E1]."),
    ("PM06", "Many users saw errors [E1]."),
    ("PM06", "A significant traffic share moved [E1]."),
    ("PM07", "The system worked as designed, but the people slipped [E1]."),
    ("PM08", "**On-call:** why did the engineer approve it?"),
    ("PM08", "**On-call:** who deployed it?"),
    ("PM09", "## Five whys\n\nIt was detected late [T1].\n"),
    ("PM10", "It fell [E1]. It got better."),
    ("PM11", "The root cause was v43 [E1]."),
]
FINE = [
    "The job failed to start [E1].",
    "A postmortem from elsewhere. It cites nothing.",
    "The metric did not move [E2].",
    "412 of 9,000 users saw errors [E1].",
    "They mark it as done [T1].",
    "The on-call approved the rollback [T3].",
    "| Alert on it | Dana Doe was asked | [E1] |",
    "```\nthe operator should have known\n```\n",
    "## Five whys\n\nAccuracy fell to 0.78 [E1].\n",
    "**Service owner:** what stands between a change and the users?",
]


@pytest.mark.parametrize(("code", "text"), FAULTS)
def test_it_finds(code: str, text: str) -> None:
    found = postmortem_lint.findings(text, names=NAMES)
    assert [one.code for one in found] == [code]
    assert all(one.message and one.fix for one in found)


@pytest.mark.parametrize("text", FINE)
def test_it_leaves_alone(text: str) -> None:
    assert postmortem_lint.findings(text, names=NAMES) == []


def test_it_only_advises_inside_quotations() -> None:
    (found,) = postmortem_lint.findings("The chat says “we should have rolled back” [E1].", names=NAMES)
    assert found.severity == postmortem_lint.ADVICE


def test_it_only_advises_inside_the_quotation_of_an_approval() -> None:
    (found,) = postmortem_lint.findings("The on-call approved it: «obviously right» [E1].", names=NAMES)
    assert found.severity == postmortem_lint.ADVICE


def test_it_says_where() -> None:
    (found,) = postmortem_lint.findings("Fine [E1].\n\nAll of it was sloppy [E1].", names=NAMES)
    assert (found.line, found.column) == (3, 15)


def test_it_links_what_is_cited() -> None:
    text = "It fell [E1] [T12]. Not \\[E2\\], `a[E3]`, [E4](/x).\n\n```\nb[E5]\n```\n"
    page = to_html(citations.linked(text, 42))
    assert '<a href="/incidents/42/evidence/1" rel="noopener noreferrer nofollow">[E1]</a>' in page
    assert 'href="/incidents/42#t-12"' in page
    assert page.count("/incidents/42") == 2
    assert "<code>a[E3]</code>" in page


@pytest.mark.parametrize(
    "text",
    [
        "It fell [E1]. Then it rose [T2].",
        "It fell. [E1] [E2]",
        "**Service owner:** what next? And what then?",
        "Note by the responder: “First. Second. Third” [T4].",
        "# A heading\n\n<!-- a remark -->\n\n---\n",
        "| A | B |\n|---|---|\n| x | [E1] |\n",
    ],
)
def test_it_takes_as_supported(text: str) -> None:
    assert citations.unsupported_sentences(text) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("It fell. It rose [E1].", "It fell."),
        ("- It fell\n- It rose [E1]", "It fell"),
        ("What now?", "What now?"),
        ("It cites \\[E1\\].", "It cites \\[E1\\]."),
        ("It links [E1](http://x.test).", "It links [E1](http://x.test)."),
        ("| A |\n|---|\n| x |", "x"),
    ],
)
def test_it_takes_as_unsupported(text: str, sentence: str) -> None:
    assert citations.unsupported_sentences(text) == [sentence]
