"""Faces that were found in videos, and frames in which none was."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q

from detection.models.core import Video


class FaceFrame(models.Model):
    """One valid face of one person (track) in one frame.  Boxes are pixels of the upright full frame."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    video = models.ForeignKey(Video, on_delete=models.CASCADE, related_name="faces")
    track = models.PositiveSmallIntegerField(help_text="The person.")
    segment = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Which of the video's segments; null, as in rows of before, is the first."
    )
    position = models.PositiveSmallIntegerField(help_text="0 and up, in time order within the track.")
    frame_number = models.PositiveIntegerField()
    timestamp_s = models.FloatField()
    x1 = models.FloatField()
    y1 = models.FloatField()
    x2 = models.FloatField()
    y2 = models.FloatField()
    probability = models.FloatField(help_text="The detector's.")
    still = models.BooleanField(
        null=True,
        blank=True,
        help_text="A poster or a photo: it never moves, and decides nothing while somebody alive is there.  Null of"
        " older ones.",
    )
    crop = models.FileField(max_length=200, help_text="224 x 224 RGB, lossless PNG.")

    class Meta:
        ordering = ("video", "track", "position")
        constraints = [
            models.UniqueConstraint(fields=("video", "track", "position"), name="face_position_once"),
            models.CheckConstraint(condition=Q(x2__gt=models.F("x1"), y2__gt=models.F("y1")), name="face_box_has_area"),
            models.CheckConstraint(condition=Q(probability__range=(0, 1)), name="face_probability_in_0_1"),
        ]

    def __str__(self) -> str:
        return f"person {self.track + 1}, frame {self.frame_number}"

    @property
    def segment_index(self) -> int:
        """Which of the video's segments, from 0."""
        return self.segment or 0


class SampledFrame(models.Model):
    """A whole frame kept because no valid face was found, to show what the detector saw.

    `boxes`: rejected detections, `[{"x1", "y1", "x2", "y2" (pixels of the full frame), "probability", "reason"}]`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    video = models.ForeignKey(Video, on_delete=models.CASCADE, related_name="sampled_frames")
    position = models.PositiveSmallIntegerField()
    frame_number = models.PositiveIntegerField()
    timestamp_s = models.FloatField()
    boxes = models.JSONField(default=list, blank=True)
    image = models.FileField(max_length=200, help_text="JPEG, at most 640 pixels on the longer side.")

    class Meta:
        ordering = ("video", "position")
        constraints = [models.UniqueConstraint(fields=("video", "position"), name="sampled_frame_position_once")]

    def __str__(self) -> str:
        return f"frame {self.frame_number}"
