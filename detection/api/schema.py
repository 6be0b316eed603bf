"""Additions to the OpenAPI schema: Retry-After, links from one operation to the next, and what a line of text is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from detection.services.validation import line_pattern

RETRY_AFTER = {
    "schema": {"type": "integer", "minimum": 1},
    "required": True,
    "description": "Seconds after which it is worth trying again.",
}
ID, TASK, OFFSET = "$response.body#/id", "$response.body#/task/id", "$response.body#/offset"
OF_VIDEO = ("videos_retrieve", "videos_faces_list", "videos_reviews_list", "videos_reviews_create", "videos_destroy")
OF_UPLOAD, PIECE = ("uploads_head", "uploads_partial_update", "uploads_destroy"), ("uploads_partial_update",)
FILES = ("videos_media_retrieve", "videos_provenance_retrieve", "videos_report_retrieve")
OF_TASK = ("tasks_retrieve", "tasks_events_retrieve", "tasks_destroy")
# None from a list: one that is empty has nothing to follow.
LINKS: Mapping[tuple[str, str], Mapping[str, tuple[str, tuple[str, ...]]]] = {
    # (operation, status): parameter: (where its value is in the answer, operations that take it)
    ("videos_create", "202"): {"video_id": (ID, (*OF_VIDEO, *FILES)), "task_id": (TASK, OF_TASK)},
    ("videos_create", "200"): {"video_id": (ID, (*OF_VIDEO, "videos_analyze_create")), "task_id": (TASK, OF_TASK[:2])},
    ("videos_retrieve", "200"): {"video_id": (ID, FILES), "task_id": (TASK, OF_TASK[:2])},
    ("videos_analyze_create", "202"): {"task_id": (ID, OF_TASK)},
    ("tasks_retrieve", "200"): {"video_id": ("$response.body#/video", OF_VIDEO[:3])},
    ("uploads_create", "201"): {"upload_id": (ID, ("uploads_retrieve", *OF_UPLOAD)), "Upload-Offset": (OFFSET, PIECE)},
    ("uploads_retrieve", "200"): {
        "video_id": ("$response.body#/video", OF_VIDEO[:3]),
        "upload_id": (ID, OF_UPLOAD),
        "Upload-Offset": (OFFSET, PIECE),
    },
    # From a piece to the next.
    ("uploads_partial_update", "204"): {
        "upload_id": ("$request.path.upload_id", ("uploads_retrieve", *OF_UPLOAD)),
        "Upload-Offset": ("$response.header.Upload-Offset", PIECE),
    },
    ("uploads_head", "200"): {
        "upload_id": ("$request.path.upload_id", OF_UPLOAD[1:]),
        "Upload-Offset": ("$response.header.Upload-Offset", PIECE),
    },
    ("webhooks_create", "201"): {"webhook_id": (ID, ("webhooks_retrieve", "webhooks_destroy"))},
}


def _operations(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for item in result["paths"].values():
        yield from (part for part in item.values() if isinstance(part, dict))


def say_when_to_try_again(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add the header Retry-After to every 429 and 503."""
    for operation in _operations(result):
        for status in ("429", "503"):
            if status in operation.get("responses", {}):
                operation["responses"][status].setdefault("headers", {})["Retry-After"] = RETRY_AFTER
    return result


def describe_head(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add how a tus client asks for an upload's offset: the generator knows no HEAD."""
    item = result["paths"]["/api/v1/uploads/{upload_id}/"]
    number = {"schema": {"type": "integer", "minimum": 0}, "required": True}
    answers = {code: {"description": item["get"]["responses"][code]["description"]} for code in ("401", "404", "429")}
    tus = [one for one in item["delete"]["parameters"] if one["in"] == "header"]
    item["head"] = {
        **item["get"],
        "operationId": "uploads_head",
        "summary": "Ask how much of an upload in pieces has arrived (tus)",
        "parameters": [*item["get"]["parameters"], *tus],
        "responses": {
            "200": {"description": "", "headers": {"Upload-Offset": number, "Upload-Length": number}},
            **answers,
            "412": {"description": ""},
        },
    }
    return result


def link_operations(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Link the responses that carry an id to the operations that take it."""
    known = {operation["operationId"]: operation for operation in _operations(result)}
    for (name, status), parameters in LINKS.items():
        links = known[name]["responses"][status].setdefault("links", {})
        for parameter, (value, targets) in parameters.items():
            for target in targets:
                if target not in known:
                    raise LookupError(f"a link leads to {target}, which is no operation")
                link = links.setdefault(target, {"operationId": target, "parameters": {}})
                link["parameters"][parameter] = value
    return result


def say_what_a_line_is(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add the patterns of text, which take a while to work out, and that a review says something."""
    schemas = result["components"]["schemas"]
    schemas["UploadRequest"]["properties"]["external_id"]["pattern"] = line_pattern()
    review = schemas["ReviewRequestRequest"]
    review["properties"]["comment"]["pattern"] = r"^[^\u0000]*$"
    known = {operation["operationId"]: operation for operation in _operations(result)}
    known["videos_reviews_create"]["requestBody"]["required"] = True
    review["anyOf"] = [{"required": ["label"]}, {"required": ["people"], "properties": {"people": {"minItems": 1}}}]
    return result
