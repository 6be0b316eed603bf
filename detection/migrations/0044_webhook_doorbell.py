from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0043_reviewer_keys'),
    ]

    operations = [
        migrations.AddField(
            model_name='webhook',
            name='doorbell',
            field=models.UUIDField(blank=True, editable=False, help_text='What the message carries that is on its way to a worker.', null=True),
        ),
        migrations.AddField(
            model_name='webhook',
            name='told_at',
            field=models.DateTimeField(blank=True, editable=False, help_text='When that message was last sent.', null=True),
        ),
    ]
