"""Migration operations beyond Django's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.operations.base import Operation


class OnDatabase(Operation):
    """Call a function with the connection; unlike RunPython it renders no models, which costs seconds per call."""

    reduces_to_sql = False
    reversible = True

    def __init__(
        self, forwards: Callable[[BaseDatabaseWrapper], None], backwards: Callable[[BaseDatabaseWrapper], None]
    ) -> None:
        self.forwards, self.backwards = forwards, backwards

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Changes no model state."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Call the forwards function."""
        self.forwards(schema_editor.connection)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Call the backwards function."""
        self.backwards(schema_editor.connection)
