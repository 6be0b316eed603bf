"""What a million videos need: a name to search by, the verdict's model on the video, indexes that carry the filters.

SQLite and Postgres both write the table of videos anew for the generated column: about a minute for a million rows.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import Lower

from detection.migrations._locks import lock_first


def fill(apps, schema_editor):
    Video, Verdict = apps.get_model("detection", "Video"), apps.get_model("detection", "Verdict")
    if schema_editor.connection.vendor == "postgresql":
        # Checks that wait for the end of the transaction would not let it make an index on the table.
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    model = Subquery(Verdict.objects.filter(id=OuterRef("current_verdict")).values("model_version"))
    Video.objects.exclude(current_verdict=None).update(verdict_model=model)
    Analysis = apps.get_model("detection", "Analysis")
    failed = Analysis.objects.filter(state__in=("failed", "dead"))
    failed.exclude(video__current_analysis=F("id")).update(replaced=True)


class Migration(migrations.Migration):
    dependencies = [
        ("detection", "0009_review_tools"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        lock_first(
            "detection_video", "detection_analysis", "detection_review", "detection_datasetvideo", "detection_verdict",
            "detection_modelversion",
        ),
        migrations.RemoveIndex(
            model_name='analysis',
            name='analysis_by_state',
        ),
        migrations.RemoveIndex(
            model_name='review',
            name='review_by_reviewer',
        ),
        migrations.RemoveIndex(
            model_name='review',
            name='review_newest',
        ),
        migrations.RemoveIndex(
            model_name='video',
            name='video_newest',
        ),
        migrations.RemoveIndex(
            model_name='video',
            name='video_owner_external_id',
        ),
        migrations.RemoveIndex(
            model_name='video',
            name='video_by_status',
        ),
        migrations.RemoveIndex(
            model_name='video',
            name='video_by_needs_review',
        ),
        migrations.RemoveIndex(
            model_name='video',
            name='video_by_verdict',
        ),
        migrations.RemoveIndex(
            model_name='video',
            name='video_by_label',
        ),
        migrations.RemoveIndex(
            model_name='video',
            name='video_owner_newest',
        ),
        migrations.RemoveIndex(
            model_name='video',
            name='video_uncertain',
        ),
        migrations.AddField(
            model_name='video',
            name='name_key',
            field=models.GeneratedField(db_persist=True, expression=Lower('original_name'), output_field=models.CharField(max_length=255)),
        ),
        migrations.AddField(
            model_name='video',
            name='verdict_model',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='detection.modelversion'),
        ),
        migrations.AddField(
            model_name='analysis',
            name='replaced',
            field=models.BooleanField(db_default=False, default=False, help_text='It failed, and a newer one has begun since.'),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name='analysis',
            index=models.Index(fields=['state', '-created_at', '-id'], name='analysis_by_state'),
        ),
        migrations.AddIndex(
            model_name='analysis',
            index=models.Index(fields=['state', 'finished_at'], name='analysis_state_finished'),
        ),
        migrations.AddIndex(
            model_name='analysis',
            index=models.Index(fields=['video', 'state', '-created_at', '-id'], name='analysis_by_video_state'),
        ),
        migrations.AddIndex(
            model_name='analysis',
            index=models.Index(fields=['error_code', '-created_at', '-id'], name='analysis_by_error'),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(fields=['owner', 'external_id', '-created_at', '-id'], name='video_owner_external_id'),
        ),
        migrations.AddIndex(
            model_name='review',
            index=models.Index(fields=['reviewer', '-created_at', '-id', 'label'], name='review_by_reviewer'),
        ),
        migrations.AddIndex(
            model_name='review',
            index=models.Index(fields=['label', '-created_at', '-id', 'reviewer'], name='review_by_label'),
        ),
        migrations.AddIndex(
            model_name='review',
            index=models.Index(fields=['-created_at', '-id', 'label', 'reviewer'], name='review_newest'),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(fields=['status'], name='video_count_status'),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(fields=['verdict_label'], name='video_count_verdict'),
        ),
        migrations.AddIndex(
            model_name='analysis',
            index=models.Index(fields=['state', 'replaced', '-created_at', '-id'], name='analysis_replaced'),
        ),
        migrations.AddIndex(
            model_name='datasetvideo',
            index=models.Index(fields=['dataset', 'path', 'label', 'official_split'], name='dataset_list'),
        ),
        migrations.AddIndex(
            model_name='review',
            index=models.Index(fields=['video', 'reviewer', '-created_at', '-id'], name='review_by_video_reviewer'),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(fields=['-created_at', '-id', 'status', 'verdict_label', 'label', 'needs_review', 'owner', 'verdict_model'], name='video_newest'),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(fields=['status', '-created_at', '-id', 'verdict_label', 'label', 'needs_review', 'owner', 'verdict_model'], name='video_by_status'),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(condition=models.Q(('needs_review', True)), fields=['-created_at', '-id', 'status', 'verdict_label', 'label', 'needs_review', 'owner', 'verdict_model'], name='video_by_needs_review'),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(fields=['verdict_label', '-created_at', '-id', 'status', 'label', 'needs_review', 'owner', 'verdict_model'], name='video_by_verdict'),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(fields=['label', '-created_at', '-id', 'status', 'verdict_label', 'needs_review', 'owner', 'verdict_model'], name='video_by_label'),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(fields=['verdict_model', '-created_at', '-id', 'status', 'verdict_label', 'label', 'needs_review', 'owner'], name='video_by_model'),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(condition=models.Q(('needs_review', True)), fields=['label', '-created_at', '-id', 'status', 'verdict_label', 'needs_review', 'owner', 'verdict_model'], name='video_waiting'),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(condition=models.Q(('needs_review', True)), fields=['label', 'margin', 'id'], name='video_uncertain'),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(fields=['owner', '-created_at', '-id', 'status', 'verdict_label', 'label', 'needs_review', 'verdict_model'], name='video_owner_newest'),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(fields=['name_key', '-created_at'], name='video_by_name', opclasses=('varchar_pattern_ops', 'timestamptz_ops')),
        ),
        migrations.AddIndex(
            model_name='video',
            index=models.Index(fields=['external_id', '-created_at'], name='video_by_external_id', opclasses=('varchar_pattern_ops', 'timestamptz_ops')),
        ),
    ]
