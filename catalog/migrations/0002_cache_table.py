"""The table of the database cache (login limits), made here so that `migrate` is the only step."""

from django.core.management import call_command
from django.db import migrations
from django.db.backends.base.base import BaseDatabaseWrapper

from common.operations import OnDatabase


def create(connection: BaseDatabaseWrapper) -> None:
    call_command("createcachetable", "cache_table", database=connection.alias, verbosity=0)


def keep(connection: BaseDatabaseWrapper) -> None:
    """A cache table may stay."""


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]
    operations = [OnDatabase(create, keep)]
