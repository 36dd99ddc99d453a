"""`manage.py up`: everything in one process, ready for the first page."""

from __future__ import annotations

import gc
import os
from argparse import ArgumentParser
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from catalog import people
from catalog.models import User
from common.errors import DomainError
from runbooks import restored
from web.operate import place, prepare, serve


class Command(BaseCommand):
    """Migrate, seed and serve from one process (embedded mode)."""

    help = "Serve everything from one process: pages, API, hooks, workers and clock, on SQLite or PostgreSQL."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """`--data-dir`, `--host` and `--port` are read before the settings load (config/arguments.py)."""
        parser.add_argument("--port", type=int, default=os.environ.get("PORT", "8000"), help="default 8000, or PORT")
        parser.add_argument(
            "--host", default=os.environ.get("HOST", "127.0.0.1"), help="default 127.0.0.1 (this machine only), or HOST"
        )
        parser.add_argument("--data-dir", help="default ./data, or BACKSTOP_DATA_DIR")
        parser.add_argument("--no-demo", action="store_true", help="no demo services, incident and simulated service")

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve until SIGTERM or Ctrl-C; a clean stop exits with 0."""
        if not settings.EMBEDDED:
            raise CommandError(
                "BACKSTOP_REDIS_URL is set, so this is a production set-up: start web, live, worker and beat as "
                "deploy/README.md says, or unset it for one process."
            )
        try:
            if settings.BACKSTOP_UNSAFE:
                raise CommandError("\n".join(settings.BACKSTOP_UNSAFE))
            lock = place.FolderLock(settings.BACKSTOP.data_dir)
            sock = place.listen(options["host"], options["port"])
            lock.say(f"process {os.getpid()} at {settings.BASE_URL}")
            copy = prepare.migrate()
            doubt = restored.finish()
            prepare.end_leases()
            user, faults = prepare.seed()
            # Brings the simulated service along, which --no-demo has no use for.
            demo = None if options["no_demo"] else import_module("web.operate.demo")
            if demo:
                demo.seed()
        except DomainError as error:
            raise CommandError(f"{error.sentence} {error.fix}".strip()) from None
        if copy:
            self._say(f"Database    migrated; the file from before is {copy}")
        if doubt:
            self._say(f"Restored    what was cut off is finished: {doubt}")
        for fault in faults:
            self._say(f"Not used    {fault}")
        (settings.BACKSTOP.data_dir / place.ADDRESS_FILE).write_text(settings.BASE_URL + "\n")
        settings.STATIC_ROOT.mkdir(exist_ok=True)
        clean = serve.run(
            sock,
            before_engine=demo.start_world if demo else None,
            on_ready=lambda ready: self._welcome(user, ready=ready, **options),
        )
        lock.release()
        self._say("Stopped." if clean else "Stopped; steps that were still running are taken up at the next start.")

    def _welcome(self, user: User, *, ready: bool, **options: Any) -> None:
        # What was imported stays for good: the collector, off since manage.py began, need never look at it again.
        gc.freeze()
        gc.enable()
        base = settings.BASE_URL
        self._say(f"Data folder {settings.BACKSTOP.data_dir}")
        self._say(f"Address     {base}")
        self._say(f"Sign in     {base}/login/link/{people.new_login_link(user)}   (once, as {user.username})")
        self._say(f"Workers     {'ready' if ready else 'NOT ready: run `manage.py doctor`'}")
        if options["host"] not in ("127.0.0.1", "localhost", "::1") and base.startswith("http://"):
            self._say(
                f"Take care   this is plain HTTP on {options['host']}; put a proxy with TLS in front and set "
                "BACKSTOP_BASE_URL to the address that people use."
            )
        if options["no_demo"]:
            self._say(f"Next        make an endpoint for your alerts: {base}/endpoints")
        else:
            self._say("Next        open the link: a live incident begins with your first look; stop with Ctrl-C")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
