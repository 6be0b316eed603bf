"""Videos and models; a view finds a visible row and calls one service."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import QuerySet
from django.http import HttpRequest
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from detection.api.filters import VideoFilters
from detection.api.pagination import ByTrack, NewestFirst
from detection.api.serializers.faces import FaceSerializer
from detection.api.serializers.reviews import ReviewRequestSerializer, ReviewSerializer
from detection.api.serializers.videos import (
    AnalyzeSerializer,
    ModelVersionSerializer,
    ProblemSerializer,
    TaskSerializer,
    UploadSerializer,
    VideoSerializer,
)
from detection.api.uploadhandler import VideoUploadHandler
from detection.errors import Refused
from detection.models import FaceFrame, ModelVersion, Review, Video
from detection.selectors import permissions, videos
from detection.services.reviews.reviews import record_review
from detection.services.uploads.uploads import (
    MAX_KEY,
    analyze_again,
    delete_video,
    deleted_meanwhile,
    submit_video,
)

LOCATION = OpenApiParameter(
    "Location", OpenApiTypes.URI, OpenApiParameter.HEADER, response=[202], description="The task."
)


def problems(*statuses: int) -> dict[Any, Any]:
    """Return the error responses of an operation for its schema; 429 is always among them."""
    return {(code, "application/problem+json"): ProblemSerializer for code in sorted({*statuses, 429})}


class VideoPart(GenericAPIView[Any]):
    # What is below one video.  (A docstring here would become the operations' description.)
    lookup_url_kwarg = "video_id"

    def get_video(self) -> Any:
        """Return the video of the URL; raise NotFound also if the user may not see it."""
        video_id: UUID = self.kwargs["video_id"]
        video = videos.videos_with_answers(user=self.request.user).filter(pk=video_id).first()
        if video is None:
            raise NotFound("There is no such video.")
        return video


class VideosView(ListAPIView[Video]):
    serializer_class = VideoSerializer
    pagination_class = NewestFirst
    filterset_class = VideoFilters
    parser_classes = (MultiPartParser,)
    queryset = Video.objects.none()

    def get_queryset(self) -> QuerySet[Video]:
        return videos.videos_with_answers(user=self.request.user)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if request.method != "POST":
            return super().dispatch(request, *args, **kwargs)
        # Before anything reads the body; checking a session's CSRF token does.
        handler = VideoUploadHandler(request)
        request.upload_handlers = [handler]
        try:
            return super().dispatch(request, *args, **kwargs)
        finally:
            handler.discard()

    @extend_schema(
        summary="List videos, newest first", responses={200: VideoSerializer(many=True)} | problems(400, 401)
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    @extend_schema(
        summary="Upload a video for analysis",
        description="The same content again from the same owner answers 200 with the video that is there, unchanged.",
        request={"multipart/form-data": UploadSerializer},
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                {"type": "string", "maxLength": MAX_KEY, "pattern": "^[!-~]*$"},
                OpenApiParameter.HEADER,
                description="The same key with other content is refused.",
            ),
            LOCATION,
        ],
        responses={
            202: OpenApiResponse(VideoSerializer, description="Stored, and queued for analysis."),
            200: OpenApiResponse(VideoSerializer, description="This content is here already."),
        }
        | problems(400, 401, 403, 404, 413, 415, 422, 503, 507),
    )
    def post(self, request: Request) -> Response:
        form = UploadSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        submission = submit_video(
            owner=cast(AbstractBaseUser, request.user),  # an anonymous one does not come here
            upload=form.validated_data["file"],
            external_id=form.validated_data["external_id"],
            metadata=form.validated_data.get("metadata"),
            idempotency_key=request.headers.get("Idempotency-Key", ""),
        )
        # Read again: a worker may have been quick, and what is there already may have a verdict.
        video = videos.videos_with_answers(user=request.user).filter(pk=submission.video.pk).first()
        if video is None:
            raise deleted_meanwhile()
        return Response(
            self.get_serializer(video).data,
            status=status.HTTP_202_ACCEPTED if submission.created else status.HTTP_200_OK,
            headers=_location(request, video.current_analysis_id),
        )


class VideoView(VideoPart):
    serializer_class = VideoSerializer

    @extend_schema(summary="Read a video", responses={200: VideoSerializer} | problems(401, 404))
    def get(self, request: Request, video_id: UUID) -> Response:
        return Response(self.get_serializer(self.get_video()).data)

    @extend_schema(
        summary="Delete a video with its files, verdicts and reviews",
        responses={204: None} | problems(401, 403, 404),
    )
    def delete(self, request: Request, video_id: UUID) -> Response:
        video = self.get_video()
        if not permissions.may_delete(user=request.user, video=video):
            raise PermissionDenied("Only its owner and administrators may delete a video.")
        delete_video(video=video)
        return Response(status=status.HTTP_204_NO_CONTENT)


class FacesView(VideoPart, ListAPIView[FaceFrame]):
    serializer_class = FaceSerializer
    pagination_class = ByTrack
    filter_backends = ()
    queryset = FaceFrame.objects.none()

    def get_queryset(self) -> QuerySet[FaceFrame]:
        return videos.faces_of(video=self.video)

    def get_serializer_context(self) -> dict[str, Any]:
        video = getattr(self, "video", None)  # none while the schema is made
        scores = videos.frame_scores(video=video) if video and not video.withheld else {}
        return {**super().get_serializer_context(), "scores": scores}

    @extend_schema(
        summary="List the faces that were found, by person, then in time order",
        responses={200: FaceSerializer(many=True)} | problems(400, 401, 404),
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.video = self.get_video()
        return super().get(request, *args, **kwargs)


class AnalyzeView(VideoPart):
    serializer_class = AnalyzeSerializer

    @extend_schema(
        summary="Analyse a video again, e.g. under the active model",
        description="While a task of the video is open, that task is answered.",
        request=AnalyzeSerializer,
        parameters=[LOCATION],
        responses={202: TaskSerializer} | problems(400, 401, 403, 404, 409, 413, 415, 503),
    )
    def post(self, request: Request, video_id: UUID) -> Response:
        video = self.get_video()
        if not permissions.may_analyze(user=request.user, video=video):
            raise PermissionDenied("Only its owner and administrators may have a video analysed again.")
        form = self.get_serializer(data=request.data)
        form.is_valid(raise_exception=True)
        task = analyze_again(video=video, reuse_faces=form.validated_data["reuse_faces"])
        body = TaskSerializer(task, context=self.get_serializer_context()).data
        return Response(body, status=status.HTTP_202_ACCEPTED, headers=_location(request, task.pk))


class ReviewsView(VideoPart, ListAPIView[Review]):
    serializer_class = ReviewSerializer
    pagination_class = NewestFirst
    filter_backends = ()
    queryset = Review.objects.none()

    def get_queryset(self) -> QuerySet[Review]:
        return videos.reviews_of(video=self.video)

    @extend_schema(
        summary="List what people said of a video, newest first",
        responses={200: ReviewSerializer(many=True)} | problems(400, 401, 404, 409),
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.video = self.get_video()
        if self.video.withheld:
            raise Refused("not_yet", "What others say is told when you have answered yourself.", status=409)
        return super().get(request, *args, **kwargs)

    @extend_schema(
        summary="Say what a video is, or what the people in it are",
        description="Reviews are never changed: a new one is added.  One forged person makes a video fake; who is no"
        " person no longer decides the verdict.  Who says it decides what it counts for, and the"
        " answer tells (`counts_as`): what reviewers say makes the video's label, unsure while they differ, until a"
        " senior reviewer settles it; the opinion of an owner who is no reviewer is shown, and changes no label.",
        request=ReviewRequestSerializer,
        responses={201: ReviewSerializer} | problems(400, 401, 403, 404, 409, 413, 415),
    )
    def post(self, request: Request, video_id: UUID) -> Response:
        video = self.get_video()
        form = ReviewRequestSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        review = record_review(video=video, reviewer=request.user, **form.validated_data)
        return Response(self.get_serializer(review).data, status=status.HTTP_201_CREATED)


class ModelsView(ListAPIView[ModelVersion]):
    serializer_class = ModelVersionSerializer
    pagination_class = NewestFirst
    filter_backends = ()
    queryset = ModelVersion.objects.none()

    def get_queryset(self) -> QuerySet[ModelVersion]:
        return videos.model_versions()

    @extend_schema(
        summary="List model versions, newest first",
        responses={200: ModelVersionSerializer(many=True)} | problems(400, 401),
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


class ActiveModelView(GenericAPIView[ModelVersion]):
    serializer_class = ModelVersionSerializer

    @extend_schema(
        summary="Read the active model version", responses={200: ModelVersionSerializer} | problems(401, 404)
    )
    def get(self, request: Request) -> Response:
        model = videos.active_model()
        if model is None:
            raise Refused("no_active_model", "No model is active; videos wait until one is.", status=404)
        return Response(self.get_serializer(model).data)


def _location(request: Request, task_id: UUID | None) -> dict[str, str]:
    if task_id is None:
        return {}
    return {"Location": reverse("api:task", kwargs={"task_id": task_id}, request=request)}
