"""Texts that attack the loader (Y1 to Y8 of the promises) and the expressions (T1 to T5), by name."""

from __future__ import annotations

from tests.factories_language import RUNBOOK

HEAD = RUNBOOK[: RUNBOOK.index("phases:")]
_LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
_MERGES = "m0: &m0 {x: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 20)}]}}\n" for n in range(1, 7))
# What is wrong with the text, and one of the codes that must say so.
YAML: dict[str, tuple[str, str]] = {
    "Y1 object": (HEAD + 'x: !!python/object/apply:os.system ["id"]\n', "RB073"),
    "Y1 own tag": (HEAD + "x: !mine 1\n", "RB073"),
    "Y1 binary": (HEAD + "x: !!binary aGk=\n", "RB073"),
    "Y1 set": (HEAD + "x: !!set {a, b}\n", "RB073"),
    "Y2 laughs": (HEAD + _LAUGHS, "RB072"),
    "Y3 merges": (HEAD + _MERGES, "RB074"),
    "Y4 brackets": (HEAD + "x: " + "[\n" * 10_000, "RB080"),
    "Y4 brackets, too many": (HEAD + "x: " + "[\n" * 100_000, "RB079"),
    "Y4 deep map": (HEAD + "\n".join(" " * depth + "a:" for depth in range(600)), "RB080"),
    "Y4 deep map, too big": (HEAD + "\n".join(" " * depth + "a:" for depth in range(3_000)), "RB079"),
    "Y4 questions": (HEAD + "? " * 4_000, "RB080"),
    "Y4 dashes": (HEAD + "- " * 4_000, "RB070"),
    "Y5 twice": (HEAD.replace("title: A", "title: B\ntitle: A"), "RB071"),
    "Y6 digits": (HEAD.replace("spec: 1", "spec: " + "9" * 5_000), "RB001"),
    "Y6 octal": (HEAD.replace("spec: 1", "spec: 017"), "RB001"),
    "Y6 infinity": (HEAD.replace("first: {fail: 3", "first: {fail: .inf"), "RB021"),
    "Y6 no": (HEAD.replace("{type: string, default: hello}", "{type: boolean, default: no}"), "RB012"),
    "Y7 documents": (HEAD + "---\nspec: 1\n", "RB075"),
    "Y7 byte-order mark": ("\ufeff" + RUNBOOK, "RB081"),
    "Y7 NUL": (RUNBOOK.replace("A sample", "A\0sample"), "RB081"),
    "Y7 tab": (RUNBOOK.replace("    - id: second", "\t- id: second"), "RB081"),
    "Y7 number as key": (HEAD + "7: x\n", "RB082"),
    "Y7 scalar": (HEAD + "x: " + "y" * 1_000_000, "RB079"),
    "Y7 tag of a quarter million": (HEAD + "x: !" + "y" * 250_000, "RB079"),
    "Y8 unknown step": (RUNBOOK.replace("wait: 1m", "shell: rm -rf /"), "RB034"),
    "Y8 unknown field": (RUNBOOK.replace("wait: 1m", "wait: 1m\n      next: first"), "RB076"),
    "Y8 forward": (RUNBOOK.replace("steps.first.verdict", "steps.better.verdict"), "RB055"),
    "Y8 many steps": (HEAD + "phases:\n  check:\n" + "    - {id: a, wait: 1s}\n" * 10_000, "RB079"),
    "Y8 timeout": (RUNBOOK.replace("fail_if: value", "timeout: 1e9\n      fail_if: value"), "RB037"),
    "Y8 long timeout": (RUNBOOK.replace("fail_if: value", "timeout: 3601s\n      fail_if: value"), "RB037"),
    "Y8 nobody": (RUNBOOK.replace("owner: team:default\n", ""), "RB077"),
    "Y8 for ever": (HEAD.replace("inputs:", "deadline: 15d\ninputs:", 1) + "phases: {}\n", "RB017"),
}
EXPRESSIONS: dict[str, str] = {
    "T1 class": "().__class__.__mro__",
    "T1 attr": "''|attr('format')",
    "T1 format_map": "inputs.words.format_map(inputs)",
    "T1 method in map": "alert.labels.items()",
    "T2 repeat": "'a' * 1000000000",
    "T2 power": "9 ** (9 ** 9)",
    "T2 center": "'a'|center(2000000000)",
    "T2 ljust": "'a'.ljust(2000000000)",
    "T2 format": "'%2000000000d'|format(1)",
    "T2 folded": '"a" * 200000000',
    "T2 folded list": "[0] * 200000000",
    "T2 folded round": "1 | round(1000000000)",
    "T2 folded replace": "('a' * 60000) | replace('a', 'b' * 60000)",
    "T3 range": "range(99999) | list",
    "T3 lipsum": "lipsum(n=100000)",
    "T3 cycler": "cycler.__init__.__globals__",
    "T4 verb": "incident.delete()",
    "T4 settings": "settings.SECRET_KEY",
    "T4 request": "request",
    "T5 split trick": "steps['__cl' + 'ass__']",
    "deep": "(" * 900 + "1" + ")" * 900,
    "long": "1 + " * 1_000 + "1",
    "many": "value" + " and value" * 180,
}
STATEMENTS: dict[str, str] = {
    "T3 loops": "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
    "T3 macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "T3 set": "{% set x = 1 %}",
    "T3 import": "{% include 'x' %}",
    "T5 gate": "{% if inputs.n > 100 %}{{ inputs.words }}{% endif %}",
    "T5 raw": "{% raw %}{{ 7 * 7 }}{% endraw %}",
    "T5 comment": "{# x #}",
    "unclosed": "{{ " * 2_000,
}
# Rules that are well written and ask for too much of what a check may have found.
BIG = {"long": "a" * 60_000, "maps": [{}] * 1_000}
WORK = [
    "'a'" + f" | replace('a', '{'a' * 90}')" * 9,
    "long | list | map('replace', 'a', long) | list | length",
    "long | list | join(long)",
    "long | list | map('default', long) | join(long)",
    "long | list | select('in', long | list) | list | length",
    "maps | map(attribute='x', default=long) | list | tojson",
    "maps | map(attribute='x', default=long) | list | sort",
]


def expression_in(source: str) -> str:
    """The sample with this rule."""
    rule = source.replace("'", "''")
    return RUNBOOK.replace("fail_if: value > 1 and steps.first.verdict == 'fail'", f"fail_if: '{rule}'")


def text_in(source: str) -> str:
    """The sample with this text as a parameter."""
    quoted = source.replace("'", "''")
    return RUNBOOK.replace('"{{ inputs.words }}"', f"'{quoted}'")


def worst() -> dict[str, str]:
    """All of them as runbooks."""
    return (
        {name: text for name, (text, _) in YAML.items()}
        | {f"{name}, as rule": expression_in(source) for name, source in EXPRESSIONS.items()}
        | {f"{name}, as text": text_in("{{ " + source + " }}") for name, source in EXPRESSIONS.items()}
        | {name: text_in(source) for name, source in STATEMENTS.items()}
    )
