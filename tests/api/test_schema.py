"""The API's description, and whether the API does as it says (schemathesis)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import pytest
import schemathesis
import yaml
from django.conf import settings as limits
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, Phase, settings
from jsonschema import validate
from schemathesis.checks import CHECKS

from detection.outbound_urls import MAX_URL
from detection.services.jobs.webhook_deliveries import register
from detection.services.uploads import resumable
from detection.services.uploads.uploads import MAX_KEY
from tests.api.conftest import Caller, Factory, mp4

pytestmark = pytest.mark.django_db
EXAMPLES = 12
OPEN_TASK = "task_id to cancel"
"""Requests per operation: two dozen operations make this a matter of seconds."""


def _description() -> dict[str, Any]:
    return json.loads(json.dumps(SchemaGenerator().get_schema(public=True), default=str))


schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
APPLICATION = get_wsgi_application()
DESCRIPTION = schemathesis.openapi.from_dict(_description())


def test_the_description_is_valid_openapi_and_needs_no_token(nobody: Caller) -> None:
    response = nobody.get("/api/schema/")
    assert response.status_code == 200
    described = json.loads(response.content)
    validate_schema(described)
    assert described["openapi"].startswith("3.")
    upload = described["paths"]["/api/v1/videos/"]["post"]
    assert list(upload["requestBody"]["content"]) == ["multipart/form-data"]
    assert {"202", "200", "400", "401", "413", "415", "422", "429"} <= upload["responses"].keys()
    assert set(described["components"]["securitySchemes"]) == {"token", "cookieAuth"}


def test_the_description_is_yaml_where_that_is_asked_for(nobody: Caller) -> None:
    assert yaml.safe_load(nobody.get("/api/schema/?format=yaml").content)["openapi"].startswith("3.")


def test_limits_that_are_enforced_are_described() -> None:
    paths = _description()["paths"]
    schemas = _description()["components"]["schemas"]
    begin = {p["name"]: p["schema"] for p in paths["/api/v1/uploads/"]["post"]["parameters"]}
    assert (begin["Upload-Length"]["minimum"], begin["Upload-Length"]["maximum"]) == (1, limits.DFD_MAX_UPLOAD_BYTES)
    assert begin["Idempotency-Key"]["maxLength"] == MAX_KEY
    assert schemas["UploadRequest"]["properties"]["file"]["maxLength"] == limits.DFD_MAX_UPLOAD_BYTES
    line = re.compile(schemas["UploadRequest"]["properties"]["external_id"]["pattern"].replace("$", r"\Z"))
    for text in ("", "case 17", "Übung", "م\u200cخ", "👩\u200d💻", "\ue000"):
        assert line.match(text), text
    for text in ("\x00", "a\nb", "\x7f", "\u202e", "\u2028", "\ufeff", "\u200b"):
        assert not line.match(text), text
    for pairs, known in METADATA.items():
        assert bool(re.fullmatch(begin["Upload-Metadata"]["pattern"], pairs)) == known, pairs
    assert schemas["WebhookRequestRequest"]["properties"]["url"]["maxLength"] == MAX_URL
    for path, operation in ((path, item["get"]) for path, item in paths.items() if "get" in item):
        for parameter in operation.get("parameters", []):
            if parameter["name"] == "cursor":
                assert "pattern" in parameter["schema"], path
            if parameter["name"] == "page_size":
                assert (parameter["schema"]["maximum"], "more than 100 is 100" in parameter["description"]) == (
                    999_999_999,
                    True,
                ), path


def test_examples_are_what_their_schemas_say() -> None:
    description, found = _description(), 0
    for item in description["paths"].values():
        for operation in item.values():
            for part in (operation.get("requestBody", {}), *operation["responses"].values()):
                for content in part.get("content", {}).values():
                    for example in content.get("examples", {}).values():
                        schema = {**content["schema"], "components": description["components"]}
                        validate(example["value"], _nullable(schema))
                        found += 1
    assert found >= 5


def _nullable(schema: Any) -> Any:
    """OpenAPI 3.0's `nullable` as JSON Schema has it."""
    if isinstance(schema, list):
        return [_nullable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _nullable(part) for key, part in schema.items() if key != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain


def test_links_lead_from_one_call_to_the_next() -> None:
    paths = _description()["paths"]
    takes = {
        operation["operationId"]: {parameter["name"] for parameter in operation.get("parameters", [])}
        for item in paths.values()
        for operation in item.values()
    }
    upload = paths["/api/v1/videos/"]["post"]["responses"]["202"]["links"]
    assert upload["tasks_retrieve"]["parameters"] == {"task_id": "$response.body#/task/id"}
    pieces = {"upload_id": "$response.body#/id", "Upload-Offset": "$response.body#/offset"}
    for where, status in (("/api/v1/uploads/", "post"), ("/api/v1/uploads/{upload_id}/", "get")):
        links = paths[where][status]["responses"]["201" if status == "post" else "200"]["links"]
        assert links["uploads_partial_update"]["parameters"] == pieces
        assert {"uploads_head", "uploads_destroy"} <= links.keys()
    for item in paths.values():
        for operation in item.values():
            for response in operation["responses"].values():
                for link in response.get("links", {}).values():
                    assert link["parameters"].keys() <= takes[link["operationId"]]


def test_making_the_description_warns_of_nothing() -> None:
    GENERATOR_STATS.reset()
    _description()
    assert not GENERATOR_STATS


def test_the_documentation_page_uses_only_our_own_files_and_no_inline_script(nobody: Caller) -> None:
    page = nobody.get("/api/docs/").content.decode()
    assert "swagger-ui-bundle.js" in page
    assert "://" not in page.replace("http://www.w3.org", "")
    scripts = [part.split(">", 1) for part in page.split("<script")[1:]]
    assert scripts
    for attributes, content in scripts:
        assert "src=" in attributes
        assert content.split("</script>")[0].strip() == ""
    script = nobody.get("/api/docs/?script=")
    assert script["Content-Type"].startswith("application/javascript")


@pytest.fixture
def _connection_stays() -> Iterator[None]:
    """A request through bare WSGI closes the connection, and with it the test's transaction; Django's own test client
    does the same as this."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def known(owner: Caller, factory: Factory) -> dict[str, str]:
    """Ids that exist, so that requests come further than a 404."""
    factory.model()
    video = factory.judged(owner.user, people=2)
    factory.heatmaps(video)
    factory.provenance(video)
    nothing = factory.without_face(owner.user)
    face, frame = video.faces.first(), nothing.sampled_frames.first()
    assert face is not None
    assert frame is not None
    upload = resumable.create(owner=owner.user, length=100_000)
    webhook = register(owner=owner.user, url="https://example.org/")
    return {
        "video_id": str(video.pk), "task_id": str(video.current_analysis_id), "face_id": str(face.pk),
        "frame_id": str(frame.pk), "webhook_id": str(webhook.pk),
        "upload_id": str(upload.pk), "number": "0", OPEN_TASK: str(factory.video(owner.user).current_analysis_id),
    }  # fmt: skip


METADATA = {
    "": True, "filename Y2xpcC5tcDQ=": True, "filename Y2xpcC5tcDQ=,external_id Y2FzZS0xNw==": True, "a": True,
    "a,b YQ==, c": True, "a *": False, "a YQ": False, "a YQ==,": False, ",": False, "é YQ==": False,
}  # fmt: skip
SEEN: set[tuple[str, str, int]] = set()
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)


@pytest.mark.usefixtures("_connection_stays")
@DESCRIPTION.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_api_does_as_its_description_says(case: Any, owner: Caller, known: dict[str, str]) -> None:
    case.operation.app = case.operation.schema.app = APPLICATION
    dice = crc32(repr((case.path_parameters, case.query, case.body)).encode("utf-8", "replace"))
    for name in known.keys() & (case.path_parameters or {}).keys():
        if dice % 4:  # most requests are for what exists
            cancels = name == "task_id" and case.operation.method == "delete"
            case.path_parameters[name] = known[OPEN_TASK if cancels else name]
    if isinstance(case.body, dict) and "file" in case.body and dice % 2:
        case.body["file"] = mp4(seed=dice)
    if isinstance(case.body, dict) and "url" in case.body and dice % 2:
        case.body["url"] = "https://example.org/"
    response = case.call(headers=owner.headers)
    case.validate_response(response, checks=CHECKED)
    SEEN.add((case.operation.method, case.operation.path, response.status_code))


def test_the_requests_above_reached_every_operation_with_success() -> None:
    if not SEEN:
        pytest.skip("needs the requests of the test above, in the same process")
    answered = {(method, path) for method, path, status in SEEN if status < 300}
    described = {
        (method, path)
        for path, item in _description()["paths"].items()
        for method in item
        if method in ("get", "head", "post", "patch", "delete")
    }
    assert answered == described
