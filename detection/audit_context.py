"""Who is acting: the user of the request that this thread answers, or else a program or a person at a terminal.

Services that keep a record ask here, so that nobody has to hand the request down to them.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import ip_address

import structlog
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django_structlog.middlewares import RequestMiddleware


@dataclass(frozen=True)
class Actor:
    """`user_id` is None where it is no user.  Such names have a space, which no user's name may have."""

    name: str
    user_id: int | None = None
    address: str | None = None


_request: ContextVar[HttpRequest | None] = ContextVar("request", default=None)
_program: ContextVar[str] = ContextVar("program", default="")


class RememberRequest:
    """Middleware.  Authentication comes later, so the request is remembered, and its user is read when asked for."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        token = _request.set(request)
        try:
            return self.get_response(request)
        finally:
            _request.reset(token)


class LogRequest(RequestMiddleware):
    """Middleware.  django-structlog's line a request, with the address that we believe and not what a header claims."""

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        structlog.contextvars.bind_contextvars(ip=client_address(request))


@contextmanager
def acting_as(program: str) -> Iterator[None]:
    """What is done in here is done by the program, say `retention`."""
    token = _program.set(f"{program} (program)")
    try:
        yield
    finally:
        _program.reset(token)


def who(*, by: AbstractBaseUser | None = None) -> Actor:
    """`by` where it is known, else whoever the request belongs to, else the program or the person at the terminal."""
    request = _request.get()
    user = by or getattr(request, "user", None)
    address = client_address(request) if request is not None else None
    if isinstance(user, AbstractBaseUser):
        return Actor(user.get_username(), user.pk, address)
    if request is not None:
        return Actor("", None, address)
    return Actor(_program.get() or f"{_os_user()} (terminal)")


def client_address(request: HttpRequest) -> str | None:
    """Behind the proxy that DFD_HTTPS speaks of, what that proxy saw: the last of X-Forwarded-For.

    What stands before it came from the client, who may write there what they like.
    """
    seen = str(request.META.get("REMOTE_ADDR", ""))
    if settings.HTTPS:
        seen = request.headers.get("X-Forwarded-For", seen).rsplit(",", 1)[-1].strip()
    try:
        address = ip_address(seen.split("%", 1)[0])  # a zone means something on one machine only, and is not stored
    except ValueError:  # a Unix socket, or nonsense
        return None
    # A server that listens on [::] sees each IPv4 client as ::ffff:a.b.c.d; it is the same client.
    return str(getattr(address, "ipv4_mapped", None) or address)


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"
