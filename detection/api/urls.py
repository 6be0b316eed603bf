"""URLs of the API, its schema and the health checks."""

from django.urls import path

from detection.api.views import docs, health, media, provenance, reports, resumable, tasks, videos, webhooks

app_name = "api"
urlpatterns = [
    path("api/v1/videos/", videos.VideosView.as_view(), name="videos"),
    path("api/v1/videos/<uuid:video_id>/", videos.VideoView.as_view(), name="video"),
    path("api/v1/videos/<uuid:video_id>/faces/", videos.FacesView.as_view(), name="faces"),
    path("api/v1/videos/<uuid:video_id>/analyze/", videos.AnalyzeView.as_view(), name="analyze"),
    path("api/v1/videos/<uuid:video_id>/reviews/", videos.ReviewsView.as_view(), name="reviews"),
    path("api/v1/videos/<uuid:video_id>/report/", reports.ReportView.as_view(), name="report"),
    path("api/v1/videos/<uuid:video_id>/provenance/", provenance.ProvenanceView.as_view(), name="provenance"),
    path("api/v1/signing-keys/", reports.SigningKeysView.as_view(), name="signing-keys"),
    path("api/v1/videos/<uuid:video_id>/media/<str:kind>", media.VideoMediaView.as_view(), name="video-media"),
    path(
        "api/v1/videos/<uuid:video_id>/segments/<int:number>/clip",
        media.SegmentClipView.as_view(),
        name="segment-clip",
    ),
    path("api/v1/faces/<uuid:face_id>/image", media.FaceImageView.as_view(), name="face-image"),
    path("api/v1/faces/<uuid:face_id>/heatmap", media.FaceHeatmapView.as_view(), name="face-heatmap"),
    path(
        "api/v1/sampled-frames/<uuid:frame_id>/image", media.SampledFrameImageView.as_view(), name="sampled-frame-image"
    ),
    path("api/v1/uploads/", resumable.UploadsView.as_view(), name="uploads"),
    path("api/v1/uploads/<uuid:upload_id>/", resumable.UploadView.as_view(), name="upload"),
    path("api/v1/tasks/<uuid:task_id>/", tasks.TaskView.as_view(), name="task"),
    path("api/v1/tasks/<uuid:task_id>/events/", tasks.TaskEventsView.as_view(), name="task-events"),
    path("api/v1/models/", videos.ModelsView.as_view(), name="models"),
    path("api/v1/models/active/", videos.ActiveModelView.as_view(), name="active-model"),
    path("api/v1/webhooks/", webhooks.WebhooksView.as_view(), name="webhooks"),
    path("api/v1/webhooks/<uuid:webhook_id>/", webhooks.WebhookView.as_view(), name="webhook"),
    path("api/schema/", docs.SchemaView.as_view(), name="schema"),
    path("api/docs/", docs.DocsView.as_view(), name="docs"),
    path("healthz", health.HealthView.as_view(), name="healthz"),
    path("readyz", health.ReadyView.as_view(), name="readyz"),
    path("metrics", health.MetricsView.as_view(), name="metrics"),
]
