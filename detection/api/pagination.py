"""Cursor pagination: `{results, next, previous}`, at most 100 rows, stable while rows are added."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from django.utils.dateparse import parse_datetime
from rest_framework import pagination
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request

MAX_NUMBER = 999_999_999


class NewestFirst(pagination.CursorPagination):
    """Pages by time of creation, newest first."""

    ordering: Any = ("-created_at", "-id")
    page_size = 50
    max_page_size = 100
    page_size_query_param = "page_size"
    invalid_cursor_message = "This is no cursor of this list; follow `next` and `previous` as they are given."

    def get_page_size(self, request: Request) -> int:
        """Return the page size, at most the maximum; raise ValidationError for what is no positive number."""
        asked = request.query_params.get(self.page_size_query_param)
        if asked is None:
            return self.page_size
        if not (asked.isascii() and asked.isdigit() and len(asked) < 10 and 0 < int(asked) <= MAX_NUMBER):
            raise ValidationError({self.page_size_query_param: "This must be a whole number of at least 1."})
        return min(int(asked), self.max_page_size)

    def decode_cursor(self, request: Request) -> pagination.Cursor | None:
        """Return the cursor; raise ValidationError for a forged position of the wrong type."""
        try:
            cursor = super().decode_cursor(request)
        except (NotFound, ValueError) as error:
            raise self._invalid() from error
        if cursor == (0, False, None):  # never given out: what was sent is no base64, or says nothing
            raise self._invalid()
        if cursor is not None and cursor.position is not None and not self.is_position(str(cursor.position)):
            raise self._invalid()
        return cursor

    def is_position(self, position: str) -> bool:
        """Return whether the list's first sort column can have this value."""
        try:
            moment = parse_datetime(position)
            if moment is None or moment.tzinfo is None:
                return False
            moment.astimezone(UTC)
        except (ValueError, OverflowError):
            return False
        return True

    def _invalid(self) -> ValidationError:
        return ValidationError({self.cursor_query_param: self.invalid_cursor_message})

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Add the bounds of the page size to the schema."""
        parameters = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] = {
                    "type": "integer", "minimum": 1, "maximum": MAX_NUMBER, "default": self.page_size,
                }  # fmt: skip
                parameter["description"] = f"Rows of a page; more than {self.max_page_size} is {self.max_page_size}."
            elif parameter["name"] == self.cursor_query_param:
                parameter["schema"] = {"type": "string", "minLength": 1}
                parameter["description"] = "From `next` or `previous`, as it is given there; nothing else is one."
        return parameters


class ByTrack(NewestFirst):
    """Pages by person, then in time order."""

    ordering = ("track", "position")
    page_size = 100

    def is_position(self, position: str) -> bool:
        """Return whether it is a track number."""
        return position.isascii() and position.isdigit() and len(position) < 6
