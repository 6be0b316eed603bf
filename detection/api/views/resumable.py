"""Resumable uploads by the tus protocol (https://tus.io): core 1.0.0, creation, termination, checksum, expiration."""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest
from django.utils.http import http_date
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from detection.api.uploadhandler import DRAIN_BYTES, DRAIN_S
from detection.api.views.videos import problems
from detection.errors import Refused
from detection.models import ResumableUpload
from detection.selectors import videos
from detection.services.uploads import resumable
from detection.services.uploads.resumable import Checksum
from detection.services.uploads.uploads import MAX_KEY

VERSION = "1.0.0"
EXTENSIONS = "creation,termination,checksum,expiration"
DIGESTS = {"sha256": 32, "sha1": 20, "md5": 16}
PIECE = "application/offset+octet-stream"
WHAT_IT_IS = """\
For large files and bad connections: any client of the tus protocol 1.0.0 can do it (tus-js-client, tuspy, Uppy, ...).
`Upload-Metadata` may have `filename`, `external_id` and `metadata` (a JSON object).  The same rules and limits hold as
for an upload in one request; after the last piece `Location` is the task, and `GET` says which video it has become.  An
upload of which nothing has arrived for a day is removed."""


def _header(name: str, schema: Any, *, required: bool = True, text: str = "", response: Any = False) -> Any:
    return OpenApiParameter(
        name, schema, OpenApiParameter.HEADER, required=required and not response, description=text, response=response
    )


TUS = _header("Tus-Resumable", {"type": "string", "enum": [VERSION]})
OFFSET = {"type": "integer", "minimum": 0, "maximum": settings.DFD_MAX_UPLOAD_BYTES}
KEY = {"type": "string", "maxLength": MAX_KEY, "pattern": "^[!-~]*$"}
PAIR = r"[!-+\--~]+(?: (?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)?"
PAIRS = {
    "type": "string",
    "pattern": f"^(?:{PAIR}(?:, ?{PAIR})*)?$",
    "example": "filename Y2xpcC5tcDQ=,external_id Y2FzZS0xNw==",
}
FACTS = ("filename", "name", "external_id", "metadata")
"""Keys of `Upload-Metadata` that are read; clients send others of their own."""
CHECKSUM = {
    "type": "string",
    "pattern": "^(sha256 [A-Za-z0-9+/]{43}=|sha1 [A-Za-z0-9+/]{27}=|md5 [A-Za-z0-9+/]{22}==)$",
}


class ResumableUploadSerializer(serializers.ModelSerializer[ResumableUpload]):
    length = serializers.IntegerField(read_only=True, help_text="Bytes.")
    offset = serializers.SerializerMethodField(help_text="Bytes that have arrived.")
    video = serializers.UUIDField(source="video_id", read_only=True, allow_null=True, help_text="What it has become.")
    expires_at = serializers.SerializerMethodField(help_text="When it is removed, unless more arrives.")

    class Meta:
        model = ResumableUpload
        fields = ("id", "name", "length", "offset", "video", "created_at", "expires_at")
        read_only_fields = fields

    @staticmethod
    def get_offset(upload: ResumableUpload) -> int:
        return resumable.offset_of(upload)

    @extend_schema(responses=OpenApiTypes.DATETIME)
    def get_expires_at(self, upload: ResumableUpload) -> str:
        return resumable.expires_at(upload).isoformat()


class TusView(GenericAPIView[ResumableUpload]):
    # (A docstring here would become the operations' description.)
    serializer_class = ResumableUploadSerializer
    queryset = ResumableUpload.objects.none()
    parser_classes = ()
    filter_backends = ()
    pagination_class = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        method = str(request.method)
        speaks_tus = method not in ("GET", "OPTIONS") and hasattr(self, method.lower())
        if speaks_tus and request.headers.get("Tus-Resumable") != VERSION:
            raise Refused(
                "unsupported_tus_version",
                f"The header Tus-Resumable must be {VERSION}.",
                status=412,
                headers={"Tus-Version": VERSION},
            )

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Tus-Resumable"] = VERSION
        return response

    def get_upload(self, upload_id: UUID) -> ResumableUpload:
        upload = resumable.uploads_of(user=self.request.user).filter(pk=upload_id).first()
        if upload is None:
            raise NotFound("There is no such upload.")
        return upload

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        return Response(
            status=status.HTTP_204_NO_CONTENT,
            headers={
                "Tus-Version": VERSION,
                "Tus-Extension": EXTENSIONS,
                "Tus-Max-Size": str(settings.DFD_MAX_UPLOAD_BYTES),
                "Tus-Checksum-Algorithm": ",".join(DIGESTS),
            },
        )


