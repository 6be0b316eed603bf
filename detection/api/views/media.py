"""Serve stored files to users who may see their video, with HTTP Range so that a player can seek.

Uploads are hostile: nothing is served with a type that a browser would run, sniff or frame.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from django.core.files.storage import default_storage
from django.http import HttpResponse, HttpResponseBase, HttpResponseNotModified, StreamingHttpResponse
from django.utils.cache import patch_vary_headers
from django.utils.http import content_disposition_header, parse_etags
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.views import APIView

from detection.api.views.videos import problems
from detection.container_format import ALL_KINDS
from detection.errors import Refused
from detection.models import Video
from detection.selectors import videos
from detection.selectors.segments import segments_of
from detection.services.jobs import evidence
from detection.services.ops import audit
from detection.services.stored_files import open_range

CHUNK_BYTES = 256 * 1024
MEDIA_TYPES = {kind.suffix: kind.media_type for kind in ALL_KINDS} | {".jpg": "image/jpeg", ".png": "image/png"}
MEDIA_TYPES |= {".zip": "application/zip", ".pdf": "application/pdf"}
_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_NO_SCRIPTS = "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; sandbox"


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end`, both included."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Return the number of bytes."""
        return self.end - self.start + 1


def parse_range(header: str, size: int) -> Span | None:
    """Return the bytes that a Range header requests of `size` bytes.

    None means the whole file, which RFC 9110 (14.2) allows for malformed and for multiple ranges.  Raises Refused
    `range_not_satisfiable`.
    """
    match = _ONE_RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:  # the last so many bytes
        span = Span(max(0, size - int(last)), size - 1)
    else:
        span = Span(int(first), min(int(last) if last else size - 1, size - 1))
        if last and int(last) < int(first):
            return None
    if span.start >= size or span.length < 1:
        raise Refused(
            "range_not_satisfiable",
            f"The file has {size} bytes.",
            status=416,
            headers={"Content-Range": f"bytes */{size}"},
        )
    return span


class Pieces:
    """Iterate over the bytes of a stored file; it is open from the start, so a deletion meanwhile does not cut it.

    Raises NotFound if it is gone already.
    """

    def __init__(self, name: str, span: Span) -> None:
        self._body: Any = None
        try:
            self._body = open_range(name, span.start, span.length)
            if self._body is not None:
                self._pieces: Iterator[bytes] = self._body.iter_chunks(CHUNK_BYTES)
            else:
                self._body = default_storage.open(name)
                self._body.seek(span.start)
                self._pieces = self._read(span.length)
        except OSError as error:
            raise NotFound("The file is not there.") from error
        except Exception as error:
            if _is_missing_object(error):
                raise NotFound("The file is not there.") from error
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces

    def close(self) -> None:
        """Close the file; the web server calls this also after a partial read."""
        self._body.close()

    def _read(self, left: int) -> Iterator[bytes]:
        while left > 0 and (piece := self._body.read(min(CHUNK_BYTES, left))):
            left -= len(piece)
            yield piece


def _is_missing_object(error: Exception) -> bool:
    answer = getattr(error, "response", None)
    return isinstance(answer, dict) and answer.get("Error", {}).get("Code") in ("NoSuchKey", "404", "InvalidRange")


def serve(request: Request, name: str, *, download_as: str | None = None, max_age_s: int = 0) -> HttpResponseBase:
    """Return a stored file as a response: 200, 206, 304 or (raised) 416; raise NotFound if the file is gone."""
    try:
        size = default_storage.size(name)
    except OSError as error:
        raise NotFound("The file is not there.") from error
    # A name is written once and never again, so it stands for its content.
    etag = f'"{hashlib.sha256(f"{name} {size}".encode()).hexdigest()[:32]}"'
    known = parse_etags(request.headers.get("If-None-Match", ""))
    if etag in known or "*" in known:
        response: HttpResponseBase = HttpResponseNotModified()
    else:
        response = _whole_or_part(request, name, size, etag)
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = f"private, max-age={max_age_s}" if max_age_s else "private, no-cache"
    patch_vary_headers(response, ("Authorization", "Cookie"))
    shown_name = download_as or PurePosixPath(name).name
    response.headers["Content-Disposition"] = content_disposition_header(download_as is not None, shown_name) or ""
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = _NO_SCRIPTS
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


def _whole_or_part(request: Request, name: str, size: int, etag: str) -> HttpResponseBase:
    part = None
    if request.method == "GET" and request.headers.get("If-Range", etag) == etag:
        part = parse_range(request.headers.get("Range", ""), size)
    span = part or Span(0, size - 1)
    media_type = MEDIA_TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
    response: HttpResponseBase
    if request.method == "HEAD":
        response = HttpResponse(content_type=media_type)
    else:
        response = StreamingHttpResponse(Pieces(name, span), content_type=media_type)
    response.headers["Content-Length"] = str(span.length)
    response.headers["Accept-Ranges"] = "bytes"
    if part:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {part.start}-{part.end}/{size}"
    return response


