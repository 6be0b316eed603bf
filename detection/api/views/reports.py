"""Evidence reports, and the public keys that they are signed with."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from detection.api.views.media import RANGE, serve
from detection.api.views.videos import LOCATION, VideoPart, problems
from detection.errors import Refused
from detection.evidence_report import signing
from detection.models import AuditAction, EvidenceKind, State
from detection.services.jobs import evidence
from detection.services.ops import audit

POLL_S = 2
BUNDLE = "bundle"
SUFFIXES = {BUNDLE: ".zip", "pdf": ".pdf"}


class ReportStatusSerializer(serializers.Serializer[Any]):
    """A report that is being made."""

    state = serializers.ChoiceField(choices=[State.QUEUED.value, State.RUNNING.value])
    url = serializers.URLField(help_text="Ask here again; it answers the file once it is made.")


class SigningKeySerializer(serializers.Serializer[Any]):
    """A public key that this installation signs reports with, or has signed with."""

    fingerprint = serializers.CharField(help_text="SHA-256 of the key's 32 bytes, in hex.")
    algorithm = serializers.CharField(help_text="`Ed25519`.")
    public_key = serializers.CharField(help_text="32 bytes in base64.")
    current = serializers.BooleanField(help_text="Whether new reports are signed with it.")


class SigningKeysSerializer(serializers.Serializer[Any]):
    results = SigningKeySerializer(many=True)
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


class ReportView(VideoPart):
    serializer_class = ReportStatusSerializer

    @extend_schema(
        summary="Read the evidence report of a video",
        description="A zip archive (with `kind=pdf` the PDF in it alone), signed with the installation's key"
        " (`/api/v1/signing-keys/`). A worker makes it at the first request and when something it tells has changed:"
        " 202 until then, and the same address is to be asked again. A report is the requester's own: it tells what"
        " they may know. Each download is audited.",
        parameters=[
            RANGE,
            LOCATION,
            OpenApiParameter("kind", str, enum=list(SUFFIXES), default=BUNDLE, description="Which file."),
        ],
        responses={
            (200, "application/zip"): OpenApiTypes.BINARY,
            (200, "application/pdf"): OpenApiTypes.BINARY,
            (202, "application/json"): OpenApiResponse(ReportStatusSerializer, description="It is being made."),
            (206, "application/zip"): OpenApiTypes.BINARY,
            (206, "application/pdf"): OpenApiTypes.BINARY,
            304: None,
        }
        | problems(400, 401, 404, 409, 416),
    )
    def get(self, request: Request, video_id: UUID) -> HttpResponseBase:
        video = self.get_video()
        kind = request.query_params.get("kind", BUNDLE)
        if kind not in SUFFIXES:
            raise serializers.ValidationError({"kind": f"One of {', '.join(SUFFIXES)}."})
        job = evidence.request(video=video, kind=EvidenceKind.REPORT, by=request.user)  # type: ignore[arg-type]
        if job.state == State.FAILED:
            raise Refused("report_failed", job.error_detail, status=409, headers={"Retry-After": "60"})
        if job.state != State.SUCCEEDED:
            url = reverse("api:report", kwargs={"video_id": video_id}, request=request)
            body = self.get_serializer({"state": job.state, "url": url}).data
            headers = {"Location": url, "Retry-After": str(POLL_S)}
            return Response(body, status=status.HTTP_202_ACCEPTED, headers=headers)
        response = serve(request, job.result[kind], download_as=f"report-{video_id}{SUFFIXES[kind]}")
        if _hands_out(request, response):
            audit.record(AuditAction.REPORT_DOWNLOADED, subject=f"video:{video_id}", facts={"file": kind})
        return response


class SigningKeysView(APIView):
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(
        summary="List the public keys of this installation's reports, the present one first",
        auth=[],
        responses={200: SigningKeysSerializer} | problems(503),
    )
    def get(self, request: Request) -> Response:
        try:
            keys = signing.known_keys()
        except (OSError, ValueError) as error:
            raise Refused(
                "signing_key_unusable", "The signing key cannot be read.", status=503, headers={"Retry-After": "60"}
            ) from error
        results = [
            {"fingerprint": key.fingerprint, "algorithm": "Ed25519", "public_key": key.text, "current": number == 0}
            for number, key in enumerate(keys)
        ]
        return Response(SigningKeysSerializer({"results": results, "next": None, "previous": None}).data)


def _hands_out(request: Request, response: HttpResponseBase) -> bool:
    """Return whether the response carries the file from its beginning; further ranges belong to the same download."""
    if request.method != "GET" or response.status_code not in (200, 206):
        return False
    return response.headers.get("Content-Range", "bytes 0-").startswith("bytes 0-")
