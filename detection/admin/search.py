"""Search videos by id, hash, external id or file name."""

from __future__ import annotations

import re
import unicodedata
import uuid
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Lower
from django.utils.functional import lazy
from django.utils.translation import gettext as _

from detection.localized import numeral
from detection.models import Video

NEWEST = 20_000
"""Videos among whose names a part is looked for."""
MOST = 200
"""Videos that a search finds: few enough that a database looks them up, and does not walk past all others."""


def _help() -> str:
    sentence = _(
        "An id, a SHA-256, or the beginning of a file's name or external id. A later part of a name is looked for among"
        " the newest %(newest)s videos."
    )
    return sentence % {"newest": numeral(f"{NEWEST:,}")}


def too_many() -> str:
    """Return the sentence of a search that found more than it lists."""
    sentence = _("More than %(most)s videos match; not all of them are listed. Type more of the name, or paste an id.")
    return sentence % {"most": MOST}


SEARCH_HELP = lazy(_help, str)()
_HEX = re.compile(r"^[0-9a-f]{8,64}$")


def search_videos(queryset: QuerySet[Any], term: str) -> tuple[QuerySet[Any], bool]:
    """Return the videos that `term` means, and whether these are all: no search reads a large table from end to end.

    Each column is queried separately, so that each query walks its own index; joined with OR, none would be used.
    """
    term = term.strip()
    if not term:
        return queryset, True
    if "\x00" in term:
        return queryset.none(), True
    try:
        return queryset.filter(pk=uuid.UUID(term)), True
    except ValueError:
        pass
    found: dict[uuid.UUID, None] = {}
    for rows in _ways(term):
        found |= dict.fromkeys(rows.values_list("pk", flat=True)[: MOST + 1])
    return queryset.filter(pk__in=list(found)[:MOST]), len(found) <= MOST


def beginning(field: str, term: Any, end: Any = None) -> Q:
    """Return a condition for "`field` begins with `term`" that an index serves; `end` is the first value after these.

    SQLite walks its index for a range and not for LIKE.  Postgres walks one for LIKE; in a range it sorts by the rules
    of a language, by which "a b" may lie outside of what begins with "a".
    """
    if connection.vendor == "sqlite":
        return Q(**{f"{field}__gte": term, f"{field}__lt": end or f"{term}\U0010ffff"})
    return Q(**{f"{field}__startswith": term})


def spellings(term: str) -> list[str]:
    """Return the forms in which a name may be stored.

    Composed or decomposed, and on SQLite in upper and lower case, as it folds only A to Z.
    """
    if term.isascii():
        return [term]
    forms = [unicodedata.normalize(form, term) for form in ("NFC", "NFD")]
    cases = (str, str.lower, str.capitalize, str.title, str.upper) if connection.vendor == "sqlite" else (str,)
    return list(dict.fromkeys(case(form) for form in forms for case in cases))


def _ways(term: str) -> list[QuerySet[Video]]:
    """Return the queries of a search, the most exact first."""
    clients = Video.objects.filter(beginning("external_id", term))
    # In the order of their index.  Postgres would sort by the rules of a language, of which the index knows nothing.
    sqlite = connection.vendor == "sqlite"
    clients = clients.order_by("external_id", "-created_at") if sqlite else clients.order_by()
    within, names = Q(), []
    for spelling in spellings(term):
        # Lower-cased by the database, as the names were: SQLite knows no capitals but A to Z.
        key, end = Lower(Value(spelling)), Lower(Value(f"{spelling}\U0010ffff"))
        rows = Video.objects.filter(beginning("name_key", key, end))
        names.append(rows.order_by("name_key", "-created_at") if sqlite else rows.order_by())
        within |= Q(name_key__contains=key)
    parts = Video.objects.filter(within)
    oldest = Video.objects.values_list("created_at", flat=True)[NEWEST - 1 : NEWEST].first()
    if oldest is not None:
        parts = parts.filter(created_at__gte=oldest)
    ways = [clients, parts, *names]
    prefix = term.lower()
    if _HEX.match(prefix):
        ways.insert(0, Video.objects.filter(sha256__gte=prefix, sha256__lt=prefix + "g").order_by("sha256"))
    return ways