ORIGINALS = ("original", "clip", "preview")
RANGE = OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="e.g. `bytes=0-1023`")
PICTURE_MAX_AGE_S = 300


def _picture(summary: str, *refusals: int) -> Any:
    return extend_schema(
        summary=summary,
        parameters=[RANGE],
        responses={(200, "image/*"): OpenApiTypes.BINARY, (206, "image/*"): OpenApiTypes.BINARY, 304: None}
        | problems(401, 404, 416, *refusals),
    )


class VideoMediaView(APIView):
    @extend_schema(
        summary="Read a video's file",
        parameters=[
            RANGE,
            OpenApiParameter("kind", str, OpenApiParameter.PATH, enum=["original", "clip", "preview", "thumbnail"]),
        ],
        responses={
            (code, media): OpenApiTypes.BINARY
            for code in (200, 206)
            for media in ("video/*", "image/*", "application/octet-stream")
        }
        | {304: None}
        | problems(401, 404, 410, 416),
    )
    def get(self, request: Request, video_id: UUID, kind: str) -> HttpResponseBase:
        video = videos.visible_videos(user=request.user).filter(pk=video_id).first()
        name = _file_of(video, kind) if video else ""
        if video is None or not name:
            if video is not None and kind in ORIGINALS:
                videos.check_original(video)
            if video is not None and kind == "thumbnail":
                videos.check_pictures(video)
            raise NotFound("There is no such file.")
        response = serve(
            request,
            name,
            download_as=video.original_name if kind == "original" else None,
            max_age_s=PICTURE_MAX_AGE_S if kind == "thumbnail" else 0,
        )
        if kind != "thumbnail":  # lists show dozens
            audit.media_read(video_id=video_id, user=request.user, original=kind == "original")
        return response


class SegmentClipView(APIView):
    @extend_schema(
        summary="Read the clip of a segment",
        parameters=[RANGE],
        responses={(code, media): OpenApiTypes.BINARY for code in (200, 206) for media in ("video/*",)}
        | {304: None}
        | problems(401, 404, 410, 416),
    )
    def get(self, request: Request, video_id: UUID, number: int) -> HttpResponseBase:
        video = videos.visible_videos(user=request.user).filter(pk=video_id).first()
        clips = {segment.index: segment.clip for segment in segments_of(video, None)} if video else {}
        if video is None or not clips.get(number):
            if video is not None and number in clips:
                videos.check_original(video)
            raise NotFound("There is no such file.")
        response = serve(request, clips[number])
        audit.media_read(video_id=video_id, user=request.user, original=False)
        return response


class FaceImageView(APIView):
    @_picture("Read the picture of a face")
    def get(self, request: Request, face_id: UUID) -> HttpResponseBase:
        face = videos.visible_face(user=request.user, face_id=face_id)
        if face is None:
            raise NotFound("There is no such face.")
        response = serve(request, str(face.crop.name), max_age_s=PICTURE_MAX_AGE_S)
        audit.media_read(video_id=face.video_id, user=request.user)
        return response


class FaceHeatmapView(APIView):
    @_picture("Read what of a face moved the score, as colours over its picture", 409)
    def get(self, request: Request, face_id: UUID) -> HttpResponseBase:
        face = videos.visible_face(user=request.user, face_id=face_id)
        if face is None:
            raise NotFound("There is no such face.")
        evidence.check_may_know(video_id=face.video_id, user=request.user)
        name = evidence.heatmap_names(face.video).get(str(face.pk))
        if name is None:
            raise NotFound("Nobody has asked for heat maps of this video yet, or its verdict has changed since.")
        response = serve(request, name)
        audit.media_read(video_id=face.video_id, user=request.user)
        return response


class SampledFrameImageView(APIView):
    @_picture("Read a whole frame that was kept because no face was found")
    def get(self, request: Request, frame_id: UUID) -> HttpResponseBase:
        frame = videos.visible_sampled_frame(user=request.user, frame_id=frame_id)
        if frame is None:
            raise NotFound("There is no such frame.")
        response = serve(request, str(frame.image.name), max_age_s=PICTURE_MAX_AGE_S)
        audit.media_read(video_id=frame.video_id, user=request.user)
        return response


def _file_of(video: Video, kind: str) -> str:
    """Return the name in storage, or an empty string."""
    files = {"original": video.file, "clip": video.clip, "preview": video.preview, "thumbnail": video.thumbnail}
    file = files.get(kind)
    return str(file.name or "") if file is not None else ""
