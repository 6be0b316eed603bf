"""Single sign-on by OpenID Connect, from the environment: off unless DFD_OIDC_ISSUER is set."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from dfdsite import environment as env

ROLES = ("reviewer", "senior_reviewer", "model_owner", "operator", "admin")
"""What a provider's group may stand for.  Client programs (`uploader`) have tokens, and log in nowhere."""


def issuer() -> str:
    """Return the provider's address as its tokens state it, or an empty string.  Raises ImproperlyConfigured."""
    address = env.address("DFD_OIDC_ISSUER", ("https", "http"))
    parts = urlsplit(address)
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost"):
        raise ImproperlyConfigured("DFD_OIDC_ISSUER must begin with https://.")
    missing = [
        name for name in ("DFD_OIDC_CLIENT_ID", "DFD_OIDC_CLIENT_SECRET", "DFD_OIDC_ROLES") if not env.text(name)
    ]
    if address and missing:
        raise ImproperlyConfigured(f"DFD_OIDC_ISSUER is set, and {', '.join(missing)} not.")
    if not address and not env.flag("DFD_LOCAL_LOGIN", default=True):
        raise ImproperlyConfigured("DFD_LOCAL_LOGIN=false needs DFD_OIDC_ISSUER, or nobody could log in.")
    return address


def roles() -> dict[str, str]:
    """Return the role of each group.  Raises ImproperlyConfigured."""
    text = env.text("DFD_OIDC_ROLES")
    try:
        mapping = json.loads(text or "{}")
    except ValueError:
        mapping = None
    if not isinstance(mapping, dict) or not all(role in ROLES for role in mapping.values()):
        raise ImproperlyConfigured(
            f'DFD_OIDC_ROLES must be JSON, {{"GROUP": "ROLE", ...}}, and each role one of {", ".join(ROLES)}.'
        )
    return mapping
