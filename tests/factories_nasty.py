"""Text that breaks pages: markup that wants to run, words without end, letters that turn the line round.

`spoil` writes it into every text of a team's rows that a person or a sender may choose.
"""

from __future__ import annotations

from django.apps import apps
from django.db import models

from incidents.append_only import TABLES

# Calls what a test listens for, or fetches from elsewhere, if any of it gets through.
SCRIPTS = (
    '"><script>hacked()</script>',
    '"><img src=//evil.test/x onerror=hacked()>',
    "<svg onload=hacked()><style>*{background:url(//evil.test/y)}</style></svg>",
    '<math><mglyph><style><!--</style><img title="--><img src=x onerror=hacked()>">',
    "[x](javascript:hacked()) [y](JaVaScRiPt&#58;hacked()) ![z](//evil.test/z)",
    '<a href="data:text/html,<script>hacked()</script>" hx-get="/logout" hx-trigger="load" onclick=hacked()>go</a>',
    "{{ 7 * 7 }} {% raw %} ${7*7} #{7*7}",
)
RTL = "\u202eمحرر\u202d اختبار טקסט"
MARKS = "Z" + "\u0301\u0335\u0489" * 40
ZERO_WIDTH = "wo\u200brd\u200d\ufeff\u2060"
LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitaen" * 12
# For forms; what is stored forever holds fewer.
MANY_MARKS = "Z" + "\u0301" * 10_000

_FREE = {
    "acknowledged_by", "answer", "asked", "author", "body", "closing_check", "declared_by", "description",
    "environment", "error", "full_name", "health", "label", "last_error", "message", "name", "note", "pending_note",
    "reason", "recipient", "saved_by", "service_name", "started_by", "stop_reason", "subject", "summary", "title",
    "text",
    "trigger_reason", "warning",
}  # fmt: skip
# Their texts are keys, or are read by the engine.
_KEYS = {"Signal", "Picture", "Secret", "Worker", "Revision", "LoginLink", "Attempt", "Case", "Evaluation"}
_ROOMS = ("catalog", "incidents", "runbooks", "evaluations")


def nasty(length: int | None, number: int) -> str:
    """As much as fits: each field begins with another piece, so that short ones differ."""
    pieces = (*SCRIPTS, LONG_WORD, RTL, MARKS, ZERO_WIDTH)
    turn = number % len(pieces)
    return " ".join([*pieces[turn:], *pieces[:turn]])[: (length or 4000) - 8] + f" {number}"


def spoil() -> int:
    """Every free text of every row; how many were written."""
    count = 0
    for model in apps.get_models():
        if model._meta.app_label not in _ROOMS or model.__name__ in _KEYS or model._meta.db_table in TABLES:
            continue
        texts = [
            field
            for field in model._meta.concrete_fields
            if isinstance(field, models.CharField | models.TextField) and field.name in _FREE and not field.choices
        ]
        for pk in model._default_manager.values_list("pk", flat=True) if texts else ():
            words = {field.name: nasty(field.max_length, count + index) for index, field in enumerate(texts)}
            count += len(words)
            model._default_manager.filter(pk=pk).update(**words)
    return count
