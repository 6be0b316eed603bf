"""Middleware of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.http import parse_header_parameters

from detection.api.errors import CONTENT_TYPE, problem


class LengthRequired:
    """Answer 411 to a body without a length (`Transfer-Encoding: chunked`), which Django takes for an empty one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the response, or 411."""
        if not request.META.get("HTTP_TRANSFER_ENCODING"):
            return self.get_response(request)
        detail = "Send the body with a Content-Length, not with Transfer-Encoding; an upload in pieces has any length."
        response = _refusal(request, status=411, code="length_required", detail=detail)
        response["Connection"] = "close"  # what it sends is not read
        return response


class Utf8Only:
    """Answer 400 to a request that names another charset than UTF-8.

    Django decodes forms, and addresses too, with whatever codec of Python's the client names: `zlib` and `idna` among
    them, which fail in ways that nothing awaits.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the response, or 400."""
        charset = (request.content_params or {}).get("charset")
        if charset is None or charset.lower() in ("utf-8", "utf8"):
            return self.get_response(request)
        detail = "Send the request in UTF-8, and name no other charset in its Content-Type."
        return _refusal(request, status=400, code="charset_not_utf8", detail=detail)


def _refusal(request: HttpRequest, *, status: int, code: str, detail: str) -> HttpResponse:
    body = problem(status=status, code=code, detail=detail, instance=request.path)
    return JsonResponse(body, status=status, content_type=CONTENT_TYPE)


# The servers' requests: `dfdsite.wsgi` and `dfdsite.asgi` use them.  Django's own decode by that charset already when
# they are made, before any middleware and outside of what handles errors.


class WsgiRequest(WSGIRequest):
    """A request that is decoded as UTF-8 until `Utf8Only` has looked at it."""

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        self.content_type, self.content_params = _content_type(meta)


class AsgiRequest(ASGIRequest):
    """Likewise."""

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        self.content_type, self.content_params = _content_type(meta)


def _content_type(meta: dict[str, Any]) -> tuple[str, dict[str, str]]:
    try:
        return parse_header_parameters(meta.get("CONTENT_TYPE", ""))
    except (ValueError, LookupError):  # a parameter may name a charset of its own: boundary*=idna''..
        return "", {"charset": "unknown"}
