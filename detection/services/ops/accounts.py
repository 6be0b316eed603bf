"""Create users and API tokens for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from knox.models import AuthToken

from detection.errors import Refused

ROLES = ("uploader", "reviewer", "senior_reviewer", "model_owner", "operator", "admin")


@dataclass(frozen=True)
class NewToken:
    """`token` exists only here; the database stores a hash."""

    token: str
    user_created: bool


@transaction.atomic
def create_token(
    *, username: str, role: str | None = None, days: int | None = None, password: str | None = None
) -> NewToken:
    """Return a token for the user, who is created if missing (as uploader unless `role` is given).

    A role is added to the user's existing ones; all but `uploader` may enter the admin.  `days` is the token's life,
    None
    for ever.  Raises Refused `invalid_user` for a name or password that cannot be used.
    """
    users = get_user_model()
    user = users.objects.filter(username=username).first()
    created = user is None
    try:
        if user is None:
            user = users(username=username)
            user.set_unusable_password()
            user.full_clean(exclude=["password"])
        if password is not None:
            validate_password(password, user)
            user.set_password(password)
    except ValidationError as error:
        raise Refused("invalid_user", " ".join(error.messages)) from error
    role = role or ("uploader" if created else None)
    if role == "admin":
        user.is_superuser = True
    if role not in (None, "uploader"):
        user.is_staff = True
    user.save()
    if role not in (None, "admin"):
        user.groups.add(Group.objects.get(name=role))
    AuthToken.objects.filter(user=user, expiry__lt=timezone.now()).delete()
    _, token = AuthToken.objects.create(user, expiry=None if days is None else timedelta(days=days))
    return NewToken(token=token, user_created=created)
