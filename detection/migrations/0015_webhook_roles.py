"""Those who operate the installation see what was sent to clients, and send it again."""

from django.contrib.auth.management import create_permissions
from django.db import migrations


def let_operators_send_again(apps, schema_editor):
    # Permissions are normally made after all migrations; the group needs these now.
    config = apps.get_app_config("detection")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    group, _ = apps.get_model("auth", "Group").objects.get_or_create(name="operator")
    codenames = ("view_webhookdelivery", "change_webhookdelivery")
    Permission = apps.get_model("auth", "Permission")
    group.permissions.add(
        *Permission.objects.filter(content_type__app_label="detection", codename__in=codenames)
    )


class Migration(migrations.Migration):
    dependencies = [("detection", "0014_webhooks")]
    operations = [migrations.RunPython(let_operators_send_again, migrations.RunPython.noop)]
