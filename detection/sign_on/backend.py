"""The authentication backend: a code becomes a token, the token is checked, and its bearer is a user with roles."""

from __future__ import annotations

from typing import Any

import jwt
import requests
import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest
from mozilla_django_oidc.auth import OIDCAuthenticationBackend

from detection.services.ops.single_sign_on import Person, sign_in
from detection.sign_on import provider

log = structlog.get_logger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with the provider's private key: nothing unsigned, and nothing that a public key could have signed."""
LEEWAY_S = 30
"""By which its clock and ours may differ."""


class ProviderBackend(OIDCAuthenticationBackend):
    """Logs in by the provider's word alone: no name, e-mail or password leads to a user of another kind.

    The library checks neither whom a token is for nor who issued it; here all of it is checked.
    """

    get_settings = staticmethod(provider.library_setting)

    def __init__(self) -> None:
        # Not the library's: that asks for all endpoints, and Django makes a backend for each request of its users.
        self.UserModel = get_user_model()
        self.OIDC_RP_CLIENT_ID = settings.DFD_OIDC_CLIENT_ID
        self.OIDC_RP_CLIENT_SECRET = settings.DFD_OIDC_CLIENT_SECRET

    def authenticate(self, request: HttpRequest, *, nonce: str, code_verifier: str) -> User | None:
        """Return the user whom the provider names.  Raises Refused, also for whatever is wrong with its answer.

        Without a nonce, as for a password, Django does not come here.
        """
        if not settings.DFD_OIDC_ISSUER or not nonce or not code_verifier:
            return None
        with provider.asking():
            endpoints = provider.discovered()
            self.OIDC_OP_TOKEN_ENDPOINT, self.OIDC_OP_USER_ENDPOINT = endpoints.token, endpoints.userinfo
            self.OIDC_OP_JWKS_ENDPOINT = endpoints.jwks
            try:
                user: User | None = super().authenticate(request, nonce=nonce, code_verifier=code_verifier)
            except (
                requests.RequestException, jwt.PyJWTError, SuspiciousOperation, LookupError, TypeError, ValueError,
                AttributeError,
            ) as error:  # fmt: skip
                log.warning("sign_on_refused", error=f"{type(error).__name__}: {error}"[:500])
                raise provider.unverified() from error
        return user

    def verify_token(self, token: str, **kwargs: Any) -> dict[str, Any]:
        """Return the claims of a token that the provider signed, for us, for this login, and that still holds.

        Raises a PyJWTError or SuspiciousOperation.
        """
        key = self.retrieve_matching_jwk(token)
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            audience=settings.DFD_OIDC_CLIENT_ID,
            issuer=settings.DFD_OIDC_ISSUER,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
        if claims.get("azp", settings.DFD_OIDC_CLIENT_ID) != settings.DFD_OIDC_CLIENT_ID:
            raise SuspiciousOperation("The token was issued to another client.")
        if not kwargs.get("nonce") or claims.get("nonce") != kwargs["nonce"]:
            raise SuspiciousOperation("The token is of another login.")
        return claims

    def retrieve_matching_jwk(self, token: str) -> jwt.PyJWK:
        """Return the published key that the token names or, where neither has a name, the only one that fits.

        Raises SuspiciousOperation, and what requests and PyJWT raise.
        """
        header = jwt.get_unverified_header(token)
        algorithm, name = header["alg"], header.get("kid")
        if algorithm not in ALGORITHMS:
            raise SuspiciousOperation(f"The token is signed by {algorithm}.")
        answer = requests.get(self.OIDC_OP_JWKS_ENDPOINT, timeout=provider.TIMEOUT_S)
        answer.raise_for_status()
        fitting = [
            key
            for key in answer.json()["keys"]
            if key.get("use", "sig") == "sig"
            and key.get("alg", algorithm) == algorithm
            and (name is None or key.get("kid") == name)
        ]
        if len(fitting) != 1:
            raise SuspiciousOperation(f"{len(fitting)} published keys fit the token.")
        return jwt.PyJWK(fitting[0], algorithm=algorithm)

    def get_userinfo(self, access_token: str, id_token: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Return the token's claims and, where these name no groups, what else the provider says of the same person."""
        if settings.DFD_OIDC_GROUPS_CLAIM in payload:
            return payload
        info: dict[str, Any] = super().get_userinfo(access_token, id_token, payload)
        if info["sub"] != payload["sub"]:
            raise ValueError("the provider's answer is of somebody else")
        return info | payload

    def get_or_create_user(self, access_token: str, id_token: str, payload: dict[str, Any]) -> User:
        """Return the user with the roles of the provider's groups.  Raises Refused."""
        claims = self.get_userinfo(access_token, id_token, payload)
        groups = claims.get(settings.DFD_OIDC_GROUPS_CLAIM)
        groups = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= 255:
            raise ValueError("the subject is no text")
        return sign_in(
            Person(
                issuer=settings.DFD_OIDC_ISSUER,
                subject=subject,
                username=str(claims.get(settings.DFD_OIDC_NAME_CLAIM) or ""),
                email=str(claims.get("email") or "")[:254] if claims.get("email_verified") is True else "",
                groups=frozenset(group for group in groups if isinstance(group, str)),
            )
        )

    def get_user(self, user_id: Any) -> User | None:
        """Return the user of a session, unless deactivated since, or single sign-on was switched off."""
        user: User | None = super().get_user(user_id) if settings.DFD_OIDC_ISSUER else None
        return user if user is not None and user.is_active else None
