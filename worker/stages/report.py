"""Evidence reports: what is known of a video, as a PDF and a signed bundle.  No video is decoded."""

from __future__ import annotations

from collections.abc import Mapping

import structlog
from django.core.files.storage import default_storage
from django.utils import timezone

from detection.errors import Refused
from detection.evidence_report import bundle, signing
from detection.models import EvidenceJob, Video
from detection.selectors import permissions, report
from detection.services.jobs import evidence
from detection.services.jobs.evidence import EvidenceClaim
from detection.services.ops import audit_extract
from worker.process.lease_heartbeat import LeaseHeartbeat
from worker.stages.attempt import BadInput, NotNow

log = structlog.get_logger(__name__)


def make_report(claim: EvidenceClaim, heartbeat: LeaseHeartbeat) -> None:
    """Of what its requester may know at this moment."""
    job = EvidenceJob.objects.select_related("requested_by").get(id=claim.id)
    rows = Video.objects.select_related("owner", "current_verdict__model_version")
    video, user = rows.get(id=claim.video_id), job.requested_by
    if user is None or not permissions.may_see(user=user, video=video):
        raise BadInput("not_found", "There is no such video any more.")
    try:
        evidence.check_may_have_report(video=video, user=user)
    except Refused as refusal:
        raise BadInput(refusal.code, refusal.detail) from refusal
    from worker.report.pdf import Seal, make_pdf  # here: only this work has need of reportlab

    try:
        key = signing.private_key()
    except (OSError, ValueError) as error:
        log.error("signing_key_unusable", error=str(error))
        raise NotNow("The installation's signing key cannot be read; its operator must look at it.") from error
    basis = evidence.report_basis(video, user)
    told = report.contents(video=video, user=user, heatmaps=evidence.heatmap_names(video), made_at=timezone.now())
    pictures = _read(told.pictures, heartbeat)
    trail = audit_extract.extract(video_id=video.pk, user=user)
    pdf = make_pdf(told.document, pictures, Seal(signing.public_key_of(key).fingerprint))
    heartbeat(95)
    files = {
        bundle.REPORT: bundle.to_json(told.document),
        bundle.PDF: pdf,
        bundle.AUDIT: bundle.to_json(trail.values),
        **pictures,
    }
    facts = {
        "made_at": told.document["made_at"],
        "video": {"id": str(video.pk), "sha256": video.sha256},
        "audit": trail.stated,
    }
    archive = bundle.build(files, facts=facts, key=key)
    evidence.finish_report(claim=claim, basis=basis, bundle=archive, pdf=pdf)


def _read(pictures: Mapping[str, str], heartbeat: LeaseHeartbeat) -> dict[str, bytes]:
    """Read each picture; one that is not in storage raises FileNotFoundError: that is not the video's fault."""
    contents: dict[str, bytes] = {}
    for number, (name, stored) in enumerate(pictures.items()):
        with default_storage.open(stored) as file:
            contents[name] = file.read()
        heartbeat(80 * number / len(pictures))
    return contents
