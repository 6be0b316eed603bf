"""Cursor pagination: `{results, next, previous}`, at most 100 rows, stable while rows are added."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from rest_framework import pagination
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

MAX_NUMBER = 999_999_999
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NewestFirst(pagination.CursorPagination):
    """Pages by time of creation, newest first."""

    ordering: Any = ("-created_at", "-id")
    page_size = 50
    max_page_size = 100
    page_size_query_param = "page_size"
    invalid_cursor_message = "This is no cursor of this list; follow `next` and `previous` as they are given."
    cursor_pattern = r"[nr]([0-9]{1,16})?(?:\.([0-9]{1,4}))?"

    def get_page_size(self, request: Request) -> int:
        """Return the page size, at most the maximum; raise ValidationError for what is no positive number."""
        asked = request.query_params.get(self.page_size_query_param)
        if asked is None:
            return self.page_size
        if not (asked.isascii() and asked.isdigit() and len(asked) < 10 and 0 < int(asked) <= MAX_NUMBER):
            raise ValidationError({self.page_size_query_param: "This must be a whole number of at least 1."})
        return min(int(asked), self.max_page_size)

    def encode_cursor(self, cursor: pagination.Cursor) -> str:
        """Return the page's address: `n` or `r` (backwards), a position, and how many rows after it to skip."""
        position = "" if cursor.position is None else self.number_of(str(cursor.position))
        skip = f".{cursor.offset}" if cursor.offset else ""
        text = f"{'r' if cursor.reverse else 'n'}{position}{skip}"
        return replace_query_param(self.base_url or "", self.cursor_query_param, text)

    def decode_cursor(self, request: Request) -> pagination.Cursor | None:
        """Return the cursor; raise ValidationError for what the pattern does not match.  All that it matches is one."""
        text = request.query_params.get(self.cursor_query_param)
        if text is None:
            return None
        found = re.fullmatch(self.cursor_pattern, text)
        if found is None:
            raise ValidationError({self.cursor_query_param: self.invalid_cursor_message})
        number, skip = found.groups()
        position: Any = None if number is None else self.position_of(int(number))
        return pagination.Cursor(min(int(skip or 0), self.offset_cutoff), text.startswith("r"), position)

    def number_of(self, position: str) -> int:
        """Return a position as a cursor says it: microseconds since 1970."""
        return (datetime.fromisoformat(position) - EPOCH) // timedelta(microseconds=1)

    def position_of(self, number: int) -> str:
        """Return the position of a cursor's number, as a row has it in the first sort column."""
        return str(EPOCH + timedelta(microseconds=number))

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
                parameter["schema"] = {"type": "string", "pattern": f"^{self.cursor_pattern}$"}
                parameter["description"] = "From `next` or `previous`, as it is given there."
        return parameters


class ByTrack(NewestFirst):
    """Pages by person, then in time order."""

    ordering = ("track", "position")
    page_size = 100
    cursor_pattern = r"[nr]([0-9]{1,5})?(?:\.([0-9]{1,4}))?"

    def number_of(self, position: str) -> int:
        """Return the track."""
        return int(position)

    def position_of(self, number: int) -> str:
        """Return the track."""
        return str(number)
