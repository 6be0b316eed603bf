"""Record logins and changes of users, roles and tokens, from signals of Django and knox.

Receivers run in the transaction of what they record, if there is one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, User
from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save
from django.utils import timezone
from knox.models import AuthToken

from detection.models import AuditAction
from detection.services.ops.audit import record, record_once

RIGHTS = ("is_active", "is_staff", "is_superuser")
FAILURES = timedelta(minutes=1)
"""A guesser gets one entry a minute, name and address; the request log has every request."""


def connect() -> None:
    """Connect the receivers; called once at start."""
    users = get_user_model()
    for signal, receiver, sender in (
        (user_logged_in, _logged_in, None),
        (user_login_failed, _login_failed, None),
        (pre_save, _remember_rights, users),
        (post_save, _user_saved, users),
        (post_delete, _user_deleted, users),
        (post_save, _token_saved, AuthToken),
        (post_delete, _token_deleted, AuthToken),
        (m2m_changed, _rights_given, users.groups.through),
        (m2m_changed, _rights_given, users.user_permissions.through),
        (m2m_changed, _rights_given, Group.permissions.through),
    ):
        signal.connect(receiver, sender=sender, dispatch_uid=f"audit-{receiver.__name__}-{sender}")


def _logged_in(user: User, **_: Any) -> None:
    record(AuditAction.LOGGED_IN, subject=f"user:{user.pk}", by=user)


def _login_failed(credentials: dict[str, Any], **_: Any) -> None:
    # A name that nobody has is not kept: it may be a password, typed into the wrong field.
    user = get_user_model().objects.filter(username=credentials.get("username") or "").first()
    subject = f"user:{user.pk}" if user else "user:unknown"
    facts = {"username": user.get_username()} if user else {}
    since = timezone.now() - FAILURES
    record_once(AuditAction.LOGIN_FAILED, since=since, subject=subject, each_address=True, facts=facts)


def _remember_rights(instance: User, raw: bool, update_fields: Any, **_: Any) -> None:
    if raw or instance._state.adding or (update_fields is not None and not set(RIGHTS) & set(update_fields)):
        return
    before = get_user_model().objects.filter(pk=instance.pk).values(*RIGHTS).first()
    instance.__dict__["_rights_before"] = before


def _user_saved(instance: User, created: bool, raw: bool, **_: Any) -> None:
    if raw:
        return
    before = instance.__dict__.pop("_rights_before", None)
    now = {name: getattr(instance, name) for name in RIGHTS}
    if created:
        _record_user(instance, "created", now)
    elif before is not None and before != now:
        _record_user(instance, "rights", {name: value for name, value in now.items() if before[name] != value})


def _user_deleted(instance: User, **_: Any) -> None:
    _record_user(instance, "deleted", {})


def _rights_given(instance: Any, action: str, reverse: bool, model: Any, pk_set: set[Any] | None, **_: Any) -> None:
    """Record changes of a user's groups or permissions, or a group's permissions, from either side of the relation."""
    change = {"post_add": "added", "post_remove": "removed", "pre_clear": "removed"}.get(action)
    if change is None:
        return
    if pk_set is None:  # all of them
        pk_set = set(_all_given(instance, model, reverse))
    if not pk_set:
        return
    others = model.objects.filter(pk__in=pk_set).order_by("pk")
    if reverse:  # group.user_set.add(user), say
        for other in others:
            _role(other, change, [_name(instance)])
    else:
        _role(instance, change, [_name(other) for other in others])


def _all_given(instance: Any, model: Any, reverse: bool) -> list[Any]:
    for field in instance._meta.get_fields():
        if field.many_to_many and field.related_model is model:
            accessor = field.get_accessor_name() if field.auto_created else field.name
            if bool(field.auto_created) is reverse:
                return list(getattr(instance, accessor).values_list("pk", flat=True))
    return []


def _role(holder: User | Group, change: str, names: list[str]) -> None:
    if isinstance(holder, User):
        _record_user(holder, change, {"rights": names})
        return
    facts = {"group": holder.name, "change": change, "rights": names}
    record(AuditAction.USER_CHANGED, subject=f"group:{holder.pk}", facts=facts)


def _record_user(user: User, change: str, facts: dict[str, Any]) -> None:
    record(AuditAction.USER_CHANGED, subject=f"user:{user.pk}", facts=_named(user) | {"change": change} | facts)


def _token_saved(instance: AuthToken, created: bool, **_: Any) -> None:
    if created:
        _record_token(AuditAction.TOKEN_CREATED, instance)


def _token_deleted(instance: AuthToken, **_: Any) -> None:
    _record_token(AuditAction.TOKEN_REVOKED, instance)


def _record_token(action: AuditAction, token: AuthToken) -> None:
    facts = _named(token.user) | {"expires": token.expiry.isoformat() if token.expiry else None}
    record(action, subject=f"token:{token.token_key[:8]}", facts=facts)


def _named(user: User) -> dict[str, Any]:
    return {"username": user.get_username()}


def _name(row: Any) -> str:
    """Return a group's name, a permission's code name, or a user's name."""
    return str(getattr(row, "codename", None) or getattr(row, "name", None) or row)
