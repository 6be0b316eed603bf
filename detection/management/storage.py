"""What a command says while storage does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management.base import CommandError

from detection.services.stored_files import is_away


@contextmanager
def storage_answers() -> Iterator[None]:
    """Raise CommandError with a sentence where the block fails because storage as a whole does not answer."""
    try:
        yield
    except CommandError:
        raise
    except Exception as error:
        if not is_away(error):
            raise
        raise CommandError(
            f"Storage does not answer ({error}). `manage.py doctor` says what is wrong; then run the same command"
            " again."
        ) from error
