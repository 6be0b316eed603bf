"""The group of those who decide which model is used: they read everything, train, and promote."""

from django.contrib.auth.management import create_permissions
from django.db import migrations

PERMISSIONS = [
    "view_video", "view_analysis", "view_faceframe", "view_sampledframe", "view_verdict", "view_review",
    "view_modelversion", "view_trainingrun", "view_snapshot", "view_promotion", "view_datasetvideo",
    "add_trainingrun", "add_promotion",
]


def make_group(apps, schema_editor):
    # Permissions are normally made after all migrations; the group needs them now.
    config = apps.get_app_config("detection")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    group, _ = apps.get_model("auth", "Group").objects.get_or_create(name="model_owner")
    Permission = apps.get_model("auth", "Permission")
    group.permissions.set(Permission.objects.filter(content_type__app_label="detection", codename__in=PERMISSIONS))


class Migration(migrations.Migration):
    dependencies = [
        ("detection", "0005_learning_loop"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]
    operations = [migrations.RunPython(make_group, migrations.RunPython.noop)]
