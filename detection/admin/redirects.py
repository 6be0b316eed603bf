"""Redirect the change pages of proxy lists to the page of the video."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse


def to_video_page(request: HttpRequest, object_id: str) -> HttpResponseRedirect:
    """Redirect to a video's page, with the query string."""
    url = reverse("admin:detection_video_change", args=(object_id,))
    query = request.GET.urlencode()
    return HttpResponseRedirect(f"{url}?{query}" if query else url)
