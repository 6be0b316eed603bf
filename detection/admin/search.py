"""Search over videos by what people paste: an id, a hash, the client's name for it, or the file's name."""

from __future__ import annotations

import re
import uuid
from typing import Any

from django.db.models import Q, QuerySet

from detection.models import Video

_HEX = re.compile(r"^[0-9a-f]{8,64}$")


def search_videos(queryset: QuerySet[Video], term: str) -> QuerySet[Any]:
    """Videos that `term` means; an id and a whole hash answer from an index and look at nothing else."""
    term = term.strip()
    if not term:
        return queryset
    try:
        return queryset.filter(pk=uuid.UUID(term))
    except ValueError:
        pass
    where = Q(original_name__icontains=term) | Q(external_id__startswith=term)
    prefix = term.lower()
    if _HEX.match(prefix):
        # As a range and not as LIKE: that is the form an index serves on every database.
        of_hash = Q(sha256__gte=prefix, sha256__lt=prefix + "g")
        where = of_hash if len(prefix) == 64 else where | of_hash
    return queryset.filter(where)
