#!/usr/bin/env python
"""Django's command line, with settings from config.settings."""

import gc
import os
import sys

from config import arguments

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    arguments.apply(sys.argv, os.environ)
    # Importing makes no garbage worth looking for, and what it makes stays: a tenth of a start went into looking.
    gc.disable()
    # Imported late: `arguments` must come first, and a wrong setting should be one sentence, not a traceback.
    from django.core.management import BaseCommand, ManagementUtility
    from django.db import OperationalError

    from config.environment import UnsafeSettings

    class Commands(ManagementUtility):
        """Django's, with the collector on again once a command and what it needs are there."""

        def fetch_command(self, subcommand: str) -> BaseCommand:
            """The command of this name; two go on importing and turn the collector on themselves, once at work."""
            command = super().fetch_command(subcommand)
            if subcommand not in ("up", "runbook"):
                gc.freeze()
                gc.enable()
            return command

    try:
        Commands(sys.argv).execute()
    except UnsafeSettings as error:
        sys.exit(str(error))
    except OperationalError as error:
        sys.exit(
            f"The database does not answer as it should: {str(error).strip()}. Start it, mend BACKSTOP_DATABASE_URL, "
            "or bring it up to date: `manage.py prepare` (`up` does it by itself)."
        )
