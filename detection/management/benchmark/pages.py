"""Find the pages to measure, instead of listing them, so that a new page is measured by itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.urls.resolvers import RoutePattern
from django.utils import timezone

import detection.admin  # noqa: F401 (registers the pages that are measured)
from detection.api.filters import VideoFilters
from detection.models import DatasetVideo, State, Video

# What a person might type into a filter that takes text, by the filter's parameter: somebody with most of the rows,
# somebody with hardly any, and the beginning of several names.
TEXTS: dict[str, tuple[str, ...]] = {
    "owner": ("mobile-app", "trial", "arch", "nobody"),
    "reviewer": ("reader-0", "reader-7", "read", "nobody"),
}


@dataclass(frozen=True)
class Page:
    """A URL to measure; `group` is the list or part of the site, `name` which of its pages."""

    group: str
    name: str
    url: str


def admin_lists(user: User, *, combined: bool = True) -> Iterator[Page]:
    """Yield every list that the user may see, plain and with each filter, order and search."""
    for model in sorted(admin.site._registry, key=lambda model: model._meta.label_lower):
        request = RequestFactory().get(list_url(model))
        request.user = user
        model_admin = admin.site._registry[model]
        if model_admin.has_view_or_change_permission(request):
            yield from _list_pages(model, model_admin.get_changelist_instance(request), combined=combined)


def list_url(model: type[Model]) -> str:
    """Return the URL of a model's list."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def plain_pages(user: User) -> Iterator[Page]:
    """Yield the admin's URLs without arguments; some of them do not answer a GET."""
    lists = {list_url(model) for model in admin.site._registry}
    for path in sorted(set(_addresses(get_resolver().url_patterns, "/"))):
        if path.startswith("/admin/") and path not in lists and not path.endswith(("/add/", "/logout/", "/jsi18n/")):
            yield Page("admin", path, path)


def video_pages() -> Iterator[Page]:
    """Yield the page of one video of each kind."""
    kinds = {
        "many faces": Video.objects.filter(tracks=2),
        "waiting": Video.objects.filter(label="", needs_review=True),
        "second reading": Video.objects.filter(review_next="second"),
        **{state.value: Video.objects.filter(status=state) for state in State},
    }
    for kind, rows in kinds.items():
        video = rows.first()
        if video is not None:
            yield Page("video page", kind, reverse("admin:detection_video_change", args=(video.pk,)))


def rest_pages() -> Iterator[Page]:
    """Yield the REST lists with each filter, and what monitoring reads."""
    videos = reverse("api:videos")
    yield Page("REST", "videos", videos)
    yield Page("REST", "videos, 100 a page", f"{videos}?page_size=100")
    now = timezone.now()
    for name, field in VideoFilters.base_filters.items():
        values: Iterable[Any] = [choice for choice, _ in field.extra.get("choices", ())]
        if name == "needs_review":
            values = ("true", "false")
        elif name == "external_id":
            values = (Video.objects.exclude(external_id="").values_list("external_id", flat=True).first(), "unheard-of")
        elif name.startswith("created_"):
            values = ((now - timedelta(days=300)).isoformat(), (now - timedelta(days=1)).isoformat())
        for value in values:
            yield Page("REST", f"videos {name}={value}", f"{videos}?{urlencode({name: value})}")
    yield Page(
        "REST", "videos waiting, one verdict", f"{videos}?{urlencode({'needs_review': 'true', 'verdict': 'fake'})}"
    )
    one = Video.objects.filter(tracks__gt=0).first()
    if one is not None:
        for name in ("video", "faces", "reviews"):
            yield Page("REST", name, reverse(f"api:{name}", kwargs={"video_id": one.pk}))
        yield Page("REST", "task", reverse("api:task", kwargs={"task_id": one.current_analysis_id}))
    yield Page("REST", "models", reverse("api:models"))


