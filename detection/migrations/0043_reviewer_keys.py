import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from detection.migrations._locks import lock_first


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0042_external_identity'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        lock_first('auth_user'),
        migrations.CreateModel(
            name='ReviewerKeys',
            fields=[
                ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='workspace_keys', serialize=False, to=settings.AUTH_USER_MODEL)),
                ('keys', models.JSONField(default=dict)),
            ],
            options={
                'verbose_name_plural': 'reviewer keys',
            },
        ),
    ]
