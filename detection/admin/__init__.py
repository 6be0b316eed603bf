"""Pages of Django's admin; each action is one call into a service."""

from django.contrib import admin
from django.utils.translation import gettext_lazy

# Each registers its page.
from detection.admin.pages import (  # noqa: F401
    accounts,
    analyses,
    audit,
    batches,
    gold,
    no_face,
    predictions,
    reviews,
    videos,
    webhooks,
)
from detection.admin.training import datasets, model_versions, promotions, runs  # noqa: F401

admin.site.index_template = "admin/detection/index.html"
admin.site.index_title = gettext_lazy("Overview")
