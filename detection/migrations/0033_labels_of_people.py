"""What is settled of the people of a video."""

from django.db import migrations, models

from detection.migrations._locks import lock_first


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0032_answers_for_people'),
    ]

    operations = [
        lock_first('detection_video'),
        migrations.AddField(
            model_name='video',
            name='people_version',
            field=models.PositiveIntegerField(blank=True, help_text="How often its faces came to be other people's (`track`) than before.", null=True),
        ),
        migrations.AddField(
            model_name='video',
            name='person_labels',
            field=models.JSONField(blank=True, help_text='And of its people: {track: PersonLabel}.', null=True),
        ),
    ]
