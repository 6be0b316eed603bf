"""Sentences and refusals for what the retention policy has removed."""

from __future__ import annotations

from datetime import datetime

from django.utils.formats import date_format
from django.utils.translation import gettext as _

from detection.errors import Refused
from detection.models import Video


def original_sentence(video: Video) -> str:
    """Return when the original was removed, or an empty string."""
    when = video.original_removed_at
    return _("The original was removed by the retention policy on %(day)s.") % {"day": _day(when)} if when else ""


def pictures_sentence(video: Video) -> str:
    """Return when the pictures were removed, or an empty string."""
    when = video.pictures_removed_at if video.extracted_at else None
    return _("The pictures were removed by the retention policy on %(day)s.") % {"day": _day(when)} if when else ""


def check_original(video: Video, *, then: str = "", status: int = 410) -> None:
    """Raise Refused `original_expired` if the original was removed; `then` is a sentence about what can be done."""
    if sentence := original_sentence(video):
        raise Refused("original_expired", f"{sentence} {then}".strip(), status=status)


def check_pictures(video: Video) -> None:
    """Raise Refused `pictures_expired` (410) if the pictures were removed."""
    if sentence := pictures_sentence(video):
        raise Refused("pictures_expired", sentence, status=410)


def _day(when: datetime) -> str:
    return date_format(when, _("j F Y"))
