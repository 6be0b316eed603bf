import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from detection.migrations._locks import lock_first


class Migration(migrations.Migration):

    dependencies = [
        ('detection', '0041_whole_frames'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        lock_first('auth_user'),
        migrations.CreateModel(
            name='ExternalIdentity',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('issuer', models.CharField(help_text="The provider's address, as in DFD_OIDC_ISSUER.", max_length=255)),
                ('subject', models.CharField(help_text="The provider's own id of the user (`sub`).", max_length=255)),
                ('user', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='external_identity', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name_plural': 'external identities',
                'constraints': [models.UniqueConstraint(fields=('issuer', 'subject'), name='external_identity_once')],
            },
        ),
    ]
