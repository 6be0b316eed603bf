"""What a video's file says of where it comes from."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from detection.api.views.videos import VideoPart, problems
from detection.errors import Refused
from detection.selectors.report import provenance_of

STATES = ("trusted", "untrusted", "invalid", "unreadable")


class CredentialsSerializer(serializers.Serializer[Any]):
    """A C2PA manifest."""

    state = serializers.ChoiceField(
        choices=STATES,
        help_text="`trusted`: its signer is on the operator's list; `untrusted`: it matches, but its signer is not;"
        " `invalid`: it does not match the file; `unreadable`.",
    )
    sentence = serializers.CharField(help_text="The same for people.")
    signer = serializers.CharField(required=False)
    signed_at = serializers.CharField(required=False)
    title = serializers.CharField(required=False)
    made_with = serializers.ListField(child=serializers.CharField(), required=False)
    actions = serializers.ListField(child=serializers.CharField(), required=False)
    sources = serializers.ListField(child=serializers.CharField(), required=False, help_text="Digital source types.")
    says_generated = serializers.BooleanField(required=False, help_text="It says that a model made (part of) it.")
    ingredients = serializers.ListField(child=serializers.CharField(), required=False)
    failures = serializers.ListField(child=serializers.CharField(), required=False, help_text="Codes of C2PA.")


class ProvenanceSerializer(serializers.Serializer[Any]):
    """Claims of a file about itself; they never move the score, and anybody can write them."""

    container = serializers.CharField()
    encoders = serializers.ListField(child=serializers.CharField())
    software = serializers.ListField(child=serializers.CharField())
    camera = serializers.ListField(child=serializers.CharField())
    created_at = serializers.CharField(allow_blank=True, help_text="As the file has it; empty where it has none.")
    names_a_place = serializers.BooleanField(help_text="Whether it names a place; which one is not kept.")
    second_encoding = serializers.ListField(
        child=serializers.CharField(), help_text="Sentences: signs that the file is not as a camera wrote it."
    )
    credentials = CredentialsSerializer(allow_null=True, help_text="Null where it has no C2PA manifest.")
    read_at = serializers.DateTimeField()


class ProvenanceView(VideoPart):
    serializer_class = ProvenanceSerializer

    @extend_schema(
        summary="Read what a video's file says of where it comes from",
        responses={200: ProvenanceSerializer} | problems(401, 404),
    )
    def get(self, request: Request, video_id: UUID) -> Response:
        told = provenance_of(self.get_video())
        if told is None:
            raise Refused("not_read", "It has not been read; analysing the video anew does.", status=404)
        return Response(told)
