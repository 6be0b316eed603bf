"""Many at once, each with a database connection of its own: the database decides, and only one wins."""

from __future__ import annotations

import pytest

from detection.models import Analysis, ModelVersion, Stage, Video
from detection.services.jobs import analyses as jobs
from detection.services.jobs import sweeper
from detection.services.learning import registry
from tests.at_once import MANY, at_once
from tests.detection.conftest import claimed

pytestmark = pytest.mark.django_db(transaction=True)


def test_of_many_workers_with_the_same_message_one_gets_the_claim(video: Video) -> None:
    analysis = jobs.queue_analysis(video=video)
    claims = at_once(lambda n: jobs.claim(analysis_id=analysis.id, stage=Stage.EXTRACT, worker=str(n)))
    won = [claim for claim in claims if claim is not None]
    assert len(won) == 1
    analysis.refresh_from_db()
    assert (analysis.token, analysis.attempts) == (won[0].token, 1)


def test_many_requests_to_analyse_a_video_make_one_analysis(video: Video) -> None:
    analyses = at_once(lambda n: jobs.queue_analysis(video=Video.objects.get(id=video.id)))
    assert len({analysis.id for analysis in analyses}) == 1
    assert Analysis.objects.count() == 1


def test_of_many_sweepers_one_gives_the_work_of_a_dead_worker_back(video: Video) -> None:
    analysis = jobs.queue_analysis(video=video)
    claimed(analysis)
    Analysis.objects.update(lease_until=analysis.created_at)
    assert sum(report.given_back for report in at_once(lambda n: sweeper.sweep())) == 1
    analysis.refresh_from_db()
    assert analysis.attempts == 1


def test_many_activations_leave_one_active_model(db: None) -> None:
    models = [
        ModelVersion.objects.create(name=str(n), sha256=f"{n:064}", file=f"models/{n}", threshold=0.5)
        for n in range(MANY)
    ]
    at_once(lambda n: registry.activate_model(model=models[n]))
    assert ModelVersion.objects.filter(active=True).count() == 1
