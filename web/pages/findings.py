"""What is wrong with a text that somebody writes in the browser: beside it on the page, and as JSON while they type."""

from __future__ import annotations

from dataclasses import dataclass

from django import forms
from django.http import JsonResponse
from django.urls import reverse

from common.yaml import Finding

# More would only be scrolled past, and a pathological text can have one per character.
MOST = 200


@dataclass(frozen=True)
class Findings:
    """Findings in file order; errors keep the text out, warnings do not."""

    rows: list[Finding]

    @property
    def errors(self) -> int:
        """How many must go before the text can be kept."""
        return sum(row.severity == "error" for row in self.rows)

    @property
    def warnings(self) -> int:
        """How many are advice."""
        return len(self.rows) - self.errors

    @property
    def shown(self) -> list[Finding]:
        """The first of them."""
        return self.rows[:MOST]

    @staticmethod
    def guide(code: str) -> str:
        """Where the guide says what a code means; empty for codes that only carry their sentence."""
        if code.startswith("RT"):
            return f"{reverse('guide_page', args=['testing-runbooks'])}#codes"
        return f"{reverse('guide_page', args=['runbook-errors'])}#{code.lower()}" if code.startswith("RB") else ""

    def answer(self) -> JsonResponse:
        """For the editor: places count from 1."""
        response = JsonResponse(
            {
                "errors": self.errors,
                "warnings": self.warnings,
                "findings": [
                    {
                        "line": row.line,
                        "column": row.column,
                        "code": row.code,
                        "guide": self.guide(row.code),
                        "severity": row.severity,
                        "message": row.message,
                        "fix": row.fix,
                    }
                    for row in self.shown
                ],
            }
        )
        response["Cache-Control"] = "no-store"
        return response


class YamlField(forms.CharField):
    """A YAML text in a textarea that the editor takes over; the reader of YAML alone says what is wrong with it."""

    def __init__(self, *, label: str, rows: int) -> None:
        attrs = {"rows": rows, "class": "code", "spellcheck": "false", "wrap": "off", "autocapitalize": "off"}
        super().__init__(label=label, strip=False, widget=forms.Textarea(attrs=attrs))
        # Size and NUL too are told by line and column.
        self.validators = []

    def clean(self, value: object) -> str:
        """Browsers send CR LF; the text keeps the line ends of YAML files."""
        return str(super().clean(value)).replace("\r\n", "\n")


def typed(form: forms.Form, name: str = "text") -> str:
    """What stands in the field now, whether or not the form is valid."""
    return str(form[name].value() or "").replace("\r\n", "\n")
