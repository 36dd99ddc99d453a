#!/usr/bin/env python
"""Django's command line, with settings from config.settings."""

import gc
import os
import sys

from config import arguments

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    arguments.apply(sys.argv, os.environ)
    if sys.argv[1:2] == ["up"]:
        # Importing makes no garbage worth looking for; `up` turns the collector on once it serves.
        gc.disable()
    # Imported late: `arguments` must come first, and a wrong setting should be one sentence, not a traceback.
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    from config.environment import UnsafeSettings

    try:
        execute_from_command_line(sys.argv)
    except UnsafeSettings as error:
        sys.exit(str(error))
    except OperationalError as error:
        sys.exit(
            f"The database does not answer as it should: {str(error).strip()}. Start it, mend BACKSTOP_DATABASE_URL, "
            "or bring it up to date: `manage.py prepare` (`up` does it by itself)."
        )
