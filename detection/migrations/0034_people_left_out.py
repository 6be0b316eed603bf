"""A verdict without those who are no people, beside the model's own."""

from django.db import migrations, models

from detection.migrations._locks import lock_first


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0033_labels_of_people'),
    ]

    operations = [
        lock_first('detection_verdict'),
        migrations.AddField(
            model_name='verdict',
            name='left_out',
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='verdict',
            name='with_everybody',
            field=models.JSONField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name='auditentry',
            name='action',
            field=models.CharField(choices=[('logged_in', 'Logged in'), ('login_failed', 'Failed to log in'), ('user_changed', 'User or role changed'), ('token_created', 'Token created'), ('token_revoked', 'Token revoked'), ('media_viewed', 'Video looked at'), ('media_downloaded', 'Original downloaded'), ('video_deleted', 'Video deleted'), ('gold_set', 'Known answer set'), ('gold_unset', 'Known answer taken back'), ('person_left_out', 'Person left out of a verdict'), ('person_counted', 'Person counted again'), ('model_activated', 'Model made active'), ('exported', 'Labels exported'), ('retention', 'Removed by the retention policy'), ('forgotten', 'Video forgotten'), ('archived', 'Audit entries archived')], max_length=20),
        ),
    ]
