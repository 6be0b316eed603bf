"""Users, groups and API tokens."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from knox.models import AuthToken
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from detection.admin.base import ReadOnlyAdmin, moment
from detection.models import ExternalIdentity

for _model in (User, Group, AuthToken):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


class ExternalIdentityInline(TabularInline):
    """The id by which the single sign-on's provider knows the user."""

    model = ExternalIdentity
    fields = ("subject", "issuer")
    extra = 0
    verbose_name_plural = gettext_lazy("Single sign-on")

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Return the form set; its issuer is the configured one."""
        formset = super().get_formset(request, obj, **kwargs)
        formset.form.base_fields["issuer"].initial = settings.DFD_OIDC_ISSUER
        return formset


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg]
    """Django's page of users in unfold's style."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "roles", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser", "groups")
    list_filter_submit = True

    def get_queryset(self, request: HttpRequest) -> Any:
        """Return the users with their groups."""
        return super().get_queryset(request).prefetch_related("groups")

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Refuse users who have videos or reviews, before Django loads all of these."""
        users = list(objs)
        bound = [str(user) for user in users if user.videos.exists() or user.reviews.exists()]
        if bound:
            return (
                users,
                {_("users"): len(users)},
                set(),
                [_("the videos or decisions of %(name)s") % {"name": name} for name in bound],
            )
        return super().get_deleted_objects(users, request)

    def get_inlines(self, request: HttpRequest, obj: User | None) -> list[Any]:
        """Show superusers how a user logs in: it may make somebody another person."""
        return [ExternalIdentityInline] if obj and settings.DFD_OIDC_ISSUER and request.user.is_superuser else []

    @display(description=gettext_lazy("Roles"), label=True)
    def roles(self, user: User) -> list[str]:
        """Show the user's groups."""
        names = [group.name for group in user.groups.all()]
        return [_("superuser"), *names] if user.is_superuser else names


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    """Django's page of groups in unfold's style."""


@admin.register(AuthToken)
class TokenAdmin(ReadOnlyAdmin):
    """List and revoke API tokens.  Only a hash of a token is stored, so it cannot be shown."""

    list_display = ("begins_with", "user", "validity", "made", "expires")
    list_display_links = None
    list_select_related = ("user",)
    ordering = ("-created",)
    fields = ("begins_with", "user", "validity", "created", "expiry")
    readonly_fields = ("begins_with", "validity")
    empty_title = gettext_lazy("No API token")
    empty_text = gettext_lazy("Run manage.py create_token USER: it makes a token and prints it, once.")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user may revoke tokens."""
        return request.user.has_perm("knox.delete_authtoken")

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Name the tokens that would be revoked."""
        tokens = list(objs)
        names = [_("%(begin)s… of %(user)s") % {"begin": token.token_key[:8], "user": token.user} for token in tokens]
        return names, {_("API tokens"): len(tokens)}, set(), []

    @display(description=gettext_lazy("Begins with"))
    def begins_with(self, token: AuthToken) -> SafeString:
        """Show the token's first eight characters."""
        return format_html('<span class="dfd-mono">{}…</span>', token.token_key[:8])

    @display(description=gettext_lazy("Created"))
    def made(self, token: AuthToken) -> SafeString | str:
        """Show when it was created."""
        return moment(token.created)

    @display(description=gettext_lazy("Expires"))
    def expires(self, token: AuthToken) -> SafeString | str:
        """Show when it expires."""
        return moment(token.expiry) if token.expiry else _("never")

    @display(description=gettext_lazy("Validity"), label={"valid": "success", "expired": "danger"})
    def validity(self, token: AuthToken) -> tuple[str, str]:
        """Show whether it is valid or expired."""
        if token.expiry is not None and token.expiry <= timezone.now():
            return "expired", _("expired")
        return "valid", _("valid")
