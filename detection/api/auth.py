"""Authentication: tokens for client programs, sessions for the admin's pages."""

from __future__ import annotations

import re
from typing import Any

import knox.auth
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed

_TOKEN = re.compile(rb"[0-9A-Za-z_-]{16,256}")


class TokenAuthentication(knox.auth.TokenAuthentication):
    """`Authorization: Token <token>`; only a hash of the token is stored."""

    def authenticate_credentials(self, token: bytes) -> Any:
        """Refuse what cannot be a token before knox decodes it."""
        # Knox decodes whatever was sent; bytes that no token has would become an error of ours.
        if not _TOKEN.fullmatch(token):
            raise AuthenticationFailed("Invalid token.")
        return super().authenticate_credentials(token)

    def _cleanup_token(self, auth_token: AuthToken) -> bool:
        # Knox reads all of the user's tokens here, at each request; who has many of them would pay for that.
        if auth_token.expiry is None or auth_token.expiry >= timezone.now():
            return False
        return bool(super()._cleanup_token(auth_token))


class TokenScheme(OpenApiAuthenticationExtension):
    """How the OpenAPI schema describes it."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the security scheme."""
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token <token>`; make one with `manage.py create_token USER`.",
        }
