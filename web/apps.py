"""Django's registration of this room."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    """The web room."""

    name = "web"
    default_auto_field = "django.db.models.BigAutoField"