def searches() -> dict[str, str]:
    """Return search terms by what they are."""
    video = Video.objects.exclude(external_id="").order_by("created_at").first()
    row = DatasetVideo.objects.order_by("path").last()
    assert video is not None
    return {
        "id": str(video.pk),
        "sha256": video.sha256,
        "beginning of a sha256": video.sha256[:10],
        "name": video.original_name,
        "beginning of many names": "interview",
        "beginning of many names, in capitals": "INTERVIEW_0",
        "name of many": "video.mp4",
        "within many names": "minister",
        "within hardly any name": video.original_name[3:10],
        "in no name": "nothing is called so",
        "external id": video.external_id,
        "beginning of many external ids": "ext-",
        "error code": "corrupt_video",
        "beginning of paths": row.path[:8] if row else "part_",
    }


def _list_pages(model: type[Model], changelist: ChangeList, *, combined: bool) -> Iterator[Page]:
    group, url = model._meta.label_lower, list_url(model)

    def page(name: str, *parameters: tuple[str, Any]) -> Page:
        return Page(group, name, f"{url}?{urlencode(parameters)}" if parameters else url)

    yield page("as it opens")
    if changelist.paginator.num_pages > 1:
        yield page("page 2", ("p", 2))
        yield page("last page", ("p", changelist.paginator.num_pages))
    filters = [list(_choices(spec, changelist)) for spec in changelist.filter_specs]
    for choice in itertools.chain(*filters):
        yield page(_said(choice), *choice)
    for column, name in enumerate(changelist.list_display):
        if column and changelist.get_ordering_field(name) and _sortable(changelist, name):
            yield page(f"by {name}", ("o", column))
            yield page(f"by {name}, descending", ("o", -column))
    views = [choice for choice in itertools.chain(*filters) if choice[0][0] == "view"] or [()]
    if changelist.search_fields and model._meta.app_label == Video._meta.app_label:
        for (what, term), view in itertools.product(searches().items(), (views[0], views[-1])[: len(views)]):
            yield page(f"search: {what} {_said(view)}".strip(), ("q", term), *view)
    if combined:
        for one, other in itertools.combinations(filters, 2):
            for first, second in itertools.product(one, other):
                yield page(f"{_said(first)} + {_said(second)}", *first, *second)
    first_row = next(iter(changelist.result_list), None)
    if first_row is not None and not issubclass(model, Video):
        change = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=(first_row.pk,))
        yield Page(group, "one row's page", change)


Choice = tuple[tuple[str, Any], ...]


def _choices(spec: Any, changelist: ChangeList) -> Iterator[Choice]:
    """Yield the choices of a filter, as query parameters."""
    now = timezone.now().date()
    for choice in spec.choices(changelist):
        form = choice.get("form")
        if form is None:
            # Django's own filters offer links.
            pairs = tuple(
                tuple(part.split("=", 1)) for part in choice.get("query_string", "?").lstrip("?").split("&") if part
            )
            if pairs and not choice.get("selected"):
                yield pairs
            continue
        dates = [name for name in form.fields if name.endswith(("_from", "_to"))]
        if dates:
            yield ((dates[0], now - timedelta(days=7)),)
            yield ((dates[0], now - timedelta(days=330)), (dates[-1], now - timedelta(days=329)))
            continue
        for name, field in form.fields.items():
            values = [value for value, _ in getattr(field, "choices", ()) if value] or TEXTS.get(name, ("a",))
            yield from (((name, value),) for value in values)


def _sortable(changelist: ChangeList, name: Any) -> bool:
    return changelist.sortable_by is None or name in changelist.sortable_by


def _said(choice: Choice) -> str:
    return " ".join(f"{name}={value}" for name, value in choice)


def _addresses(patterns: Iterable[URLPattern | URLResolver], prefix: str) -> Iterator[str]:
    for pattern in patterns:
        route = pattern.pattern
        if not isinstance(route, RoutePattern) or route.converters:
            continue
        if isinstance(pattern, URLResolver):
            yield from _addresses(pattern.url_patterns, prefix + str(route))
        else:
            yield prefix + str(route)
