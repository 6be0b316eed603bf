"""The current actor: the user of the request this thread answers, a program, or a person at a terminal.

Services that write the audit log ask here, so that no request has to be passed down to them.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import structlog
from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django_structlog.middlewares import RequestMiddleware

from detection.client_address import client_address


@dataclass(frozen=True)
class Actor:
    """Who acts; `user_id` is None unless it is a user.  Other names contain a space, which a user name cannot."""

    name: str
    user_id: int | None = None
    address: str | None = None


_request: ContextVar[HttpRequest | None] = ContextVar("request", default=None)
_program: ContextVar[str] = ContextVar("program", default="")


class RememberRequest:
    """Middleware that remembers the request; its user is read when needed, as authentication comes later."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Return the response to a request that is remembered meanwhile."""
        token = _request.set(request)
        try:
            return self.get_response(request)
        finally:
            _request.reset(token)


class LogRequest(RequestMiddleware):
    """Middleware of django-structlog, with the client address we trust instead of what a header claims."""

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        """Bind the trusted client address to the request's log lines."""
        structlog.contextvars.bind_contextvars(ip=client_address(request))


@contextmanager
def acting_as(program: str) -> Iterator[None]:
    """Attribute what is done in this block to a program, such as `retention`."""
    token = _program.set(f"{program} (program)")
    try:
        yield
    finally:
        _program.reset(token)


def who(*, by: AbstractBaseUser | None = None) -> Actor:
    """Return the current actor: `by` if given, else the request's user, the program, or the user of the terminal."""
    request = _request.get()
    user = by or getattr(request, "user", None)
    address = client_address(request) if request is not None else None
    if isinstance(user, AbstractBaseUser):
        return Actor(user.get_username(), user.pk, address)
    if request is not None:
        return Actor("", None, address)
    return Actor(_program.get() or f"{_os_user()} (terminal)")


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"
