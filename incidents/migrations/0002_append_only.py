"""Triggers that make timeline and evidence append-only."""

from django.db import migrations

from common.operations import OnDatabase
from incidents import append_only


class Migration(migrations.Migration):
    dependencies = [("incidents", "0001_initial")]
    operations = [OnDatabase(append_only.install, append_only.remove)]
