"""Users of the single sign-on: made at their first login, and given at each the roles that the provider says."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from detection.errors import Refused
from detection.models import ExternalIdentity
from detection.services.ops.accounts import ROLES

ADMIN = "admin"


@dataclass(frozen=True)
class Person:
    """What a verified token says of its bearer.  `email` is empty unless the provider has verified it."""

    issuer: str
    subject: str
    username: str
    email: str
    groups: frozenset[str]


def sign_in(person: Person) -> User:
    """Return the person's user with exactly the roles of their groups; a role that they lost is taken away first.

    Only issuer and subject say who it is: a name or an e-mail that a local account has leads to no account.  Raises
    Refused: `no_role`, `name_taken`, `invalid_name`, `deactivated`.
    """
    roles = {settings.DFD_OIDC_ROLES[group] for group in person.groups if group in settings.DFD_OIDC_ROLES}
    user = _known(person, roles) or _made(person, roles)
    if not user.is_active:
        raise Refused("deactivated", "This account was deactivated here.", status=403)
    if not roles:
        raise _no_role()
    return user


def _known(person: Person, roles: Collection[str]) -> User | None:
    with transaction.atomic():
        identities = ExternalIdentity.objects.select_for_update(of=("self",)).select_related("user")
        identity = identities.filter(issuer=person.issuer, subject=person.subject).first()
        if identity is None:
            return None
        _give(identity.user, roles, person.email)
        return identity.user


def _made(person: Person, roles: Collection[str]) -> User:
    if not roles:
        raise _no_role()
    user = User(username=User.normalize_username(person.username))
    user.set_unusable_password()
    try:
        user.full_clean(exclude=["password"], validate_unique=False)
    except ValidationError as error:
        raise Refused("invalid_name", "The provider's name for you cannot be a user name here.", status=403) from error
    taken = Refused(
        "name_taken",
        f"There is an account {user.username} here already. If it is yours, an administrator can connect it.",
        status=403,
    )
    if User.objects.filter(username__iexact=user.username).exists():
        raise taken
    try:
        with transaction.atomic():
            user.save()
            ExternalIdentity.objects.create(user=user, issuer=person.issuer, subject=person.subject)
            _give(user, roles, person.email)
    except IntegrityError as error:  # the same person, or the same name, in this very moment
        raise taken from error
    return user


def _give(user: User, roles: Collection[str], email: str) -> None:
    """Make these the user's roles.  Groups that are no roles, and rights given one by one, stay as they are."""
    wanted = {"is_superuser": ADMIN in roles, "is_staff": bool(roles), "email": email}
    changed = [name for name, value in wanted.items() if getattr(user, name) != value]
    if changed:
        for name in changed:
            setattr(user, name, wanted[name])
        user.save(update_fields=changed)
    held = set(user.groups.filter(name__in=ROLES).values_list("name", flat=True))
    user.groups.remove(*Group.objects.filter(name__in=held - set(roles)))
    user.groups.add(*Group.objects.filter(name__in=set(roles) - held - {ADMIN}))


def _no_role() -> Refused:
    return Refused("no_role", "None of your groups has a role here. Ask those who run this installation.", status=403)
