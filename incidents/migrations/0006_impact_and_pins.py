"""Impact figures, and stars that people set on a timeline."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("incidents", "0005_postmortem_editor")]
    operations = [
        migrations.CreateModel(
            "Pin",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("seq", models.PositiveIntegerField()),
                ("pinned", models.BooleanField()),
                ("by", models.CharField(max_length=120)),
                ("at", models.DateTimeField()),
                (
                    "incident",
                    models.ForeignKey("incidents.Incident", django.db.models.deletion.CASCADE, related_name="pins"),
                ),
            ],
            {"constraints": [models.UniqueConstraint(fields=["incident", "seq"], name="one_pin_per_entry")]},
        ),
        migrations.CreateModel(
            "ImpactFigure",
            [
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=10)),
                ("value", models.JSONField(blank=True, null=True)),
                (
                    "basis",
                    models.CharField(
                        choices=[("measured", "measured"), ("estimate", "estimate"), ("unknown", "unknown")],
                        max_length=8,
                    ),
                ),
                ("asked", models.CharField(blank=True, max_length=120)),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("evidence", models.PositiveIntegerField(blank=True, null=True)),
                ("set_by", models.CharField(max_length=120)),
                ("set_at", models.DateTimeField()),
                (
                    "incident",
                    models.ForeignKey(
                        "incidents.Incident", django.db.models.deletion.CASCADE, related_name="impact_figures"
                    ),
                ),
            ],
            {"constraints": [models.UniqueConstraint(fields=["incident", "name"], name="one_impact_figure_per_name")]},
        ),
    ]
