"""Indexes of the table of videos, made so that lists of a million rows answer under any filter."""

from __future__ import annotations

from django.db.models import Index, Q

FILTERED = ("status", "verdict_label", "label", "needs_review", "owner", "verdict_model")
"""Columns by which lists of videos are filtered, in any combination."""
PRESENT = Q(pictures_removed_at=None)
"""Nobody can review what is not there to be seen: indexes of the workspace leave the others out, as does that of what
the retention policy may still remove."""
DOUBTFUL = Q(needs_review=True)
"""Few need review.  Django renders this without a comparison: no index on SQLite begins with such a column, but one may
be made of its rows."""

PREFIX_THEN_TIME = ("varchar_pattern_ops", "timestamptz_ops")
"""Postgres' operator classes of an index for LIKE 'x%', in the order of time."""


def newest(name: str, *first: str, also: tuple[str, ...] = (), condition: Q | None = None) -> Index:
    """Return an index that is walked from the newest row on.

    It carries every column that lists filter by (and `also`), so that passing over a million rows reads the index
    alone.
    """
    rest = (field for field in FILTERED if field not in first)
    return Index(fields=(*first, "-created_at", "-id", *rest, *also), name=name, condition=condition)
