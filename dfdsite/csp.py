"""What a browser may do with our pages: a Content-Security-Policy and a Permissions-Policy on every response.

Whatever sets a policy of its own (stored files, the training report, Swagger's page) keeps it.
"""

from __future__ import annotations

from typing import Any

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE
from csp.middleware import CSPMiddleware, PolicyParts
from django.http import HttpRequest
from django.http.response import HttpResponseBase

NOTHING: dict[str, Any] = {
    "default-src": [NONE],
    "base-uri": [NONE],
    "form-action": [SELF],
    "frame-ancestors": [NONE],
}
"""JSON, static files and plain error pages need nothing at all."""

ADMIN: dict[str, Any] = NOTHING | {
    # Unfold's menus, filters and dialogs are Alpine.js (3.14), whose standard build turns the expressions in x-data
    # and @click attributes into functions with `new AsyncFunction`: without 'unsafe-eval' none of them works.  Alpine's
    # build without it understands a part of the language only, and not what Unfold's templates say.  No script is
    # inline and none comes from elsewhere, so markup that slipped through could still not bring a script along.
    "script-src": [SELF, UNSAFE_EVAL],
    "script-src-attr": [NONE],
    # Unfold writes the theme's colours and widths of bars into the page, Alpine and htmx set styles as text.  What a
    # style could fetch is limited by img-src and font-src.
    "style-src": [SELF, UNSAFE_INLINE],
    "img-src": [SELF, "data:"],  # arrows and ticks inside Unfold's style sheet
    "font-src": [SELF],
    "media-src": [SELF],  # from a bucket, too: stored files pass through the web process
    "connect-src": [SELF],
}

PERMISSIONS = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer", "browsing-topics", "camera", "display-capture", "geolocation", "gyroscope", "magnetometer",
        "microphone", "midi", "payment", "publickey-credentials-get", "usb", "xr-spatial-tracking",
    )
)  # fmt: skip
"""A player may go full screen; a page of ours has no use for any of these."""


class PagePolicy(CSPMiddleware):
    """The admin's policy below /admin/, `NOTHING` (settings.CONTENT_SECURITY_POLICY) everywhere else."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Add the Permissions-Policy header beside the content policy."""
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        return super().process_response(request, response)

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        """Return the policy's parts: the admin's own below /admin/, else the settings'."""
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and parts.config is None and request.path_info.startswith("/admin/"):
            parts.config = ADMIN
        return parts
