"""Two more views of the table of videos, each with its own admin page; they have no permissions of their own."""

from __future__ import annotations

from detection.models import Video


class NoFaceVideo(Video):
    """A video in which no valid face was found."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "video without a face"
        verbose_name_plural = "videos without a face"


class Prediction(Video):
    """A video that a model has given a verdict on."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = "prediction"
        verbose_name_plural = "predictions"
