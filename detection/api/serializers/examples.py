"""Examples in the API's description; a test holds them against the schemas that they are of."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

TASK, VIDEO = "6f1c1f0e-4d5e-4b7a-9c5b-0d8f2a3b4c5d", "0b9e6a52-8f63-4a5f-8d0e-7c1d2e3f4a5b"
_RUNNING: dict[str, Any] = {
    "id": TASK,
    "url": f"https://desk.example.org/api/v1/tasks/{TASK}/",
    "video": VIDEO,
    "state": "running",
    "stage": "extract",
    "progress": 40,
    "attempts": 1,
    "error": None,
    "created_at": "2026-01-15T09:30:00Z",
    "started_at": "2026-01-15T09:30:01Z",
    "finished_at": None,
    "verdict": None,
    "segments": [],
    "coverage": None,
}
RUNNING_TASK = OpenApiExample("running", _RUNNING, response_only=True)
FAILED_TASK = OpenApiExample(
    "failed",
    _RUNNING
    | {
        "state": "failed",
        "error": {"code": "corrupt_video", "detail": "No frame of it can be decoded."},
        "finished_at": "2026-01-15T09:30:02Z",
    },
    response_only=True,
)
REVIEW = OpenApiExample("fake", {"label": "fake", "comment": "The mouth lags behind the voice."}, request_only=True)
REVIEW_OF_PEOPLE = OpenApiExample(
    "people",
    {"people": [{"track": 0, "label": "fake"}, {"track": 1, "label": "not_a_person"}], "people_version": 0},
    request_only=True,
)
PROBLEM = OpenApiExample(
    "refused",
    {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "There is no such task.",
        "code": "not_found",
        "instance": f"/api/v1/tasks/{TASK}/",
    },
    response_only=True,
    status_codes=["404"],
)
