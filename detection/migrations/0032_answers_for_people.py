"""What reviewers say of people.  Rows of before say nothing, and stay as they are."""

from django.db import migrations, models

from detection.migrations._locks import lock_first


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0031_audit_rank_index'),
    ]

    operations = [
        lock_first('detection_review', 'detection_goldvideo'),
        migrations.AddField(
            model_name='goldvideo',
            name='people',
            field=models.JSONField(blank=True, help_text="As a Review's, where it is known of people, too.", null=True),
        ),
        migrations.AddField(
            model_name='goldvideo',
            name='people_version',
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='review',
            name='people',
            field=models.JSONField(blank=True, help_text='What was said of people by themselves, {track: PersonLabel}; null where only of the whole.', null=True),
        ),
        migrations.AddField(
            model_name='review',
            name='people_version',
            field=models.PositiveIntegerField(blank=True, help_text="The video's when this was said: of other faces `people` says nothing.", null=True),
        ),
    ]
