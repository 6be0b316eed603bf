"""The state `cancelled`.  Processes of the version before write none, and show it as it is called."""

from django.db import migrations, models

from detection.migrations._locks import lock_first


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0025_frames_claimed_and_people_left_out'),
    ]

    operations = [
        lock_first('detection_analysis'),
        migrations.RemoveConstraint(
            model_name='analysis',
            name='analysis_finished_iff_terminal',
        ),
        migrations.RemoveConstraint(
            model_name='analysis',
            name='analysis_failure_has_a_code',
        ),
        migrations.AlterField(
            model_name='analysis',
            name='state',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('succeeded', 'Succeeded'), ('no_face', 'No face'), ('failed', 'Failed'), ('dead', 'Gave up'), ('cancelled', 'Cancelled')], default='queued', max_length=12),
        ),
        migrations.AlterField(
            model_name='evidencejob',
            name='state',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('succeeded', 'Succeeded'), ('no_face', 'No face'), ('failed', 'Failed'), ('dead', 'Gave up'), ('cancelled', 'Cancelled')], default='queued', max_length=12),
        ),
        migrations.AlterField(
            model_name='video',
            name='status',
            field=models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('succeeded', 'Succeeded'), ('no_face', 'No face'), ('failed', 'Failed'), ('dead', 'Gave up'), ('cancelled', 'Cancelled')], default='queued', max_length=12),
        ),
        migrations.AddConstraint(
            model_name='analysis',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('finished_at__isnull', True), ('state__in', ('queued', 'running'))), models.Q(('finished_at__isnull', False), ('state__in', ('succeeded', 'no_face', 'failed', 'dead', 'cancelled'))), _connector='OR'), name='analysis_finished_iff_terminal'),
        ),
        migrations.AddConstraint(
            model_name='analysis',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('state__in', ('failed', 'dead', 'cancelled')), _negated=True), models.Q(('error_code', ''), _negated=True), _connector='OR'), name='analysis_failure_has_a_code'),
        ),
    ]
