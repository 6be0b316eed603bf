"""Those who operate the installation read its audit log."""

from django.contrib.auth.management import create_permissions
from django.db import migrations


def let_operators_read(apps, schema_editor):
    # Permissions are normally made after all migrations; the group needs this one now.
    config = apps.get_app_config("detection")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    group, _ = apps.get_model("auth", "Group").objects.get_or_create(name="operator")
    Permission = apps.get_model("auth", "Permission")
    group.permissions.add(
        *Permission.objects.filter(content_type__app_label="detection", codename="view_auditentry")
    )


class Migration(migrations.Migration):
    dependencies = [("detection", "0012_audit_log")]
    operations = [migrations.RunPython(let_operators_read, migrations.RunPython.noop)]
