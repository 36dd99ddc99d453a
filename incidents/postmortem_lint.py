"""Reading a postmortem for words that put the fault on people or claim without showing: no judgement, only findings."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from catalog.models import User
from incidents.citations import ROLES, references, section, unsupported_sentences

# Advice may stay; an error keeps a postmortem out of review unless somebody gives a reason.
ERROR, ADVICE = "error", "advice"
_PEOPLE = (
    r"(?:he|she|they|we|i|you|someone|somebody|nobody|everybody|everyone|"
    r"(?:the |our |an? |this |that )?(?:on-?call|engineers?|operators?|developers?|responders?|approvers?|admins?|"
    r"authors?|reviewers?|commander|owner|team|teams|person|people|staff|employees?|users?|data scientists?|vendor))"
)


@dataclass(frozen=True)
class Finding:
    """One place that an editor should look at. Lines and columns count from 1."""

    line: int
    column: int
    code: str
    severity: str
    message: str
    fix: str

    def data(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Rule:
    """A pattern and what to say about it."""

    code: str
    pattern: re.Pattern[str]
    message: str
    fix: str
    severity: str = ERROR


def _rule(code: str, pattern: str, message: str, fix: str, severity: str = ERROR) -> Rule:
    return Rule(code, re.compile(pattern, re.IGNORECASE), message, fix, severity)


# Sources: the language rules of published practice (Google's SRE book, PagerDuty's and Etsy's guides).
RULES = [
    _rule(
        "PM01",
        r"\b(?:blam(?:e|ed|es|ing)|at fault|culprits?|careless(?:ly|ness)?|negligen(?:t|ce|tly)|incompeten(?:t|ce)|"
        r"lazy|sloppy|stupid(?:ly)?|reckless(?:ly)?|screw(?:ed)? up|mess(?:ed)? up|"
        r"(?:his|her|their|whose) (?:own )?(?:fault|mistake))\b",
        "“{0}” judges a person.",
        "Say what happened, what was visible then, and what made the act reasonable.",
    ),
    _rule(
        "PM02",
        r"\b(?:should|could|would|ought to|might)(?:\s+not|n't)?\s+(?:easily\s+|simply\s+|just\s+)?have(?:\s+\w+)?\b|"
        r"\bif only\b",
        "“{0}” tells of something that did not happen.",
        "Write what happened instead, and put the wish into an action item.",
    ),
    _rule(
        "PM02",
        rf"\b{_PEOPLE}(?:\s+\w+ly)?\s+"
        r"(?:failed to|fail to|neglected to|forgot(?:ten)? to|did not|didn't|never|missed)\b",
        "“{0}” tells what a person left undone.",
        "Write what the person saw and did, and what the system showed at that moment.",
    ),
    _rule(
        "PM03",
        r"\b(?:obvious(?:ly)?|clearly|of course|trivial(?:ly)?|ridiculous(?:ly)?|disastrous(?:ly)?|unacceptabl[ey]|"
        r"inexcusabl[ey]|terribl[ey]|horribl[ey]|embarrassing(?:ly)?|inadequate(?:ly)?|easily|simply|common sense|"
        r"poor(?:ly)? (?:judge?ment|decision|choice))\b|!!+",
        "“{0}” is a judgement, not an observation.",
        "Leave it out, or give the number that it stands for.",
    ),
    _rule(
        "PM04",
        r"\b(?:human|operator|user|pilot|manual|engineer(?:'s)?|people) errors?\b|\bfat[- ]finger(?:ed)?\b|"
        r"\b(?:lack of|insufficient|poor) (?:attention|training|care|discipline|diligence|awareness)\b",
        "“{0}” ends the search where it begins.",
        "Ask what made the act possible and sensible: the screen, the missing check, the pressure of time.",
    ),
    _rule(
        "PM06",
        r"(?<!how )\b(?:many|most|some|several|numerous|a (?:lot|number|handful) of|few|countless|significant(?:ly)?|"
        r"massive(?:ly)?|hug(?:e|ely)|large (?:number|share|part) of|the majority of)\s+(?:of\s+)?(?:the\s+|our\s+)?"
        r"(?:users?|customers?|requests?|tenants?|answers?|calls?|outputs?|queries|sessions?|traffic|errors?|slices?|"
        r"cases?)\b",
        "“{0}” states an extent without its number.",
        "Write n of N, or “unknown” and who was asked.",
    ),
    _rule(
        "PM07",
        r"\b(?:worked|works|performed|behaved) (?:as (?:designed|intended|expected)),? "
        r"(?:but|except|had it not|if not)\b|"
        r"\bbut for the (?:people|operators?|engineers?|on-?call)\b",
        "“{0}” says that the system works if only people would not disturb it.",
        "Describe people and system together: what did each show to the other?",
    ),
    _rule(
        "PM08",
        rf"\b(?:why (?:did|didn't|was|were|wasn't|weren't) {_PEOPLE}|"
        r"who (?:did|made|broke|caused|forgot|approved|deployed|pushed|merged|changed))\b",
        "“{0}” asks for a culprit.",
        "Ask with how or what: “What made … look right at that moment?”",
    ),
    _rule(
        "PM11",
        r"\b(?:root cause was|the root cause is|single root cause)\b",
        "“{0}”: one root cause is seldom the whole story.",
        "Name the conditions that came together; the whys have room for several.",
        ADVICE,
    ),
]
_EXEMPT = re.compile(r"^\s*(```|~~~)")
_QUOTED = re.compile(r"“[^”]*”|«[^»]*»|\"[^\"\n]*\"|`[^`\n]*`|(?m:^\s*>.*$)")
_TABLE_ROW = re.compile(r"^\s*\|")
_CAUSAL = (
    r"(?:caused|broke|deployed|pushed|merged|changed|approved|deleted|forgot|failed|missed|ignored|introduced|disabled|"
    r"rolled|released|shipped|configured|wrote|was|is|did|didn't|had|should|could|would)"
)


def findings(text: str, *, names: Iterable[str] | None = None) -> list[Finding]:
    """What an editor should look at, in order of place. `names` are people's names; default: everybody known here.

    Words inside quotations and code are somebody's own: they are advice there. Code blocks are left alone.
    """
    place = _Places(text)
    found = list(_by_rules(text, place))
    found += _by_names(text, place, known_names() if names is None else names)
    found += _structure(text, place)
    return sorted(set(found), key=lambda one: (one.line, one.column, one.code))


def blocking(found: Iterable[Finding]) -> list[Finding]:
    """Those that keep a postmortem out of review."""
    return [one for one in found if one.severity == ERROR]


def known_names() -> list[str]:
    """Full names and user names of everybody here."""
    rows = User.objects.values_list("full_name", "username")
    return sorted({name for pair in rows for name in pair if len(name) > 2})


class _Places:
    """Where an offset is, and whether it stands inside a quotation, code or a table."""

    def __init__(self, text: str) -> None:
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.quoted = [match.span() for match in _QUOTED.finditer(text)]
        self.code: list[tuple[int, int]] = []
        self.rows: set[int] = set()
        opened: int | None = None
        for number, line in enumerate(text.split("\n")):
            start = self.starts[number]
            if _TABLE_ROW.match(line):
                self.rows.add(number + 1)
            if _EXEMPT.match(line):
                if opened is None:
                    opened = start
                else:
                    self.code.append((opened, start + len(line)))
                    opened = None
        if opened is not None:
            self.code.append((opened, len(text)))

    def of(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1."""
        line = bisect_right(self.starts, offset)
        return line, offset - self.starts[line - 1] + 1

    def is_code(self, offset: int) -> bool:
        return any(begin <= offset < end for begin, end in self.code)

    def is_quoted(self, offset: int) -> bool:
        return any(begin <= offset < end for begin, end in self.quoted)


