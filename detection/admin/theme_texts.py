"""Texts of unfold that pages of ours show: it brings no translations, so they are among ours."""

from django.utils.translation import gettext_noop as _

TEXTS = (
    _("Add new item"),
    _("Add row"),
    _("After you've created a user, you’ll be able to edit more user options."),  # noqa: RUF001
    _("All applications"),
    _("Apply Filters"),
    _("Cancel"),
    _("Choose file to upload"),
    _("Click to cancel"),
    _("Dark"),
    _("Date"),
    _("Date from"),
    _("Date to"),
    _(
        "Deleting the %(object_name)s '%(escaped_object)s' would require deleting the following protected related objects:"  # noqa: E501
    ),
    _(
        "Deleting the %(object_name)s '%(escaped_object)s' would result in deleting related objects, but your account"
        " doesn't have permission to delete the following types of objects:"
    ),
    _(
        "Deleting the selected %(objects_name)s would result in deleting related objects, but your account doesn't have"
        " permission to delete the following types of objects:"
    ),
    _("Disable password-based authentication"),
    _("Edit"),
    _("Enable password-based authentication"),
    _("Expand row"),
    _("False"),
    _("Filter"),
    _("Forgotten your password or username?"),
    _("From"),
    _("General"),
    _("Go back"),
    _("Group"),
    _("Group permissions"),
    _("Light"),
    _("Loading more results..."),
    _("Manage group"),
    _("Manage user"),
    _("More actions"),
    _("Next"),
    _("No data"),
    _("No results found"),
    _("No results matching your query"),
    _("Object permissions"),
    _("Previous"),
    _(
        "Raw passwords are not stored, so there is no way to see this user’s password, but you can change the password"  # noqa: RUF001
        ' using <a href="{}" class="text-primary-600 dark:text-primary-500">this form</a>.'
    ),
    _("Record picture"),
    _("Reset filters"),
    _("Return to site"),
    _("Run"),
    _("Search apps and models..."),
    _("Select action"),
    _("Select action to run"),
    _("Select all rows"),
    _("Select record"),
    _("Select value"),
    _("System"),
    _("This item will be deleted."),
    _("This object doesn't have a change history."),
    _("This page yielded into no results. Create a new item or reset your filters."),
    _("To"),
    _("Toggle password visibility"),
    _("True"),
    _("Type to search"),
    _("User permissions"),
    _("Value"),
    _("Welcome"),
    _("Welcome back to"),
    _("You have been successfully logged out from the administration"),
)
