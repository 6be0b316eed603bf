"""Where everything is: the API, its documentation, health checks and the admin."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("", include("detection.api.urls")),
    path("admin/", admin.site.urls),
]
