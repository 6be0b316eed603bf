from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0030_recalibration'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='video',
            index=models.Index(condition=models.Q(('verdict_model__isnull', False)), fields=['audit_rank', 'id'], name='video_by_audit_rank'),
        ),
    ]
