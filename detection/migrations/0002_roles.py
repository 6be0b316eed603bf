"""The groups that `create_token --role` and the admin use."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

ROLES = {
    "uploader": [],
    "reviewer": [
        "view_video", "view_analysis", "view_faceframe", "view_sampledframe", "view_verdict", "view_review",
        "add_review", "view_modelversion",
    ],
}


def make_groups(apps, schema_editor):
    # Permissions are normally made after all migrations; the groups need them now.
    config = apps.get_app_config("detection")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    Group = apps.get_model("auth", "Group")
    Permission = apps.get_model("auth", "Permission")
    for name, codenames in ROLES.items():
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.set(Permission.objects.filter(content_type__app_label="detection", codename__in=codenames))


class Migration(migrations.Migration):
    dependencies = [
        ("detection", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
