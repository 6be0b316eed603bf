"""The admin: one module per page, each action one call into a service.  Django finds it by its name."""

from django.contrib import admin

from detection.admin import (  # noqa: F401  (each registers its page)
    accounts,
    analyses,
    audit,
    batches,
    datasets,
    gold,
    model_versions,
    no_face,
    predictions,
    promotions,
    reviews,
    training,
    videos,
    webhooks,
)

admin.site.index_template = "admin/detection/index.html"
admin.site.index_title = "Overview"
