"""What `schemathesis run` is told of this API beside its description, named in schemathesis.toml."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.meta import CoverageScenario
from schemathesis.transport.serialization import Binary

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
START = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41"
_lengths: dict[str, int] = {}
"""Of each upload in pieces that has begun, in bytes."""


@schemathesis.hook.apply_to(method="POST", path="/api/v1/videos/")  # type: ignore[attr-defined] # made at run time
def before_call(ctx: Any, case: Any, kwargs: Any) -> None:
    """Make the bytes begin as a video's do where the request is a right one, or no upload is ever taken.

    An edited body with bytes in it counts as a wrong one, as nothing can be said of bytes: what was edited is taken for
    what was made.
    """
    body, meta = case.body, case.meta
    if isinstance(body, dict) and meta is not None and meta.generation.mode.is_positive:
        content = body.get("file")
        if isinstance(content, Binary):
            case.body = {**body, "file": Binary(START + content.data)}
            case._record_starting_state()


@schemathesis.hook.apply_to(method="POST", path="/api/v1/uploads/")  # type: ignore[attr-defined] # made at run time
def after_call(ctx: Any, case: Any, response: Any) -> None:
    """Remember how long an upload in pieces is."""
    if response.status_code == 201:
        begun = response.json()
        _lengths[begun["id"]] = begun["length"]


@schemathesis.hook("before_call").apply_to(method="PATCH", path="/api/v1/uploads/{upload_id}/")  # type: ignore[attr-defined]
def send_a_piece(ctx: Any, case: Any, kwargs: Any) -> None:
    """Make a right piece one of a video: it begins as one does, ends with it, and has the checksum that it says.

    What is too short for that is sent as an empty piece.  A number that schemathesis followed is no text yet.
    """
    if isinstance(case.headers.get("Upload-Offset"), int):
        case.headers["Upload-Offset"] = str(case.headers["Upload-Offset"])
    length = _lengths.get(str((case.path_parameters or {}).get("upload_id")))
    if case.meta is None or not case.meta.generation.mode.is_positive or length is None:
        return
    offset, data = int(case.headers["Upload-Offset"]), case.body.data if isinstance(case.body, Binary) else b""
    if not offset:
        data = START + data
    case.body = Binary(data[: max(0, length - offset)] if length >= len(START) else b"")
    if "Upload-Checksum" in case.headers:
        digest = base64.b64encode(hashlib.sha256(case.body.data).digest()).decode()
        case.headers["Upload-Checksum"] = f"sha256 {digest}"
    case._record_starting_state()


@schemathesis.hook
def filter_case(ctx: Any, case: Any) -> bool:
    """Leave out what schemathesis takes for wrong or right and is not.

    A header that nobody knows is taken everywhere.  Schemathesis knows that, but not where other headers are numbers,
    as Upload-Length is.  An `external_id` that it follows from an answer may be empty, and finds nothing then.  Two
    things cannot be said in a description: that no text within `metadata`, however deep, has a NUL, and that a review
    names nobody twice.
    """
    data: Any = case.meta.phase.data if case.meta is not None else None
    unknown = getattr(data, "scenario", None) == CoverageScenario.OBJECT_UNEXPECTED_PROPERTIES
    if unknown and data.parameter_location == ParameterLocation.HEADER:
        return False
    right = case.meta is not None and case.meta.generation.mode.is_positive
    body = case.body if isinstance(case.body, dict) else {}
    nul = "\\u0000" in json.dumps(body.get("metadata"), default=repr)
    people = body.get("people")
    tracks = [one.get("track") for one in people if isinstance(one, dict)] if isinstance(people, list) else []
    twice = any(tracks.count(track) > 1 for track in tracks)
    return not (right and (nul or twice or (case.query or {}).get("external_id") == ""))
