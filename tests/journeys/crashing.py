"""`manage.py up` that knows the actions of tests/fakes/effects.py too: `python -m tests.journeys.crashing --port …`."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import django
from django.core.management import execute_from_command_line

from common.registry import Registry
from config import arguments

if __name__ == "__main__":
    argv = ["manage.py", "up", *sys.argv[1:]]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    arguments.apply(argv, os.environ)
    django.setup()
    # As a line more in the list of runbooks/actions would; nothing has read the list yet.
    actions, effects = import_module("runbooks.actions"), import_module("tests.fakes.effects")
    setattr(actions, "ACTIONS", Registry("action", [*actions.ACTIONS, *effects.EFFECTS]))
    execute_from_command_line(argv)
