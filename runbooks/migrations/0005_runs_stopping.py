"""Which runs are coming to their end, however many are open."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    """An index."""

    dependencies = [("runbooks", "0004_queued_by_key")]

    operations = [
        migrations.AddIndex(
            model_name="run",
            index=models.Index(fields=["id"], condition=models.Q(state="stopping"), name="runs_stopping"),
        ),
    ]
