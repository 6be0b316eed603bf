"""Margins and audit ranks of the videos that are there, and the groups for settling disagreements and for operating."""

from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.models import F, IntegerField, OuterRef, Subquery
from django.db.models.functions import Abs, Cast, Floor, Random

READ = [
    "view_video", "view_analysis", "view_faceframe", "view_sampledframe", "view_verdict", "view_review",
    "view_modelversion",
]
ROLES = {
    "senior_reviewer": [*READ, "add_review", "adjudicate_review"],
    "operator": [*READ, "change_video", "delete_video", "view_trainingrun"],
}


def fill(apps, schema_editor):
    Video, Verdict = apps.get_model("detection", "Video"), apps.get_model("detection", "Verdict")
    threshold = Subquery(Verdict.objects.filter(id=OuterRef("current_verdict")).values("threshold"))
    Video.objects.exclude(current_verdict=None).update(margin=Abs(F("fake_probability") - threshold))
    # Adding the column gave all of them one and the same rank.
    Video.objects.update(audit_rank=Cast(Floor(Random() * 10_000), IntegerField()))


def make_groups(apps, schema_editor):
    # Permissions are normally made after all migrations; the groups need them now.
    config = apps.get_app_config("detection")
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0)
    config.models_module = None
    Group, Permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    for name, codenames in ROLES.items():
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.set(Permission.objects.filter(content_type__app_label="detection", codename__in=codenames))


class Migration(migrations.Migration):
    dependencies = [("detection", "0007_review_workspace")]
    operations = [
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunPython(make_groups, migrations.RunPython.noop),
    ]
