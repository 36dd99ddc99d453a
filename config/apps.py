"""Django's registration of the wiring: every process that may hand over work knows our Celery app."""

from importlib import import_module

from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """The wiring."""

    name = "config"

    def ready(self) -> None:
        """Make our Celery app the default one, so that no shared task ever looks for another broker."""
        import_module("config.celery")
