"""Backstop that knows the actions of tests/fakes/effects.py too.

`python -m tests.journeys.crashing --port …` is `manage.py up`; with `worker` as its first word it is a worker of a
production that dies where BACKSTOP_TEST_FAULT_POINT says (production refuses the setting itself).
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import django
from django.core.management import execute_from_command_line

from common.registry import Registry
from config import arguments


def know_effects() -> None:
    """As a line more in the list of runbooks/actions would; nothing has read the list yet."""
    actions, effects = import_module("runbooks.actions"), import_module("tests.fakes.effects")
    setattr(actions, "ACTIONS", Registry("action", [*actions.ACTIONS, *effects.EFFECTS]))
    checks = import_module("runbooks.checks")
    setattr(checks, "CHECKS", Registry("check", [*checks.CHECKS, *effects.LOOKS]))


def work() -> None:
    """A worker for all queues."""
    django.setup()
    know_effects()
    conf, own = import_module("django.conf"), import_module("web.operate.work")
    conf.settings.BACKSTOP.fault_point = os.environ.get("BACKSTOP_TEST_FAULT_POINT", "")
    sys.stdout.write("Working on everything.\n")
    sys.stdout.flush()
    sys.exit(own.run(list(own.QUEUES), pool="threads", slots=4))


def serve(words: list[str]) -> None:
    """`manage.py up`."""
    argv = ["manage.py", "up", *words]
    arguments.apply(argv, os.environ)
    django.setup()
    know_effects()
    execute_from_command_line(argv)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    if sys.argv[1:2] == ["worker"]:
        work()
    serve(sys.argv[1:])
