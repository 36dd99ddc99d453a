"""Endpoints may ask for signed deliveries. The default is the database's own: older processes go on inserting."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("incidents", "0002_append_only")]
    operations = [
        migrations.AddField("endpoint", "signing_secret_encrypted", models.BinaryField(db_default=b"", default=b"")),
    ]
