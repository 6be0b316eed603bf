"""Who may do what to a video, for every page and endpoint."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin

from detection.models import Video

User = AbstractBaseUser | AnonymousUser
"""Whoever asks: a user, or nobody."""


def has(user: User, permission: str) -> bool:
    """Return whether the user has a permission."""
    return isinstance(user, PermissionsMixin) and user.has_perm(permission)


def owns(user: User, video: Video) -> bool:
    """Return whether the video is the user's."""
    return bool(user.is_authenticated) and video.owner_id == user.pk


def may_see(*, user: User, video: Video) -> bool:
    """Return whether the user may see the video."""
    return owns(user, video) or has(user, "detection.view_video")


def may_review(*, user: User) -> bool:
    """Return whether the user's answers are reviews, which make a video's label."""
    return has(user, "detection.add_review")


def may_adjudicate(*, user: User) -> bool:
    """Return whether the user may settle disagreements."""
    return has(user, "detection.adjudicate_review")


def may_have_opinion(*, user: User, video: Video) -> bool:
    """Return whether the user may state an opinion: owners who may not review; it is shown and changes no label."""
    return owns(user, video)


def may_analyze(*, user: User, video: Video) -> bool:
    """Return whether the user may request another analysis."""
    return owns(user, video) or has(user, "detection.change_video")


def may_delete(*, user: User, video: Video) -> bool:
    """Return whether the user may delete the video."""
    return owns(user, video) or has(user, "detection.delete_video")
