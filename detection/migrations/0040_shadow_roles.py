"""Who settles disagreements and who owns models may put a version into shadow, and see how it compares."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

ROLES = ("senior_reviewer", "model_owner")


def let_them_shadow(apps, schema_editor):
    # Permissions are normally made after all migrations; the groups need these now.
    config = apps.get_app_config("detection")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    codenames = ("view_shadowtrial", "add_shadowtrial")
    permissions = Permission.objects.filter(content_type__app_label="detection", codename__in=codenames)
    for name in ROLES:
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.add(*permissions)


class Migration(migrations.Migration):
    dependencies = [("detection", "0039_shadow")]
    operations = [migrations.RunPython(let_them_shadow, migrations.RunPython.noop)]