class UploadsView(TusView):
    @extend_schema(
        summary="Begin an upload in pieces (tus)",
        description=WHAT_IT_IS,
        request=None,
        parameters=[
            TUS,
            _header(
                "Upload-Length",
                {"type": "integer", "minimum": 1, "maximum": settings.DFD_MAX_UPLOAD_BYTES},
                text="Bytes of the whole file.",
            ),
            _header("Upload-Metadata", PAIRS, required=False, text="`key base64,key base64,...`, of UTF-8."),
            _header("Idempotency-Key", KEY, required=False),
            _header("Location", OpenApiTypes.URI, response=[201], text="Where the pieces go."),
        ],
        responses={201: ResumableUploadSerializer} | problems(400, 401, 403, 412, 413, 422, 503),
    )
    def post(self, request: Request) -> Response:
        facts = _metadata(request.headers.get("Upload-Metadata", ""))
        upload = resumable.create(
            owner=cast(AbstractBaseUser, request.user),  # an anonymous one does not come here
            length=_whole_number(request, "Upload-Length"),
            name=facts.get("filename", "") or facts.get("name", ""),
            external_id=facts.get("external_id", ""),
            metadata=_json(facts.get("metadata", "")),
            idempotency_key=request.headers.get("Idempotency-Key", ""),
        )
        location = reverse("api:upload", kwargs={"upload_id": upload.pk}, request=request)
        headers = {"Location": location, "Upload-Expires": http_date(resumable.expires_at(upload).timestamp())}
        return Response(self.get_serializer(upload).data, status=status.HTTP_201_CREATED, headers=headers)


class UploadView(TusView):
    lookup_url_kwarg = "upload_id"

    @extend_schema(
        summary="Read how an upload in pieces stands",
        responses={200: ResumableUploadSerializer} | problems(401, 404, 410),
    )
    def get(self, request: Request, upload_id: UUID) -> Response:
        return Response(self.get_serializer(self.get_upload(upload_id)).data)

    def head(self, request: Request, upload_id: UUID) -> Response:
        upload = self.get_upload(upload_id)
        headers = _upload_headers(request, upload, resumable.offset_of(upload))
        return Response(headers=headers | {"Upload-Length": str(upload.length), "Cache-Control": "no-store"})

    @extend_schema(
        summary="Send the next piece (tus)",
        request={PIECE: OpenApiTypes.BINARY},
        parameters=[
            TUS,
            _header("Upload-Offset", OFFSET, text="Bytes that have arrived before this piece."),
            _header("Upload-Checksum", CHECKSUM, required=False, text="`sha256 base64`, sha1 or md5."),
            _header("Upload-Offset", OFFSET, response=[204]),
            _header("Location", OpenApiTypes.URI, response=[204], text="The task, after the last piece."),
        ],
        responses={204: None} | problems(400, 401, 403, 404, 409, 410, 412, 413, 415, 422, 423, 460, 503, 507),
    )
    def patch(self, request: Request, upload_id: UUID) -> Response:
        stream = request._request
        try:
            upload = self.get_upload(upload_id)
            if (request.content_type or "").split(";")[0].strip().lower() != PIECE:
                raise Refused("unsupported_media_type", f"The Content-Type of a piece is {PIECE}.", status=415)
            offset, checksum = _whole_number(request, "Upload-Offset"), _checksum(request)
            appended = resumable.append(upload=upload, offset=offset, stream=stream, checksum=checksum)
        except (Refused, NotFound):
            _drain(stream)
            raise
        return Response(status=status.HTTP_204_NO_CONTENT, headers=_upload_headers(request, upload, appended.offset))

    @extend_schema(
        summary="Give up an upload in pieces (tus)",
        parameters=[TUS],
        responses={204: None} | problems(401, 403, 404, 412, 423),
    )
    def delete(self, request: Request, upload_id: UUID) -> Response:
        resumable.remove(upload=self.get_upload(upload_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


# --- headers ---------------------------------------------------------------------------------------------------------


def _upload_headers(request: Request, upload: ResumableUpload, offset: int) -> dict[str, str]:
    headers = {"Upload-Offset": str(offset), "Upload-Expires": http_date(resumable.expires_at(upload).timestamp())}
    if upload.video_id is not None:
        video = videos.visible_videos(user=request.user).filter(pk=upload.video_id).first()
        if video is not None and video.current_analysis_id is not None:
            headers["Location"] = reverse("api:task", kwargs={"task_id": video.current_analysis_id}, request=request)
    return headers


def _whole_number(request: Request, name: str) -> int:
    value = request.headers.get(name, "")
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise Refused("invalid_header", f"The header {name} must be a whole number.")
    return int(value)


def _metadata(header: str) -> dict[str, str]:
    what = "Upload-Metadata is `key base64,key base64,...`, of UTF-8."
    if not re.fullmatch(PAIRS["pattern"], header):
        raise Refused("invalid_header", what)
    pairs = dict((pair.strip().partition(" ")[::2]) for pair in header.split(","))
    try:
        return {key: base64.b64decode(pairs[key]).decode() for key in FACTS if key in pairs}
    except ValueError as error:
        raise Refused("invalid_header", what) from error


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refused("invalid_metadata", "The metadata must be a plain JSON object.")
    return value


def _checksum(request: Request) -> Checksum | None:
    header = request.headers.get("Upload-Checksum")
    if header is None:
        return None
    algorithm, _, encoded = header.partition(" ")
    try:
        digest = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != DIGESTS.get(algorithm, -1):
        raise Refused("invalid_header", f"Upload-Checksum is one of {', '.join(DIGESTS)}, a space, and base64.")
    return Checksum(algorithm=algorithm, digest=digest)


def _drain(stream: HttpRequest) -> None:
    """Read on for a while after a refusal: a client that is still sending would lose the answer with the connection."""
    until, left = time.monotonic() + DRAIN_S, DRAIN_BYTES
    try:
        while left > 0 and time.monotonic() < until and (data := stream.read(min(left, 256 * 1024))):
            left -= len(data)
    except OSError:  # it has gone
        return
