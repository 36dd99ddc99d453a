"""Django's registration of this room."""

from django.apps import AppConfig


class IncidentsConfig(AppConfig):
    """The incidents room."""

    name = "incidents"
    default_auto_field = "django.db.models.BigAutoField"
