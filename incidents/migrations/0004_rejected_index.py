"""What could not be read stands on the first page, however many deliveries there are."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("incidents", "0003_signing_secret")]
    operations = [
        migrations.AddIndex(
            "delivery", models.Index(fields=["received_at"], condition=Q(status="rejected"), name="deliveries_rejected")
        ),
    ]
