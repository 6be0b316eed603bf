"""Rows that are inserted and never changed: a base class that refuses updates and deletions."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.db import models


class AppendOnlyError(Exception):
    """A row of an append-only table was to be changed or deleted; insert a new row instead."""


class AppendOnlyModel(models.Model):
    """A row that can be inserted only; deleting what it belongs to still deletes it by cascade."""

    refusal: ClassVar[str] = "A row of this table is never changed or removed."

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Insert the row; raise AppendOnlyError for an existing one."""
        if not self._state.adding:
            raise AppendOnlyError(self.refusal)
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise AppendOnlyError."""
        raise AppendOnlyError(self.refusal)
