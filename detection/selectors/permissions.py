"""Who may do what to a video, whatever page or endpoint asks."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, PermissionsMixin

from detection.models import Video

User = AbstractBaseUser | AnonymousUser
"""Whoever asks: a user, or nobody."""


def has(user: User, permission: str) -> bool:
    return isinstance(user, PermissionsMixin) and user.has_perm(permission)


def owns(user: User, video: Video) -> bool:
    return bool(user.is_authenticated) and video.owner_id == user.pk


def may_see(*, user: User, video: Video) -> bool:
    return owns(user, video) or has(user, "detection.view_video")


def may_review(*, user: User) -> bool:
    """Whether the user's answers are reviews, which decide what a video is."""
    return has(user, "detection.add_review")


def may_adjudicate(*, user: User) -> bool:
    return has(user, "detection.adjudicate_review")


def may_have_opinion(*, user: User, video: Video) -> bool:
    """Owners who are no reviewers may say what they think; it is shown as their opinion and decides nothing."""
    return owns(user, video)


def may_analyze(*, user: User, video: Video) -> bool:
    return owns(user, video) or has(user, "detection.change_video")


def may_delete(*, user: User, video: Video) -> bool:
    return owns(user, video) or has(user, "detection.delete_video")
