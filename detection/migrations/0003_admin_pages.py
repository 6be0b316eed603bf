"""The proxies behind the admin's "No face" and "Predictions" pages; no table changes."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("detection", "0002_roles")]
    operations = [
        migrations.CreateModel(
            name="NoFaceVideo",
            fields=[],
            options={
                "verbose_name": "video without a face",
                "verbose_name_plural": "videos without a face",
                "proxy": True,
                "default_permissions": (),
                "indexes": [],
                "constraints": [],
            },
            bases=("detection.video",),
        ),
        migrations.CreateModel(
            name="Prediction",
            fields=[],
            options={
                "verbose_name": "prediction",
                "verbose_name_plural": "predictions",
                "proxy": True,
                "default_permissions": (),
                "indexes": [],
                "constraints": [],
            },
            bases=("detection.video",),
        ),
    ]
