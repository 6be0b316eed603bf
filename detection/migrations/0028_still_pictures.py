"""Faces that never move.  Processes of the version before write none: those of theirs count as before."""

from django.db import migrations, models

from detection.migrations._locks import lock_first


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0027_leased_jobs'),
    ]

    operations = [
        lock_first('detection_faceframe'),
        migrations.AddField(
            model_name='faceframe',
            name='still',
            field=models.BooleanField(blank=True, help_text="A poster or a photo: it never moves, and decides nothing while somebody alive is there.  Null of older ones.", null=True),
        ),
    ]
