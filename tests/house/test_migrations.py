"""Models and migrations agree; later migrations add first and remove a release later."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db.migrations import operations as ops
from django.db.models.fields import NOT_PROVIDED

from common.operations import CreateTogether, OnDatabase, Widen

ROOT = Path(__file__).parents[2]
ROOMS = [app for app in apps.get_app_configs() if Path(app.path).parent == ROOT]
LATER = [
    f"{app.name}.migrations.{path.stem}"
    for app in ROOMS
    for path in sorted((Path(app.path) / "migrations").glob("[0-9]*.py"))
    if not path.name.startswith("0001")
]
EXPANDING = (
    ops.CreateModel, ops.AddField, ops.AddIndex, ops.AddConstraint, ops.AlterModelOptions, ops.RunPython, ops.RunSQL,
    ops.SeparateDatabaseAndState, CreateTogether, OnDatabase, Widen,
)  # fmt: skip
# A migration whose docstring begins so may also remove what no running release reads any more.
CONTRACT = "Contract:"


@pytest.mark.django_db
def test_none_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.parametrize("name", LATER)
def test_it_only_adds_unless_it_says_so(name: str) -> None:
    module = import_module(name)
    if (module.__doc__ or "").startswith(CONTRACT):
        return
    for operation in module.Migration.operations:
        assert isinstance(operation, EXPANDING), f"{operation} removes or changes what the running release uses"
        if isinstance(operation, ops.AddField):
            field = operation.field
            # A `default` is Django's alone: the running release knows neither it nor the column.
            given = field.null or field.many_to_many or field.db_default is not NOT_PROVIDED
            assert given, f"{operation.name}: the running release inserts rows without it"
