"""The part of the audit log that an evidence report carries: a video's entries, and the chain of hashes around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser

from detection.models import AuditArchive, AuditEntry, AuditHead
from detection.selectors.report import reads_whole_audit
from detection.services.ops import audit

MAX_ENTRIES = 2000
MAX_HASHES = 20_000
"""Of 64 characters each; of a longer chain the newest."""


@dataclass(frozen=True)
class AuditExtract:
    """`values` for audit.json (`detection.evidence_report.chain` says what is in it), `stated` for the manifest."""

    values: dict[str, Any]
    stated: dict[str, Any]


def extract(*, video_id: UUID, user: AbstractBaseUser) -> AuditExtract:
    """Return the video's newest entries that the user may read, in order: all, or their own actions."""
    head = AuditHead.objects.first()
    last = head.number if head else 0
    rows = AuditEntry.objects.filter(subject=f"video:{video_id}", number__lte=last)
    whole = reads_whole_audit(user)
    if not whole:
        rows = rows.filter(actor_id=user.pk)
    entries = [audit.as_hashed(entry) for entry in rows.order_by("-number")[:MAX_ENTRIES]][::-1]
    first = max(entries[0]["number"] if entries else last + 1, last - MAX_HASHES + 1)
    chain = list(
        AuditEntry.objects.filter(number__range=(first, last)).order_by("number").values_list("number", "hash")
    )
    archive = AuditArchive.objects.order_by("-last").first()
    archived_until = archive.last if archive else 0
    first = chain[0][0] if chain else last + 1  # the older ones may have moved into an archive meanwhile
    values = {
        "scope": "all" if whole else "own",
        "entries": entries,
        "first": first,
        "hashes": [digest for _, digest in chain],
        "archived_until": archived_until,
    }
    stated = {
        "entries": [entry["number"] for entry in entries],
        "last": last,
        "head": chain[-1][1] if chain else "",
    }
    return AuditExtract(values, stated)
