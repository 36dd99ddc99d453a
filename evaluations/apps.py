"""Django's registration of this room."""

from django.apps import AppConfig


class EvaluationsConfig(AppConfig):
    """The evaluations room."""

    name = "evaluations"
    default_auto_field = "django.db.models.BigAutoField"
