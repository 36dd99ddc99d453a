"""Sections with owners and writers, who wrote which block, offers of new evidence, comments; items say their cause."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# What was drafted and saved before: the newest draft of the machine, and the newest text with its author.
_OF = "FROM incidents_postmortemedition e WHERE e.postmortem_id = incidents_postmortem.id"
FILL = (
    f"UPDATE incidents_postmortem SET drafted_body = COALESCE((SELECT e.body {_OF} AND e.author = 'engine' "  # noqa: S608  our own names
    f"ORDER BY e.number DESC LIMIT 1), ''), saved_by = COALESCE((SELECT e.author {_OF} ORDER BY e.number DESC LIMIT 1), "
    f"''), saved_at = (SELECT e.saved_at {_OF} ORDER BY e.number DESC LIMIT 1)"
)


class Migration(migrations.Migration):
    dependencies = [
        ("incidents", "0004_rejected_index"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="actionitem",
            name="cause",
            field=models.PositiveSmallIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="actionitem",
            name="tracker",
            field=models.CharField(blank=True, db_default="", default="", max_length=500),
        ),
        migrations.AddField(
            model_name="postmortem",
            name="assigned",
            field=models.JSONField(db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name="postmortem",
            name="authors",
            field=models.JSONField(db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name="postmortem",
            name="drafted_body",
            field=models.TextField(blank=True, db_default="", default=""),
        ),
        migrations.AddField(
            model_name="postmortem",
            name="reviewer",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="reviews",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="postmortem",
            name="saved_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="postmortem",
            name="saved_by",
            field=models.CharField(blank=True, db_default="", default="", max_length=120),
        ),
        migrations.CreateModel(
            name="PostmortemComment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("section", models.CharField(max_length=60)),
                ("author", models.CharField(max_length=120)),
                ("text", models.TextField()),
                ("at", models.DateTimeField()),
                ("settled_by", models.CharField(blank=True, max_length=120)),
                ("settled_at", models.DateTimeField(blank=True, null=True)),
                (
                    "postmortem",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="comments", to="incidents.postmortem"
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="PostmortemOffer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("section", models.CharField(max_length=60)),
                ("current", models.TextField(blank=True)),
                ("text", models.TextField()),
                ("made_at", models.DateTimeField()),
                (
                    "state",
                    models.CharField(
                        choices=[("open", "open"), ("taken", "taken"), ("kept", "kept")], default="open", max_length=8
                    ),
                ),
                ("answered_by", models.CharField(blank=True, max_length=120)),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
                (
                    "postmortem",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="offers", to="incidents.postmortem"
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="PostmortemSection",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=60)),
                ("window", models.CharField(blank=True, max_length=40)),
                ("since", models.DateTimeField(blank=True, null=True)),
                ("until", models.DateTimeField(blank=True, null=True)),
                (
                    "owner",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "postmortem",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="sections", to="incidents.postmortem"
                    ),
                ),
                (
                    "writer",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "ordering": ["id"],
                "constraints": [models.UniqueConstraint(fields=("postmortem", "key"), name="one_row_per_section")],
            },
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
