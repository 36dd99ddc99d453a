"""Entry point for gunicorn: pages, API and hooks on threads. Refuses to serve when it must not, in a sentence."""

import os
import sys

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_wsgi_application()

# Rooms can be imported only once Django has been set up.
from web.operate import prepare  # noqa: E402

# gunicorn starts a worker that leaves with any other code again, for ever.
APP_LOAD_ERROR = 4

if faults := prepare.refusals(pages=True):
    sys.stderr.write("\n".join(faults) + "\n")
    sys.exit(APP_LOAD_ERROR)
