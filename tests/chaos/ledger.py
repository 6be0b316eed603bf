"""What database, storage and broker hold when a storm is over, as JSON: `python -m tests.chaos.ledger`.

With the product's own settings, in a process of its own.  A day passes first: what waits for its time is seen to.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import django


def ledger() -> dict[str, Any]:
    """`videos`: one entry each; `deliveries`: how many are in which state.

    The rest is what should not be: empty, when nothing was lost or left.
    """
    from django.conf import settings
    from django.utils import timezone

    from detection.models import (
        Analysis,
        AuditArchive,
        FaceFrame,
        FolderCheck,
        ModelVersion,
        Removal,
        SampledFrame,
        TrainingRun,
        Verdict,
        Video,
        Webhook,
        WebhookDelivery,
    )
    from detection.services.jobs import orphan_files
    from detection.services.ops import pending_deletions
    from detection.services.uploads import uploads
    from worker.process import work_files

    long_ago = timezone.now() - timedelta(days=2)
    for rows in (FolderCheck.objects.all(), Removal.objects.all()):
        rows.update(created_at=long_ago)
    incoming, work = Path(settings.FILE_UPLOAD_TEMP_DIR), Path(settings.VAR_DIR) / "work"
    for path in (*incoming.iterdir(), *work.iterdir()):
        os.utime(path, (long_ago.timestamp(), long_ago.timestamp()))
    while orphan_files.sweep() or pending_deletions.sweep():
        pass
    uploads.remove_abandoned_uploads()
    work_files.remove_leftovers()

    verdicts = Counter(Verdict.objects.values_list("video_id", "model_version_id"))
    judged = Counter(video for video, _ in verdicts)
    open_rows = Counter(Analysis.objects.filter(state__in=("queued", "running")).values_list("video_id", flat=True))
    attempts = dict(Analysis.objects.values_list("video_id", "attempts"))
    webhooks = Counter(Webhook.objects.values_list("owner_id", flat=True))
    deliveries = Counter(WebhookDelivery.objects.values_list("video_id", flat=True))
    named = {
        str(name)
        for model, field in (
            (Video, "file"), (Video, "clip"), (Video, "thumbnail"), (Video, "preview"), (FaceFrame, "crop"),
            (SampledFrame, "image"), (ModelVersion, "file"), (TrainingRun, "report"),
            (AuditArchive, "file"),
        )
        for name in model._default_manager.exclude(**{field: ""}).values_list(field, flat=True)
    }  # fmt: skip
    root = Path(settings.MEDIA_ROOT)
    stored = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    videos = {
        str(video.pk): {
            "name": video.original_name,
            "state": video.status,
            "verdicts": judged[video.pk],
            "analyses": video.analyses.count(),
            "attempts": attempts.get(video.pk, 0),
            "faces": FaceFrame.objects.filter(video=video).count(),
        }
        for video in Video.objects.all()
    }
    return {
        "videos": videos,
        "verdicts_twice": [str(video) for (video, _), count in verdicts.items() if count > 1],
        "stuck": [str(video) for video in open_rows],
        "told_too_seldom_or_too_often": [
            str(video.pk) for video in Video.objects.all() if deliveries[video.pk] != webhooks[video.owner_id]
        ],
        "deliveries": dict(Counter(WebhookDelivery.objects.values_list("state", flat=True))),
        "files_without_a_row": sorted(stored - named),
        "rows_without_a_file": sorted(named - stored),
        "temporary_files": sorted(path.name for path in incoming.iterdir()),
        "work_files": sorted(path.name for path in work.iterdir()),
    }


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dfdsite.settings")
    django.setup()
    print(json.dumps(ledger()))
