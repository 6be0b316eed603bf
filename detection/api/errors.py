"""Errors as RFC 9457 problem JSON: `type, title, status, detail, code, instance`, and `errors` for invalid fields.

`code` is stable for programs; `type` is `about:blank`, so the title is that of the status.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponsePermanentRedirect,
    JsonResponse,
    UnreadablePostError,
)
from django.http.multipartparser import MultiPartParserError
from django.urls import is_valid_path
from django.utils.http import escape_leading_slashes
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from detection.errors import Refused, storage_unavailable
from detection.services.stored_files import is_away

TITLES = {460: "Checksum Mismatch"}
"""Titles of statuses that Python does not know; 460 is the tus protocol's."""
CONTENT_TYPE = "application/problem+json"

log = structlog.get_logger(__name__)


def problem(*, status: int, code: str, detail: str, instance: str, **more: Any) -> dict[str, Any]:
    """Return the body of a problem; what cannot be said in UTF-8 of the request that it quotes is escaped."""
    return {
        "type": "about:blank",
        "title": TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": _encodable(detail),
        "code": code,
        "instance": instance,
    } | more


def _encodable(text: str) -> str:
    """Escape lone surrogates, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def problem_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Turn an exception into a problem, for REST framework; None for an unexpected one, which becomes a 500."""
    set_rollback()
    path = context["request"].path
    error = _as_api_exception(exc)
    if isinstance(error, Refused):
        body = problem(status=error.status, code=error.code, detail=error.detail, instance=path)
        return Response(body, status=error.status, headers=error.headers, content_type=CONTENT_TYPE)
    if error is None:
        return None
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if isinstance(error, exceptions.ValidationError):
        fields = list(_field_errors("", error.detail))
        body = problem(
            status=error.status_code,
            code="validation_error",
            detail="; ".join(f"{e['field']}: {e['detail']}" if e["field"] else e["detail"] for e in fields)[:1000],
            instance=path,
            errors=fields,
        )
    else:
        body = problem(status=error.status_code, code=_code(error), detail=_sentence(error), instance=path)
    return Response(body, status=error.status_code, headers=headers, content_type=CONTENT_TYPE)


def _as_api_exception(exc: Exception) -> exceptions.APIException | Refused | None:
    match exc:
        case exceptions.Throttled():
            return _too_many_requests(exc)
        case exceptions.APIException() | Refused():
            return exc
        case Http404():
            return exceptions.NotFound()
        case PermissionDenied():
            return exceptions.PermissionDenied()
        case RequestDataTooBig():
            return Refused("request_too_large", "The fields of the request are too large.", status=413)
        case SuspiciousOperation() | BadRequest() | MultiPartParserError():
            return exceptions.ParseError()
        case UnreadablePostError():
            return Refused("upload_interrupted", "The request ended before its body was complete.")
        case _ if is_away(exc):
            log.error("storage_away", error=str(exc))
            return storage_unavailable()
    return None


def _too_many_requests(error: exceptions.Throttled) -> Refused:
    wait_s = str(max(1, math.ceil(getattr(error, "wait", None) or 1)))
    return Refused(
        "too_many_requests",
        f"You may ask {settings.DFD_MAX_REQUESTS_A_MINUTE} times a minute; try again in {wait_s} s.",
        status=429,
        headers={"Retry-After": wait_s},
    )


def _code(error: exceptions.APIException) -> str:
    codes = error.get_codes()
    return codes if isinstance(codes, str) else str(error.default_code)


def _sentence(error: exceptions.APIException) -> str:
    detail = error.detail
    return str(detail) if isinstance(detail, str) else str(error.default_detail)


def _field_errors(field: str, detail: Any) -> Iterator[dict[str, str]]:
    """Flatten REST framework's nested details into `{field, code, detail}`; field "" is the whole request."""
    if isinstance(detail, dict):
        for key, inner in detail.items():
            name = "" if key == "non_field_errors" else str(key)
            yield from _field_errors(".".join(part for part in (field, name) if part), inner)
    elif isinstance(detail, list):
        for inner in detail:
            yield from _field_errors(field, inner)
    else:
        code = str(getattr(detail, "code", "invalid"))
        yield {"field": _encodable(field), "code": code, "detail": _encodable(str(detail))}


# --- outside of REST framework: no route, a malfunction --------------------------------------------------------------


def _is_for_programs(request: HttpRequest) -> bool:
    return request.path.startswith(("/api/", "/healthz", "/readyz", "/metrics"))


def _plain(request: HttpRequest, status: int, code: str, detail: str) -> HttpResponse:
    body = problem(status=status, code=code, detail=detail, instance=request.path)
    return JsonResponse(body, status=status, content_type=CONTENT_TYPE)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Handle 400: problem JSON for programs, Django's page for browsers."""
    if _is_for_programs(request):
        return _plain(request, 400, "bad_request", "The request cannot be understood.")
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Handle 403 likewise."""
    if _is_for_programs(request):
        return _plain(request, 403, "permission_denied", "You may not do this.")
    return defaults.permission_denied(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Handle 404 likewise; an API path without its last slash is redirected with its method (308)."""
    if _is_for_programs(request):
        if not request.path.endswith("/") and is_valid_path(f"{request.path_info}/"):
            # Django's own redirect (301) would make clients repeat a POST as a GET, and lose the upload.
            with_slash = request.get_full_path(force_append_slash=True)
            return HttpResponsePermanentRedirect(escape_leading_slashes(with_slash), preserve_request=True)
        return _plain(request, 404, "not_found", "There is nothing here.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Handle 500 likewise."""
    if _is_for_programs(request):
        return _plain(request, 500, "server_error", "Something went wrong on our side; it has been logged.")
    return defaults.server_error(request)
