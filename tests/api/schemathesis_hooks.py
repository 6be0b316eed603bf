"""What `schemathesis run` is told of this API beside its description, named in schemathesis.toml."""

from __future__ import annotations

from typing import Any

import schemathesis
from schemathesis.transport.serialization import Binary

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
START = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41"


@schemathesis.hook.apply_to(method="POST", path="/api/v1/videos/")  # type: ignore[attr-defined] # made at run time
def before_call(ctx: Any, case: Any, kwargs: Any) -> None:
    """Make the bytes begin as a video's do where the request is a right one, or no upload is ever taken."""
    body, meta = case.body, case.meta
    if isinstance(body, dict) and meta is not None and meta.generation.mode.is_positive:
        content = body.get("file")
        if isinstance(content, Binary):
            content.data = START + content.data
