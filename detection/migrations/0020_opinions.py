"""Answers of owners who may not review become opinions, and labels that rested on them are worked out anew.

In short transactions, a few videos each, so that the version before works on meanwhile; `catch_up` completes what it
writes after this.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations, models, transaction
from django.db.models import F, Q

BATCH = 200


def separate_opinions(apps: Any, schema_editor: Any) -> None:
    review, user = apps.get_model("detection", "Review"), apps.get_model("auth", "User")
    granted = Q(content_type__app_label="detection", codename="add_review")
    permission = apps.get_model("auth", "Permission").objects.filter(granted)
    reviewers = user.objects.filter(is_active=True).filter(
        Q(is_superuser=True) | Q(user_permissions__in=permission) | Q(groups__permissions__in=permission)
    )
    own = review.objects.filter(role="", undoes=None, reviewer=F("video__owner")).order_by()
    for owner in own.exclude(reviewer__in=reviewers.values("pk")).values_list("reviewer", flat=True).distinct():
        review.objects.filter(pk__in=list(own.filter(reviewer=owner).values_list("pk", flat=True))).update(
            role="opinion"
        )
    videos = list(review.objects.order_by("video").values_list("video", flat=True).distinct())
    for start in range(0, len(videos), BATCH):
        with transaction.atomic():
            _relabel(apps, videos[start : start + BATCH])


def _relabel(apps: Any, ids: list[Any]) -> None:
    """As detection.services.reviews works it out at the time of this migration; a second reading is not asked anew."""
    video = apps.get_model("detection", "Video")
    rows = list(video.objects.select_for_update().filter(pk__in=ids).order_by("pk").only("label", "review_next"))
    of_dataset = dict(
        apps.get_model("detection", "DatasetVideo").objects.filter(video__in=ids).values_list("video", "label")
    )
    deciding = apps.get_model("detection", "Review").objects.filter(video__in=ids, undone_by=None)
    deciding = deciding.exclude(label="").exclude(role__in=("gold", "opinion")).order_by("created_at", "id")
    newest: dict[Any, dict[Any, str]] = {}
    settled: dict[Any, str] = {}
    for video_id, reviewer, label, role in deciding.values_list("video", "reviewer", "label", "role"):
        newest.setdefault(video_id, {})[reviewer] = label
        if role == "adjudication":
            settled[video_id] = label
    for row in rows:
        said = newest.get(row.pk, {})
        labels = {label for label in said.values() if label != "unsure"} | {of_dataset.get(row.pk, "")} - {""}
        disputed = row.pk not in settled and len(labels) > 1
        label = settled.get(row.pk) or (labels.pop() if len(labels) == 1 else "unsure" if said else "")
        turn = "adjudicate" if disputed else "second" if row.review_next == "second" and len(said) == 1 else ""
        if (label, turn) != (row.label, row.review_next):
            video.objects.filter(pk=row.pk).update(label=label, review_next=turn)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("detection", "0019_chore_runs")]

    operations = [
        migrations.AlterField(
            model_name="review",
            name="role",
            field=models.CharField(
                blank=True,
                choices=[
                    ("", "From a list or over REST"),
                    ("opinion", "The owner's opinion"),
                    ("first", "First reading"),
                    ("second", "Second reading"),
                    ("adjudication", "Adjudication"),
                    ("gold", "Check against a known answer"),
                    ("sheet", "Contact sheet"),
                    ("undo", "Undone"),
                ],
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="reviewclaim",
            name="role",
            field=models.CharField(
                choices=[
                    ("", "From a list or over REST"),
                    ("opinion", "The owner's opinion"),
                    ("first", "First reading"),
                    ("second", "Second reading"),
                    ("adjudication", "Adjudication"),
                    ("gold", "Check against a known answer"),
                    ("sheet", "Contact sheet"),
                    ("undo", "Undone"),
                ],
                max_length=12,
            ),
        ),
        migrations.AlterField(
            model_name="video",
            name="label",
            field=models.CharField(
                blank=True,
                choices=[("real", "Real"), ("fake", "Fake"), ("no_face", "No face"), ("unsure", "Unsure")],
                help_text="What reviewers or a data set say; unsure while they differ.",
                max_length=8,
            ),
        ),
        migrations.RunPython(separate_opinions, migrations.RunPython.noop),
    ]
