"""Middleware of the API."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse

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
        body = problem(status=411, code="length_required", detail=detail, instance=request.path)
        response = JsonResponse(body, status=411, content_type=CONTENT_TYPE)
        response["Connection"] = "close"  # what it sends is not read
        return response
