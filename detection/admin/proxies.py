"""Two more views of the table of videos, each with its own admin page; they have no permissions of their own."""

from __future__ import annotations

from django.utils.translation import gettext_lazy

from detection.models import Video


class NoFaceVideo(Video):
    """A video in which no valid face was found."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = gettext_lazy("video without a face")
        verbose_name_plural = gettext_lazy("videos without a face")


class Prediction(Video):
    """A video that a model has given a verdict on."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = gettext_lazy("prediction")
        verbose_name_plural = gettext_lazy("predictions")
