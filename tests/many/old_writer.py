"""What processes of the released version write while migrations run: `python -m tests.many.old_writer ROUNDS FILE`.

Its models are those of that version's last migration, so each statement names the columns that it knew.  It makes so
many rounds, or with 0 writes until the file exists, and prints as JSON how many rounds it made, the longest of them in
seconds, and what went wrong.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

RELEASED = ("detection", "0008_review_roles")


def main() -> None:
    import django

    django.setup()
    from django.db import connection
    from django.db.migrations.loader import MigrationLoader

    apps = MigrationLoader(connection).project_state(RELEASED).apps
    rounds, stop = int(sys.argv[1]), Path(sys.argv[2])
    taken: list[float] = []
    errors: list[str] = []
    while len(taken) < rounds if rounds else not stop.exists():
        started = time.monotonic()
        try:
            one_video(apps, len(taken))
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
        taken.append(time.monotonic() - started)
    print(json.dumps({"rounds": len(taken), "longest_s": round(max(taken), 2), "errors": errors[:5]}))


def one_video(apps: Any, number: int) -> None:
    """An upload, its claim, its heartbeat, its verdict, a review: as the services of that version wrote them."""
    from django.db import transaction
    from django.utils import timezone

    now = timezone.now()
    model = {
        name: apps.get_model("detection", name) for name in ("Video", "Analysis", "Verdict", "Review", "ReviewClaim")
    }
    owner = apps.get_model("auth", "User").objects.order_by("id").first()
    version = apps.get_model("detection", "ModelVersion").objects.get(active=True)
    with transaction.atomic():
        video = model["Video"].objects.create(
            owner=owner,
            original_name=f"Clip {number}.MP4",
            sha256=uuid4().hex * 2,
            size_bytes=1,
            file=f"videos/{uuid4()}",
        )
        analysis = model["Analysis"].objects.create(video=video)
        model["Video"].objects.filter(pk=video.pk).update(current_analysis=analysis)
    rows = model["Analysis"].objects.filter(pk=analysis.pk)
    rows.update(state="running", token=uuid4(), lease_until=now, attempts=1, started_at=now)
    rows.update(progress=50, lease_until=timezone.now())
    with transaction.atomic():
        verdict = model["Verdict"].objects.create(
            video=video, model_version=version, label="fake", fake_probability=0.9, threshold=0.5, track=0
        )
        rows.update(state="succeeded", progress=100, verdict=verdict, finished_at=timezone.now(), token=None)
        model["Video"].objects.filter(pk=video.pk).update(
            status="succeeded", current_verdict=verdict, verdict_label="fake", fake_probability=0.9, needs_review=True
        )
    with transaction.atomic():
        claim = model["ReviewClaim"].objects.create(
            video=video, reviewer=owner, token=uuid4(), queue="uncertain", role="first", until=timezone.now()
        )
        model["Review"].objects.create(video=video, reviewer=owner, label="fake", role="first")
        claim.delete()
        model["Video"].objects.filter(pk=video.pk).update(label="fake", needs_review=False)


if __name__ == "__main__":
    main()
