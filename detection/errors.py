"""Refusals with a stable code: raised by services, shown by the API as problem JSON and by commands as a sentence."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 (it is an answer, not a malfunction)
    """What was asked for cannot be done; `code` is stable for programs, `detail` is a sentence for people."""

    def __init__(self, code: str, detail: str, *, status: int = 400) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = status
