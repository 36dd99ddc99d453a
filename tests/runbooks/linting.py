# ruff: noqa: E402, T201  Django is set up before it is imported; what is printed is the answer
"""Lints every bad text in a process of its own whose memory is bounded; prints seconds and MiB for each as JSON."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from common import expressions
from runbooks import schema
from tests.factories_language import RUNBOOK
from tests.runbooks.bad_texts import BIG, WORK, worst

MEMORY = 256 * 1024 * 1024


def used() -> int:
    """Bytes of address space of this process."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


schema.check(RUNBOOK, file="sample.yaml")
before = used()
resource.setrlimit(resource.RLIMIT_AS, (before + MEMORY, before + MEMORY))
found = {}
for name, text in worst().items():
    began, peak = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    codes = sorted({finding.code for finding in schema.check(text, file="sample.yaml")})
    seconds = time.process_time() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    found[name] = {"seconds": round(seconds, 3), "mib": round(grown, 1), "codes": codes}
for source in WORK:
    began = time.process_time()
    try:
        expressions.compile(source, names=BIG).evaluate(BIG)
        codes = []
    except expressions.ExpressionError:
        codes = ["refused"]
    found[source] = {"seconds": round(time.process_time() - began, 3), "mib": 0.0, "codes": codes}
print(json.dumps(found))
