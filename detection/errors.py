"""Refusals with a stable code: raised by services, shown by the API as problem JSON and by commands as a sentence."""

from __future__ import annotations

import errno
from collections.abc import Mapping


class Refused(Exception):  # an answer, not a malfunction: hence no Error in its name
    """A request was refused; `code` is stable for programs, `detail` is a sentence for people.

    `status` and `headers` are those of the HTTP response.
    """

    def __init__(self, code: str, detail: str, *, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = status
        self.headers = dict(headers or {})


def has_no_room(error: BaseException) -> bool:
    """Return whether the error says that a disk or a quota of the file system is full."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def storage_full() -> Refused:
    """Return the refusal of an upload when storage is full."""
    return Refused(
        "storage_full", "There is no room for the file; try again later.", status=507, headers={"Retry-After": "60"}
    )


def storage_unavailable() -> Refused:
    """Return the refusal while storage as a whole does not answer (see `stored_files.is_away`)."""
    return Refused(
        "storage_unavailable", "The storage does not answer; try again later.", status=503,
        headers={"Retry-After": "30"},
    )  # fmt: skip
