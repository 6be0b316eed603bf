"""Reads settings from the environment; each refuses, in one sentence, what cannot be meant.

An empty value is as if the variable was not set: that is how compose files pass on what nobody has chosen.  What may
hold a password (addresses of databases and brokers) is never repeated.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

MOST = 2**31 - 1
"""Of a whole number, if nothing else is said: as seconds 68 years, which no date leaves the calendar by."""
DAYS = 36_500
BYTES = 2**50
_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_DATABASES = {
    "sqlite": "django.db.backends.sqlite3",
    "postgres": "django.db.backends.postgresql",
    "postgresql": "django.db.backends.postgresql",
}
_READ: set[str] = set()


def read_file(path: Path) -> None:
    """Add the variables of a `.env`, where there is one; those that are set already win."""
    if path.is_file():
        environ.Env.read_env(str(path))


def misspelt() -> list[tuple[str, str]]:
    """Variables that no setting reads, each with the setting that was probably meant.

    Others that begin alike (those of docker-compose.yml, of another version) may well be meant for somebody else.
    """
    unread = sorted(name for name in os.environ if name.startswith("DFD_") and name not in _READ)
    meant = {name: get_close_matches(name, _READ, n=1, cutoff=0.85) for name in unread}
    return [(name, close[0]) for name, close in meant.items() if close]


def text(name: str, default: str = "") -> str:
    """The value without the white space around it."""
    _READ.add(name)
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool) -> bool:
    """Yes or no, in no other words than these: a typo must not mean no."""
    raw = text(name, str(default))
    try:
        return _FLAGS[raw.lower()]
    except KeyError:
        raise ImproperlyConfigured(f"{name} must be true or false (or yes, no, on, off, 1, 0), not {raw!r}.") from None


def whole(name: str, default: int, *, least: int = 1, most: int = MOST) -> int:
    """A whole number from `least` to `most`."""
    raw = text(name, str(default))
    try:
        value = int(raw)
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise ImproperlyConfigured(f"{name} must be a whole number from {least} to {most}, not {raw!r}.")
    return value


def share(name: str, default: float) -> float:
    """A number from 0 to 1."""
    raw = text(name, str(default))
    try:
        value = float(raw)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise ImproperlyConfigured(f"{name} must be a number from 0 to 1, not {raw!r}.")
    return value


def entries(name: str, default: Sequence[str] = ()) -> list[str]:
    """What stands between the commas, without the white space around each; no entry has white space within."""
    found = [entry.strip() for entry in text(name).split(",") if entry.strip()]
    if any(re.search(r"\s", entry) for entry in found):
        raise ImproperlyConfigured(f"{name} must be a list, separated by commas, of entries without white space.")
    return found or list(default)


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """A list of addresses and networks (`10.0.0.0/8`)."""
    try:
        return [ip_network(entry) for entry in entries(name)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must list addresses and networks, separated by commas: {error}.") from None


def hosts(name: str, default: Sequence[str]) -> list[str]:
    """A list of host names and addresses as Django compares them: no scheme, no port, no path."""
    found = entries(name, default)
    if not all(re.fullmatch(r"\*|\.?[\w-]+(\.[\w-]+)*\.?|\[[0-9a-fA-F:.]+\]", host) for host in found):
        raise ImproperlyConfigured(f"{name} must list hosts without scheme and port, separated by commas.")
    return found


def origins(name: str) -> list[str]:
    """A list of origins, each with its scheme."""
    found = entries(name)
    if not all(re.fullmatch(r"https?://[^/\s]+", origin) for origin in found):
        raise ImproperlyConfigured(f"{name} must list origins such as https://desk.example.org, separated by commas.")
    return found


def address(name: str, schemes: Sequence[str]) -> str:
    """A URL of one of the `schemes` with a host, or an empty string."""
    url = text(name)
    try:
        parts = urlsplit(url)
        known = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0  # `port` raises where it is none
    except ValueError:
        known = False
    if url and (not known or re.search(r"\s", url)):
        raise ImproperlyConfigured(f"{name} must be {' or '.join(f'{scheme}://' for scheme in schemes)} with a host.")
    return url


def database(name: str, default: str) -> dict[str, Any]:
    """Django's settings of a database: SQLite or Postgres."""
    url = text(name, default)
    engine = _DATABASES.get(url.partition("://")[0], "")
    # A path without its third slash would be taken for a host, and silently be another file.
    misread = engine.endswith("sqlite3") and url != "sqlite://:memory:" and not url.startswith("sqlite:///")
    found: dict[str, Any] = {}
    if engine and not misread:
        try:
            found = environ.Env.db_url_config(url)
        except (ValueError, KeyError, ImproperlyConfigured):
            found = {}
    if found.get("ENGINE") != engine or not found.get("NAME"):
        raise ImproperlyConfigured(f"{name} must be postgres://USER:PASSWORD@HOST:5432/NAME or sqlite:////PATH.")
    return found


def device(name: str) -> str:
    """What torch computes on."""
    raw = text(name, "auto")
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", raw):
        raise ImproperlyConfigured(f"{name} must be auto, cpu, cuda or cuda:N, not {raw!r}.")
    return raw


def log_level(name: str) -> str:
    """A level of `logging`, in capitals."""
    raw, levels = text(name, "INFO"), ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    if raw.upper() not in levels:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(levels)}, not {raw!r}.")
    return raw.upper()
