"""Additions to the OpenAPI schema that hold for all operations."""

from __future__ import annotations

from typing import Any

RETRY_AFTER = {
    "schema": {"type": "integer", "minimum": 1},
    "required": True,
    "description": "Seconds after which it is worth trying again.",
}


def say_when_to_try_again(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add the header Retry-After to every 429 and 503."""
    for item in result["paths"].values():
        for operation in (part for part in item.values() if isinstance(part, dict)):
            for status in ("429", "503"):
                if status in operation.get("responses", {}):
                    operation["responses"][status].setdefault("headers", {})["Retry-After"] = RETRY_AFTER
    return result
