"""Tasks: read, wait for, watched and cancelled.  Each view finds its row among those the caller may see."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import NotFound, PermissionDenied, ValidationError
from rest_framework.generics import GenericAPIView
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from detection.api import waiting
from detection.api.serializers.videos import TaskSerializer
from detection.api.views.videos import problems
from detection.models import OPEN_STATES, Analysis
from detection.selectors import permissions, videos
from detection.services.jobs.cancellation import cancel_analysis

LONGEST_STREAM_S = 600
RECONNECT_MS = 2000

WAIT = OpenApiParameter(
    "wait",
    {"type": "integer", "minimum": 0, "maximum": waiting.LONGEST_WAIT_S, "default": 0},
    description="Answer when the task has ended, or after this many seconds with how it stands then.  While as many"
    " requests wait already as a server lets wait, the answer comes at once.",
)
EVENT = {
    "type": "object",
    "description": "One event of the stream.",
    "properties": {
        "event": {"type": "string", "enum": ["progress", "end"]},
        "data": {"type": "string", "description": "A task, as JSON."},
    },
    "required": ["event", "data"],
}
WHAT_IS_STREAMED = f"""Server-sent events: `progress` with the task as it stands, at once and each time that it moves,
and `end` with the task and its verdict.  Each `data` is the JSON of a task.  Where nothing moves, a comment is sent
every {waiting.IDLE_S:.0f} s.  The stream ends with the task, and without an `end` after {LONGEST_STREAM_S} s or while
as many requests wait already as a server lets wait; then connect again, as browsers' EventSource does by itself."""


class TaskPart(GenericAPIView[Analysis]):
    # (A docstring here would become the operations' description.)
    serializer_class = TaskSerializer
    lookup_url_kwarg = "task_id"
    queryset = Analysis.objects.none()

    def get_task(self, task_id: UUID) -> Analysis:
        """The task of the address, or 404: also where it exists and its video is not the caller's to see."""
        task = videos.visible_analysis(user=self.request.user, task_id=task_id)
        if task is None:
            raise NotFound("There is no such task.")
        return task


class TaskView(TaskPart):
    @extend_schema(summary="Poll a task", parameters=[WAIT], responses={200: TaskSerializer} | problems(400, 401, 404))
    def get(self, request: Request, task_id: UUID) -> Response:
        seconds = _seconds(request)
        task = self.get_task(task_id)
        if seconds and task.state in OPEN_STATES:
            with waiting.waiting() as may_wait:
                if may_wait:
                    waiting.wait_for_end(task.pk, seconds=seconds)
                    task = self.get_task(task_id)
        return Response(self.get_serializer(task).data)

    @extend_schema(
        summary="Cancel a task",
        description="A task that is queued or running ends as `failed` with the error code `cancelled`, at once; a"
        " worker that is at it stops within seconds, and nothing that it has begun is stored.  Only the video's owner"
        " may cancel.  A task that is cancelled already is answered as it is, one that has ended otherwise is refused"
        " with `already_ended`.  The video stays, with the verdict that it had; `analyze` begins anew.",
        responses={200: TaskSerializer} | problems(401, 403, 404, 409),
    )
    def delete(self, request: Request, task_id: UUID) -> Response:
        task = self.get_task(task_id)
        if not permissions.owns(request.user, task.video):
            raise PermissionDenied("Only the owner of its video may cancel a task.")
        cancel_analysis(analysis_id=task.pk)
        return Response(self.get_serializer(self.get_task(task_id)).data)


class TaskEventsView(TaskPart):
    @extend_schema(
        summary="Watch a task (server-sent events)",
        description=WHAT_IS_STREAMED,
        responses={(200, "text/event-stream"): OpenApiResponse(EVENT)} | problems(401, 404),
    )
    def get(self, request: Request, task_id: UUID) -> HttpResponseBase:
        task = self.get_task(task_id)
        events = self._events(task) if request.method == "GET" else iter(())
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingHttpResponse(events, content_type="text/event-stream", headers=headers)

    def _events(self, task: Analysis) -> Iterator[bytes]:
        yield f"retry: {RECONNECT_MS}\n\n".encode()
        with waiting.waiting() as may_wait:
            yield self._event(task)
            if not may_wait or task.state not in OPEN_STATES:
                return
            for state in waiting.movements(task.pk, since=waiting.task_state(task), seconds=LONGEST_STREAM_S):
                if state is None:
                    yield b": \n\n"
                    continue
                try:
                    task = self.get_task(task.pk)
                except NotFound:  # its video was deleted this moment
                    return
                yield self._event(task)
                if task.state not in OPEN_STATES:  # maybe since it was looked at a moment ago
                    return

    def _event(self, task: Analysis) -> bytes:
        name = b"progress" if task.state in OPEN_STATES else b"end"
        body: bytes = JSONRenderer().render(self.get_serializer(task).data)
        return b"event: %s\ndata: %s\n\n" % (name, body)


def _seconds(request: Request) -> int:
    asked = request.query_params.get("wait", "0")
    if not (asked.isascii() and asked.isdigit() and len(asked) < 4 and int(asked) <= waiting.LONGEST_WAIT_S):
        raise ValidationError({"wait": f"This must be a whole number from 0 to {waiting.LONGEST_WAIT_S}."})
    return int(asked)
