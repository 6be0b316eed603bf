"""Where everything is: the API, its documentation, health checks and the admin."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from django.views.i18n import set_language

from detection.admin.login import login
from detection.admin.texts import Texts
from detection.evidence_report.page import verification_page
from detection.sign_on import views as sign_on

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("", include("detection.api.urls")),
    path("texts/<slug:language>/<slug:version>.js", Texts.as_view(), name="texts"),
    path("verify/", verification_page, name="verify-report"),
    path("admin/review/evidence/", include("detection.admin.review.evidence_calls")),
    path("admin/review/", include("detection.admin.review.workspace")),
    path("admin/review/", include("detection.admin.review.sheet")),
    path("admin/review/", include("detection.admin.review.reviewer_statistics")),
    path("admin/language/", set_language, name="set_language"),
    path("admin/login/", login),
    path("admin/logout/", sign_on.logout),
    path("admin/sso/", sign_on.begin, name="sign-on"),
    path("admin/sso/callback/", sign_on.callback, name="sign-on-callback"),
    path("admin/", admin.site.urls),
]

# Under /api/ these are problem JSON, elsewhere Django's own pages.
handler400 = "detection.api.errors.bad_request"
handler403 = "detection.api.errors.permission_denied"
handler404 = "detection.api.errors.page_not_found"
handler500 = "detection.api.errors.server_error"