def _by_rules(text: str, place: _Places) -> Iterator[Finding]:
    for rule in RULES:
        for match in rule.pattern.finditer(text):
            yield from _found(rule, match, place)


def _found(rule: Rule, match: re.Match[str], place: _Places) -> Iterator[Finding]:
    if place.is_code(match.start()):
        return
    line, column = place.of(match.start())
    message = rule.message.format(" ".join(match.group().split()))
    if place.is_quoted(match.start()):
        fix = "Inside a quotation: keep it only if these are the exact words and they matter."
        yield Finding(line, column, rule.code, ADVICE, message, fix)
    else:
        yield Finding(line, column, rule.code, rule.severity, message, rule.fix)


def _by_names(text: str, place: _Places, names: Iterable[str]) -> Iterator[Finding]:
    """A name as the subject of an act; tables (owners) and quotations may name people."""
    known = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name.strip())
    if not known:
        return
    # Case counts: the user name "mark" is not the verb.
    pattern = re.compile(rf"(?<![\w@.])({known})(?:'s)?(?:\s+\w+ly)?\s+{_CAUSAL}\b")
    rule = Rule(
        "PM05",
        pattern,
        "“{0}” makes a person the subject of a cause.",
        f"Name the role: {', '.join(role.lower() for role in ROLES[:4])} …",
    )
    for match in pattern.finditer(text):
        if place.of(match.start())[0] not in place.rows:
            yield from _found(rule, match, place)


def _structure(text: str, place: _Places) -> Iterator[Finding]:
    """What is missing as a whole."""
    whys = section(text, "Five whys")
    if whys is not None and not re.search(r"(?<!\\)\[E\d+\]", whys):
        heading = re.search(r"(?im)^#{1,6}\s+five whys", text)
        line, column = place.of(heading.start() if heading else 0)
        yield Finding(
            line,
            column,
            "PM09",
            ERROR,
            "The five whys cite no evidence.",
            "Cite at least one number such as [E12], or measure first.",
        )
    # A text that cites nothing at all comes from elsewhere, where there is nothing to cite.
    for sentence in dict.fromkeys(unsupported_sentences(text) if references(text) else []):
        offset = text.find(sentence[:40])
        line, column = place.of(max(offset, 0))
        yield Finding(
            line,
            column,
            "PM10",
            ADVICE,
            f"“{sentence[:80]}” shows no evidence.",
            "End it with [E12] or [T7], or make it a question to a role.",
        )
