"""What runbooks may ask of the world: read-only questions, each with one answer and its numbers.

Owns: one module per check; what several share (windows, comparisons, the ranking of changes); the list of them.
Knows: signals, connections, changes and versions of the catalog; statistics and evaluations; open incidents.
Does not know: runs, steps, rules and verdicts of the language (the engine judges).
"""

from __future__ import annotations

from typing import Any

from common.registry import Registry
from runbooks.checks.base import Check
from runbooks.checks.change_rank import ChangeRank
from runbooks.checks.eval_compare import EvalCompare
from runbooks.checks.http_json import HttpJsonCheck
from runbooks.checks.metric_compare import MetricCompare
from runbooks.checks.metric_query import MetricQuery
from runbooks.checks.result_test import ResultTest
from runbooks.checks.status_poll import StatusPoll

CHECKS: Registry[Check[Any]] = Registry(
    "check",
    [
        MetricQuery(),
        MetricCompare(),
        ChangeRank(),
        EvalCompare(),
        StatusPoll(),
        HttpJsonCheck(),
        ResultTest(),
    ],
)
