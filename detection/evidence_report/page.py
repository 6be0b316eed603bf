"""The public page that checks a report in the browser: what is dropped on it is sent nowhere."""

from __future__ import annotations

from csp.constants import SELF
from csp.decorators import csp_update
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from detection.admin import texts
from detection.evidence_report import signing

# No `connect-src`: the page's own policy keeps it from sending anything.
POLICY = {"script-src": [SELF], "style-src": [SELF], "img-src": [SELF]}


@require_safe
@csp_update(POLICY)
def verification_page(request: HttpRequest) -> HttpResponse:
    """Serve the page, open to everybody, with the public keys of this installation."""
    try:
        keys = [{"fingerprint": key.fingerprint, "public_key": key.text} for key in signing.known_keys()]
    except (OSError, ValueError):
        keys = []  # the page says that it knows none
    fingerprints = [key["fingerprint"] for key in keys]
    context = {"keys": keys, "fingerprints": fingerprints, "texts": texts.address(request)}
    return render(request, "verify_report.html", context)
