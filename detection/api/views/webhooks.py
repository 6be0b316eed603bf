"""Webhooks of a user, called when analyses end."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.exceptions import NotFound
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from detection.api.pagination import NewestFirst
from detection.api.views.videos import problems
from detection.models import Webhook
from detection.outbound_urls import MAX_URL
from detection.services.jobs import webhook_deliveries

LOCATION = OpenApiParameter(
    "Location", OpenApiTypes.URI, OpenApiParameter.HEADER, response=[201], description="The webhook."
)
WHAT_IS_SENT = """\
When a task of one of your videos ends, this is sent to each of your webhooks by POST, as JSON:

    {"type": "task.finished", "timestamp": "...",
     "data": {"task": "...", "video": "...", "external_id": "...", "state": "succeeded", "error": null,
              "verdict": {"label": "fake", "fake_probability": 0.91, "threshold": 0.5,
                          "assessment": "suspicious", "model_version": "..."},
              "needs_review": true}}

When people settle on another label than the verdict that was sent, `verdict.overruled` follows, and
`verdict.reinstated` where they take that back (`label` is then null, or the verdict's own):

    {"type": "verdict.overruled", "timestamp": "...",
     "data": {"task": "...", "video": "...", "external_id": "...",
              "verdict": {"label": "fake", "fake_probability": 0.91, "threshold": 0.5,
                          "assessment": "suspicious", "model_version": "..."},
              "label": "real"}}

`webhook-id` is the same for each attempt at the same event; `webhook-timestamp` is in Unix seconds; `webhook-signature`
is `v1,` and the base64 of HMAC-SHA256 over `<id>.<timestamp>.<body>`, the key being the decoded base64 after `whsec_`
in the secret (the Standard Webhooks specification).  Any 2xx within ten seconds is a success, a redirect is not.
Otherwise it is tried again for about a day; after thirty failures in a row the webhook is disabled.

The host must have public addresses only, and the port be 443 or 8443 (80 or 8080)."""
SCHEME = "^https?://" if settings.DFD_WEBHOOK_ALLOW_HTTP else "^https://"
PUBLIC = r"([A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?\.){1,3}[A-Za-z]{2,20}(:(443|8443))?"
TRUSTED = r"[A-Za-z0-9.:\[\]_-]+"
"""What the operator has listed may be called whatever its name is."""
PATH = r"(/[!-\"$-\[\]-~]*)?$"


@extend_schema_field(
    {
        "type": "string",
        "maxLength": MAX_URL,
        "pattern": SCHEME + (TRUSTED if settings.DFD_WEBHOOK_TRUSTED else PUBLIC) + PATH,
        "description": "https, a host whose addresses are all public, and maybe a port, a path and a query.",
        "example": "https://hooks.example.org/deepfake-desk",
    }
)
class UrlField(serializers.CharField):
    """An address that may be called; what else it has to be, `outbound_urls` says."""


class WebhookRequestSerializer(serializers.Serializer[Any]):
    url = UrlField(max_length=MAX_URL, trim_whitespace=False)


class WebhookSerializer(serializers.ModelSerializer[Webhook]):
    failures = serializers.IntegerField(read_only=True, help_text="Attempts in a row that failed.")
    last_error = serializers.CharField(read_only=True, help_text="Empty once an attempt has succeeded.")
    disabled = serializers.SerializerMethodField(help_text="Why nothing is sent any more; empty while it is.")

    class Meta:
        model = Webhook
        fields = ("id", "url", "failures", "last_error", "disabled", "created_at")
        read_only_fields = fields

    def get_disabled(self, webhook: Webhook) -> str:
        return webhook_deliveries.DISABLED if webhook.disabled_at else ""


class NewWebhookSerializer(WebhookSerializer):
    """With its secret, which is shown this once."""

    secret = serializers.CharField(read_only=True, help_text="Shown this once.")

    class Meta(WebhookSerializer.Meta):
        fields = (*WebhookSerializer.Meta.fields, "secret")  # type: ignore[assignment]
        read_only_fields = fields  # type: ignore[assignment]


class WebhooksView(ListAPIView[Webhook]):
    serializer_class = WebhookSerializer
    pagination_class = NewestFirst
    filter_backends = ()
    queryset = Webhook.objects.none()

    def get_queryset(self) -> QuerySet[Webhook]:
        return webhook_deliveries.webhooks_of(user=self.request.user)

    @extend_schema(
        summary="List your webhooks, newest first",
        responses={200: WebhookSerializer(many=True)} | problems(400, 401),
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    @extend_schema(
        summary="Have an address told when a task ends",
        description=WHAT_IS_SENT,
        request=WebhookRequestSerializer,
        parameters=[LOCATION],
        responses={201: NewWebhookSerializer} | problems(400, 401, 403, 409, 413, 415),
    )
    def post(self, request: Request) -> Response:
        form = WebhookRequestSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        owner = cast(AbstractBaseUser, request.user)  # an anonymous one does not come here
        webhook = webhook_deliveries.register(owner=owner, url=form.validated_data["url"])
        body = NewWebhookSerializer(webhook, context=self.get_serializer_context()).data
        location = reverse("api:webhook", kwargs={"webhook_id": webhook.pk}, request=request)
        return Response(body, status=status.HTTP_201_CREATED, headers={"Location": location})


class WebhookView(GenericAPIView[Webhook]):
    serializer_class = WebhookSerializer
    lookup_url_kwarg = "webhook_id"
    queryset = Webhook.objects.none()

    def get_webhook(self, webhook_id: UUID) -> Webhook:
        webhook = webhook_deliveries.webhooks_of(user=self.request.user).filter(pk=webhook_id).first()
        if webhook is None:
            raise NotFound("There is no such webhook.")
        return webhook

    @extend_schema(summary="Read a webhook", responses={200: WebhookSerializer} | problems(401, 404))
    def get(self, request: Request, webhook_id: UUID) -> Response:
        return Response(self.get_serializer(self.get_webhook(webhook_id)).data)

    @extend_schema(summary="Delete a webhook", responses={204: None} | problems(401, 403, 404))
    def delete(self, request: Request, webhook_id: UUID) -> Response:
        webhook_deliveries.remove(webhook=self.get_webhook(webhook_id))
        return Response(status=status.HTTP_204_NO_CONTENT)
