"""What a run hands over at its end: the runbook's `outputs`, evaluated once everything is settled."""

from __future__ import annotations

from datetime import datetime

from common import expressions
from common.expressions import ExpressionError
from common.plain import plain
from common.secrets import redact_json
from runbooks import reading
from runbooks.fields import RUN_NAMES
from runbooks.models import Run


def evaluate(run: Run, *, now: datetime) -> list[str]:
    """Set the run's outputs (not saved); a sentence for each that could not be computed and is left out."""
    faults = []
    run.outputs = {}
    try:
        declared = reading.spec_of(run).spec.outputs
    except reading.Unreadable:
        # It is ended all the same; what it would have handed over nobody can tell.
        return []
    names = reading.names(run, list(run.steps.all()), now) if declared else {}
    for name, source in declared.items():
        try:
            value = expressions.compile(source, names=RUN_NAMES).evaluate(names)
            run.outputs[name] = plain(redact_json(value))
        except ExpressionError as error:
            faults.append(f"Output {name} is left out: {error}")
    return faults
