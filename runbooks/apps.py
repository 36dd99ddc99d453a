"""Django's registration of this room."""

from django.apps import AppConfig


class RunbooksConfig(AppConfig):
    """The runbooks room."""

    name = "runbooks"
    default_auto_field = "django.db.models.BigAutoField"
